"""The pure parts of the benchmark: what it reads, what it computes, what it draws."""
