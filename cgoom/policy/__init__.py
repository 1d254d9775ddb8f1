"""YAML text to a `Policy`, and back. No I/O, no clock, no logging."""
