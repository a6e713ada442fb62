"""Maintenance of one node, for operators: snapshots of its store, checks of it, and its restoration from a backup.

columns             entries by column, and their checksums
snapshots, checks   what is read of a snapshot, as messages
reader, readers     the process that reads, and the node that starts it
restores, progress  a node while it is restored, and its record of how far that is
service             MaintenanceService
"""
