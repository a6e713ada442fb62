"""Decisions without I/O: what a query does to entries, how streams merge, where keys belong. Pure."""
