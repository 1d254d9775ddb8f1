"""What remains of a decision: stage, history, verdict, journal."""
