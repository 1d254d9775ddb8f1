"""What runs and how short the host is: selection, tree, usage."""
