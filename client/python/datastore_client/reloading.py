"""The contents of files, read again when they change. Knows nothing about what they mean."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from datastore.model.errors import ConfigError

__all__ = ["CHECK_S", "Reloading", "reload_all"]

_log = logging.getLogger("datastore.files")

_Content = TypeVar("_Content")
#: What changes with a file: its times, size and identity; None for a file that is not there.
_State = tuple[tuple[int, ...] | None, ...]

#: The minimum interval between two checks of the same files, in seconds.
CHECK_S = 1.0
#: A file that changed so recently, in seconds, may change again without another time.
SETTLED_S = 2.0


class Reloading(Generic[_Content]):
    """What `read` makes of the files at `paths`, and makes again when one of them has changed.

    `read` raises ConfigError for files that are missing or not valid, e.g. half written: at first that is raised, later
    the last valid contents stay in force and a warning is logged. Contents are compared with `==`; while they are
    equal, they are the same object. Safe for threads.
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[], _Content]) -> None:
        self._paths = tuple(paths)
        self._read = read
        self._lock = threading.Lock()
        state = _state_of(self._paths)
        self._content = read()
        #: None if the files may have changed since without another state.
        self._state: _State | None = state if _is_settled(state) else None
        self._warning = ""
        self._look_at = time.monotonic() + CHECK_S
        _all.add(self)

    def current(self) -> _Content:
        """The contents. Looks at the files if that is due."""
        return self._content if time.monotonic() < self._look_at else self.reload()

    def reload(self) -> _Content:
        """The contents. Looks at the files now."""
        with self._lock:
            self._look_at = time.monotonic() + CHECK_S
            state = _state_of(self._paths)
            if state != self._state:
                self._state = state if _is_settled(state) else None
                self._read_again()
            return self._content

    def _read_again(self) -> None:
        try:
            content = self._read()
        except ConfigError as error:
            if str(error) != self._warning:
                _log.warning("%s; what was read before stays in force", error)
            self._warning = str(error)
            return
        self._warning = ""
        if content != self._content:
            self._content = content
            _log.info("read again after a change: %s", ", ".join(map(str, self._paths)))


#: Those in use.
_all: WeakSet[Reloading[Any]] = WeakSet()


def reload_all() -> None:
    """Look at the files of all that is in use in this process now, e.g. because of a signal."""
    for one in list(_all):
        one.reload()


def _state_of(paths: Sequence[Path]) -> _State:
    return tuple(map(_file_state, paths))


def _file_state(path: Path) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - called for every connection: a third of the time of Path.stat
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _is_settled(state: _State) -> bool:
    """Whether all files changed so long ago that another change would give them other times."""
    newest_ns = max((file[1] for file in state if file is not None), default=0)
    return time.time_ns() - newest_ns > SETTLED_S * 1e9
