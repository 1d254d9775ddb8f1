"""The wiring, driven step by step with a world that is made in the test."""
