"""The store as data."""

from __future__ import annotations

from dataclasses import dataclass, field

from datastore.filesystem.paths import EXTENSION, checked_extension
from datastore.filesystem.store import FileSystemDatastore
from datastore.model.config import Config
from datastore.model.options import BOOLEAN, DIRECTORY, TEXT, option

__all__ = ["FileConfig"]


@dataclass(frozen=True, kw_only=True)
class FileConfig(Config):
    """Stores text and bytes in files that other programs can read: `/a:b` in `a/b.obj`."""

    kind = "file"
    url_form = "file:///DIRECTORY"
    directory: str = field(metadata=option("the topmost directory; it is created if needed", DIRECTORY))
    fsync: bool = field(default=False, metadata=option("whether a write is on disk when it returns", BOOLEAN))
    case_sensitive: bool = field(
        default=True, metadata=option("false: keys that differ only in case are the same key", BOOLEAN)
    )

    extension: str = field(default=EXTENSION, metadata=option("what the names of the files end with", TEXT))

    def check(self) -> None:
        """Raise InvalidError for an invalid file extension."""
        checked_extension(self.extension)

    def open(self) -> FileSystemDatastore:
        """Open the directory."""
        store = FileSystemDatastore(self.directory, case_sensitive=self.case_sensitive, fsync=self.fsync)
        store.object_extension = self.extension
        return store
