"""A directory tree as a Datastore: a file for each entry, whose path a person can read.

This package alone knows the file names and what the files hold. It knows no driver. `paths` is the name of a key's
file, `content` what is in it, both pure; `disk` asks the operating system; `store` is made of these.
"""

from __future__ import annotations

from datastore.filesystem.disk import ensure_directory_exists
from datastore.filesystem.store import FileSystemDatastore, open_url

__all__ = ["FileSystemDatastore", "ensure_directory_exists", "open_url"]
