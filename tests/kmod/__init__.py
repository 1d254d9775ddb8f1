"""The pure parts of the kernel module, compiled as a user program."""
