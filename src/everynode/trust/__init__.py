"""Keys, certificates, tokens, signed statements."""
