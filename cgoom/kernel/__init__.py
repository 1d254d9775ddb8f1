"""One file per kernel interface; an OSError becomes an error of ours here, once."""
