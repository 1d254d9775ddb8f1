"""The command line: what is pure by itself, the rest as a user runs it."""
