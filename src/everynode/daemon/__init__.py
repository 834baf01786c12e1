"""One process: wiring, start, stop, local HTTP API, the real clock."""
