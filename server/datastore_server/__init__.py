"""The server: the service of nodes and proxies, and the command `datastore`."""
