"""The life of a group on a node: capture, announce, receive, fetch, apply, scan."""
