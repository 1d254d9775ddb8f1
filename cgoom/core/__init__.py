"""The pure core: levels, order and decisions. No I/O, no clock, no logging."""
