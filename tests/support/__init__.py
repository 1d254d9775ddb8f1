"""What tests share: programs that eat memory, a daemon to start and kill, and scenes that always clean up."""
