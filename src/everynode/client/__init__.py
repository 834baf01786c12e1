"""The small library that applications and the command line use to talk to the local daemon."""
