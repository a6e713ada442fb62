"""A directory tree as a Datastore: a file for each entry, whose path a person can read.

This package alone knows the file names and what the files hold. It knows no driver. `paths` is the name of a key's
file, `content` what is in it, both pure; `disk` asks the operating system; `store` is made of these. `config` is the
store as data.
"""

from __future__ import annotations

from datastore.filesystem.config import FileConfig
from datastore.filesystem.disk import ensure_directory_exists
from datastore.filesystem.store import FileSystemDatastore

__all__ = ["FileConfig", "FileSystemDatastore", "ensure_directory_exists"]
