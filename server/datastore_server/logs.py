"""The log format of servers, proxies and clusters: a time, a level and an event on each line.

    2026-11-28T18:12:04.123Z INFO serving lmdb in /var/lib/ds (sync, 34,006 entries) at grpc://127.0.0.1:7420

Only tracebacks continue on further, indented lines. Knows nothing about the events.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

__all__ = ["LINES", "SHOWN_CHARACTERS", "WINDOW_S", "kind", "shown", "to_file", "to_stderr"]

#: The maximum number of lines per kind of event in WINDOW_S; the rest is only counted. Internal errors are always
#: written.
LINES = 10
WINDOW_S = 10.0
#: How many characters of a key, or other client data, are shown.
SHOWN_CHARACTERS = 200

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def kind(text: str) -> dict[str, str]:
    """The `extra` of a logging call that names the kind of event, in the plural. The default is its message."""
    return {"kind": text}


def shown(text: str) -> str:
    """Text from a client, truncated and without line breaks."""
    cut = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), cut)


def to_stderr() -> AbstractContextManager[None]:
    """Log to standard error, which `datastore cluster` sends to a file, while the block runs."""
    return _logging_to(logging.StreamHandler(sys.stderr))


def to_file(path: Path) -> AbstractContextManager[None]:
    """Log to the end of a file while the block runs. Raises OSError if it cannot be written."""
    return _logging_to(logging.FileHandler(path, encoding="utf-8"))


@contextmanager
def _logging_to(handler: logging.Handler) -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("datastore")
    level = ours.level
    handler.setFormatter(_Formatter())
    limit = RateLimit()
    handler.addFilter(limit)
    root.addHandler(handler)
    ours.setLevel(logging.INFO)
    try:
        yield
    finally:
        for text in limit.left_out():
            ours.info("%s", text)
        ours.setLevel(level)
        root.removeHandler(handler)
        handler.close()


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        text = _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), record.getMessage())
        line = f"{stamp}.{int(record.msecs):03}Z {record.levelname} {text}"
        if record.exc_info:
            line += "\n  " + self.formatException(record.exc_info).replace("\n", "\n  ")
        return line


class RateLimit(logging.Filter):
    """Passes LINES records of each kind in WINDOW_S, and reports how many others there were."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._windows: dict[str, _Window] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write the record. The first one after a gap also reports the gap."""
        if record.levelno >= logging.ERROR:
            return True
        now, key = self._clock(), getattr(record, "kind", str(record.msg))
        window = self._windows.setdefault(key, _Window(now))
        if now >= window.began + WINDOW_S:
            left_out, window = window.left_out, _Window(now)
            self._windows[key] = window
            if left_out:
                record.msg, record.args = f"{record.getMessage()} (and {left_out:,} more {key} before)", None
        window.lines += 1
        if window.lines <= LINES:
            return True
        window.left_out += 1
        return False

    def left_out(self) -> Iterator[str]:
        """The records left out and not yet reported."""
        for key, window in list(self._windows.items()):
            if window.left_out:
                yield f"{window.left_out:,} more {key} were not logged one by one"


class _Window:
    def __init__(self, began: float) -> None:
        self.began = began
        self.lines = 0
        self.left_out = 0
