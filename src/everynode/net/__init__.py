"""Peers: links over TLS."""
