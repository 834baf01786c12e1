"""The demonstration: three real nodes on this machine, shown at work."""
