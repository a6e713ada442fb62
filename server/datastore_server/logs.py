"""The log formats of servers, proxies and clusters: a time, a level and an event on each line, as text or JSON.

    2026-11-28T18:12:04.123Z INFO serving lmdb in /var/lib/ds (sync, 34,006 entries) at grpc://127.0.0.1:7420
    {"time": "2026-11-28T18:12:04.123Z", "level": "info", "event": "serving lmdb in ..."}

In text only tracebacks continue on further, indented lines. Unless the level is DEBUG they leave out the texts of
exceptions, which may quote what clients store. Knows nothing about the events.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

__all__ = [
    "FORMATS",
    "LEVELS",
    "LINES",
    "SHOWN_CHARACTERS",
    "WINDOW_S",
    "Format",
    "Level",
    "facts",
    "kind",
    "shown",
    "to_file",
    "to_stderr",
]

Level: TypeAlias = Literal["debug", "info", "warning", "error"]
Format: TypeAlias = Literal["text", "json"]
#: From the one that writes most to the one that writes least.
LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")
FORMATS: tuple[Format, ...] = ("text", "json")

#: The maximum number of lines per kind of event in WINDOW_S; the rest is only counted. Internal errors are always
#: written.
LINES = 10
WINDOW_S = 10.0
#: How many characters of a key, or other client data, are shown.
SHOWN_CHARACTERS = 200

#: A placeholder in a message, or `%%`, which is a percent sign.
_PLACEHOLDER = re.compile(r"%[-#0-9., +]*[a-zA-Z%]")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def kind(text: str, **known: object) -> dict[str, object]:
    """The `extra` of a logging call that names the kind of event, in the plural. The default is its message.

    `known` is as for `facts`.
    """
    return {"kind": text, **facts(**known)}


def facts(**known: object) -> dict[str, object]:
    """The `extra` of a logging call with the members that its JSON line gets; text shows only the `request_id`."""
    return {"facts": {name: fact for name, fact in known.items() if fact is not None}}


def shown(text: str) -> str:
    """Text from a client, truncated and without line breaks."""
    cut = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), cut)


def to_stderr(level: Level = "info", form: Format = "text") -> AbstractContextManager[None]:
    """Log to standard error, which `datastore cluster` sends to a file, while the block runs."""
    return _logging_to(logging.StreamHandler(sys.stderr), level, form)


def to_file(path: Path, level: Level = "info", form: Format = "text") -> AbstractContextManager[None]:
    """Log to the end of a file while the block runs. Raises OSError if it cannot be written."""
    return _logging_to(logging.FileHandler(path, encoding="utf-8"), level, form)


@contextmanager
def _logging_to(handler: logging.Handler, level: Level, form: Format) -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("datastore")
    before = ours.level
    handler.setFormatter((_JsonFormatter if form == "json" else _TextFormatter)(with_texts=level == "debug"))
    # Other libraries log warnings and errors.
    handler.setLevel(level.upper())
    limit = RateLimit()
    handler.addFilter(limit)
    root.addHandler(handler)
    ours.setLevel(level.upper())
    try:
        yield
    finally:
        for text in limit.left_out():
            ours.info("%s", text)
        ours.setLevel(before)
        root.removeHandler(handler)
        handler.close()


class _TextFormatter(logging.Formatter):
    def __init__(self, *, with_texts: bool) -> None:
        super().__init__()
        self._with_texts = with_texts

    def format(self, record: logging.LogRecord) -> str:
        text = _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), record.getMessage())
        line = f"{_stamp(record)} {record.levelname} {text}"
        request_id = _facts_of(record).get("request_id")
        if request_id is not None:
            line += f" (request {request_id})"
        if record.exc_info and record.exc_info[1] is not None:
            line += "\n  " + self.traceback(record.exc_info[1]).replace("\n", "\n  ")
        return line

    def traceback(self, error: BaseException) -> str:
        """Where an exception was raised, and its type; its text only if that was asked for."""
        lines = traceback.format_exception(error) if self._with_texts else _without_texts(error)
        return "".join(lines).rstrip("\n")


class _JsonFormatter(_TextFormatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _stamp(record),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **_facts_of(record),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["traceback"] = self.traceback(record.exc_info[1])
        # Escapes what is not ASCII: a line has no line break and no lone surrogate in it.
        return json.dumps(line)


def _stamp(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03}Z"


def _facts_of(record: logging.LogRecord) -> dict[str, Any]:
    found: dict[str, Any] = getattr(record, "facts", {})
    return found


def _without_texts(error: BaseException) -> Iterator[str]:
    """The lines of a traceback and of those behind it, with the types of the exceptions and without their texts."""
    behind = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if behind is not None:
        yield from _without_texts(behind)
        yield "which led to:\n"
    yield from traceback.format_tb(error.__traceback__)
    yield f"{type(error).__name__}\n"


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
        now, key = self._clock(), getattr(record, "kind", None) or _kind_of(str(record.msg))
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


def _kind_of(message: str) -> str:
    """The kind of an event whose kind has no name: its message with placeholders left open."""
    return _PLACEHOLDER.sub(lambda found: "%" if found[0] == "%%" else "…", message)


class _Window:
    def __init__(self, began: float) -> None:
        self.began = began
        self.lines = 0
        self.left_out = 0
