"""everynode: one directory tree, complete and plain, on every node of a cluster."""

__version__ = "0.1.0"
