"""The wiring: one epoll, one thread."""
