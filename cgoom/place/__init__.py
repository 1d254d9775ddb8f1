"""Where a workload is put: by cgoom itself, or by systemd."""
