"""The server: the service of nodes and proxies, and the command `datastore`.

Imports nothing, so that `start` runs before anything that takes time to load.
"""
