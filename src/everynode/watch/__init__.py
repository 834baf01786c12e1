"""Kernel notices."""
