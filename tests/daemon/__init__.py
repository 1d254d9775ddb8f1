"""Tests of the wiring, where no kernel can be made to say the same on demand."""
