"""The kernel interfaces on plain files and on this process; what needs root and a cgroup2 mount is in live/."""
