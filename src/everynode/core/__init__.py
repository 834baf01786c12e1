"""The head: versions, detect, reconcile, runs, retention. Pure: no I/O, no clock, no randomness."""
