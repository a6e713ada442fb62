"""Backups: the files of snapshots of nodes, how they are taken, checked and restored.

parts, catalog      the files of a backup, and the manifest that makes it one
merging             the entries of a backup, from all of its files
sources, taking     what is backed up, and how
targets, restoring  which nodes are restored, and how
directories         a node restored as a directory
checking            whether a backup, a directory or a node is sound
rates               bytes a second
"""
