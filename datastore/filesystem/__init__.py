"""A directory tree as a Datastore: a file for each entry, with a readable path.

Only this package knows the names and contents of the files. It needs no driver. `paths` names the file of a key, and
`content` encodes its value, both pure; `disk` calls the operating system; `store` combines them. `config` is the store
as data.
"""

from __future__ import annotations

from datastore.filesystem.config import FileConfig
from datastore.filesystem.disk import ensure_directory_exists
from datastore.filesystem.store import FileSystemDatastore

__all__ = ["FileConfig", "FileSystemDatastore", "ensure_directory_exists"]
