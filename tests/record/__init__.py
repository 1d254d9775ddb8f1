"""Tests of stage, history, verdict and journal."""
