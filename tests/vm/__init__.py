"""Tests that need a kernel of their own: real shortage, systemd, the memory controller. They run in the lab's guest."""
