"""Bytes of files: blocks, sources, assembly."""
