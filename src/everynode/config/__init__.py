"""Text to settings and back."""
