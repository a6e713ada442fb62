"""The library for threads, under its documented path."""
