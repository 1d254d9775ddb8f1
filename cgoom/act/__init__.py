"""What is done to a victim: the guard before it, the executors, what is left afterwards."""
