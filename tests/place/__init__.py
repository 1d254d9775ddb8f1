"""Tests of placement that need no root."""
