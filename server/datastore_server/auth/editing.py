"""Changes the file that names callers: a token more, or one less. All else in it stays as it is, comments too.

`added` and `removed` are pure; `edit` replaces the file, atomically, with mode 0600. Opens no connections.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from datastore.model.errors import ConfigError, StoreError
from datastore_server.auth.access import Access, Grant, parse_access
from datastore_server.auth.rights import Right

__all__ = ["added", "edit", "removed"]

_HEADING = """\
# The callers of a datastore server: docs/security.md describes this file. No secret is in it.
# `datastore token` changes it; servers read it again when it has changed.
"""
#: The first line of a table.
_TABLE = re.compile(r"\s*\[")
_MODE = 0o600


def added(text: str, grant: Grant, source: str) -> str:
    """The file with one more token. Raises ConfigError if there is one of this name, or the file is invalid."""
    before = parse_access(text, source)
    if grant.name in before.tokens:
        raise ConfigError(
            f"{source} has a token {grant.name} already; revoke it first, or choose another name to use both meanwhile"
        )
    rest = text.rstrip("\n") + "\n\n" if text.strip() else f"{_HEADING}\n"
    return _checked(rest + _table(grant), Access({**before.tokens, grant.name: grant}, before.identities), source)


def removed(text: str, name: str, source: str) -> str:
    """The file without the token of this name. Raises ConfigError if there is none, or it is written in another form.

    A comment above the next table belongs to that, and stays.
    """
    before = parse_access(text, source)
    if name not in before.tokens:
        known = ", ".join(before.tokens) or "none"
        raise ConfigError(f"{source} has no token {name}; its tokens are {known}")
    lines = text.splitlines(keepends=True)
    heading = re.compile(rf"""\s*\[\s*token\s*\.\s*(["']?){re.escape(name)}\1\s*\]""")
    begin = next((place for place, line in enumerate(lines) if heading.match(line)), len(lines))
    end = next((place for place in range(begin + 1, len(lines)) if _TABLE.match(lines[place])), len(lines))
    while end > begin + 1 and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
        end -= 1
    while end < len(lines) and not lines[end].strip():
        end += 1
    left = {other: grant for other, grant in before.tokens.items() if other != name}
    return _checked("".join(lines[:begin] + lines[end:]), Access(left, before.identities), source)


def _table(grant: Grant) -> str:
    instants = {"created": grant.created, "expires": grant.expires}
    lines = [
        # A key of TOML that has a dot is quoted.
        f"[token.{json.dumps(grant.name) if '.' in grant.name else grant.name}]",
        f'hash = "{grant.hash}"',
        *(f"{name} = {_instant_text(instant)}" for name, instant in instants.items() if instant is not None),
        # Keys of entries have no control characters, so they are the same in JSON and in TOML.
        *(f"{right} = {json.dumps(below, ensure_ascii=False)}" for right, below in _below(grant) if below),
        *(f"{name} = {quota}" for name, quota in asdict(grant.quota).items() if quota is not None),
    ]
    return "\n".join(lines) + "\n"


def _below(grant: Grant) -> Iterator[tuple[Right, tuple[str, ...]]]:
    for right in Right:
        yield right, getattr(grant.rights, right)


def _instant_text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _checked(text: str, expected: Access, source: str) -> str:
    """The changed file, if it says what is expected, and nothing else has changed."""
    with suppress(ConfigError):
        if parse_access(text, source) == expected:
            return text
    raise ConfigError(
        f"{source} is written in a form that this command cannot change: edit it, and nothing was changed"
    )


def edit(path: Path, change: Callable[[str], str]) -> None:
    """Replace the text of a file by what `change` makes of it: an empty one if there is no file yet.

    Others that do this at the same time wait. Raises StoreError if the file cannot be read or written.
    """
    try:
        with _alone_in(path.absolute().parent):
            text = path.read_text(encoding="utf-8") if path.exists() else ""
            # The file that a link names, not the link.
            _replace(path.resolve(), change(text))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: a file of tokens is TOML in UTF-8, this is not: {error.reason}") from error
    except OSError as error:
        raise StoreError(f"{path}: cannot change this file: {error.strerror}") from error


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Hold a lock on a directory while the block runs; it ends with the process, and leaves no file."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(path: Path, text: str) -> None:
    """Write a file whole, or not at all. It keeps its owner: a server of another user must still be able to read it."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, _MODE)
            if path.exists():
                owner = path.stat()
                if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(descriptor, owner.st_uid, owner.st_gid)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
