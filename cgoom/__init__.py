"""cgoom: the least important workload dies first, as a whole, early enough that nothing else notices."""

__version__ = "0.1.0"
