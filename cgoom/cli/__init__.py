"""The face: thin commands, pure rendering."""
