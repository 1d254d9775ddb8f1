"""Tests of the policy language: what it says, what it refuses and in which words."""
