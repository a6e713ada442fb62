"""Stores by name: which package opens a URL."""
