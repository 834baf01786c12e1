"""The only code that touches a replicated tree: reach, observe, walk, stage, place, vault."""
