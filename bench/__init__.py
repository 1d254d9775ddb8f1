"""Every out-of-memory daemon side by side, in one boot of a lab guest. Not part of what is installed."""
