"""One module per system that takes part; each is a `Peer`."""
