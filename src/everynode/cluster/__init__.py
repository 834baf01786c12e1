"""The life of the membership."""
