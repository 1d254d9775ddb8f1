"""Tests on the kernel and the cgroup2 mount of this host, as root: `pytest -m live`."""
