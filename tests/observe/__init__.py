"""What is kept of the workloads; the view of real ones is in live/."""
