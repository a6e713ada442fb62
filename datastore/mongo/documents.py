"""Documents: a key, its collection, its metadata and a value, which is refused if BSON would change it.

A document without metadata is that of another program, or was written before entries had versions. After a delete a
document without a value remains for a while, the trace, so that the next version of its key is greater. Pure.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any

from datastore.model.errors import InvalidKeyError, InvalidValueError, LimitExceededError, UnsupportedTypeError
from datastore.model.expiry import MAX_EXPIRES_US
from datastore.model.key import Key
from datastore.model.limits import VALUE_DEPTH
from datastore.model.metadata import Metadata, time_of
from datastore.mongo.errors import DOCUMENT_BYTES, translated

__all__ = [
    "INT64",
    "METADATA",
    "REMOVED",
    "TRACE_S",
    "document_of",
    "key_of",
    "metadata_of",
    "plain",
    "stored_metadata",
    "trace",
    "version_of",
]

INT64 = range(-(2**63), 2**63)
#: How long the trace of a deleted or expired entry remains, in seconds: more than clocks differ, or are set back.
TRACE_S = 24 * 60 * 60
#: The fields with the metadata of an entry, as in `Metadata`. `expires_us` is missing if it never expires.
METADATA = ("version", "created_us", "updated_us", "expires_us")
#: The field with the time at which the server may remove the document.
REMOVED = "remove_time"
#: The version of an entry without metadata.
_OLDEST = 1


def metadata_of(document: dict[str, Any] | None, now_us: int) -> Metadata | None:
    """The metadata of a document whose value was read, if it has one; None for a trace or an expired entry."""
    if document is None or document.get("value") is None:
        return None
    metadata = stored_metadata(document)
    return None if 0 < metadata.expires_us <= now_us else metadata


def stored_metadata(document: dict[str, Any]) -> Metadata:
    """The metadata in the document of an entry."""
    return Metadata(version_of(document), *(int(document.get(name, 0)) for name in METADATA[1:]))


def version_of(document: dict[str, Any]) -> int:
    """The version of an entry or of a trace."""
    return int(document.get("version", _OLDEST))


def trace(key: Key, version: int, now_us: int) -> dict[str, Any]:
    """The document that remains of an entry that is deleted now."""
    return {"_id": str(key), "version": version, REMOVED: _after_trace(now_us)}


def _after_trace(time_us: int) -> datetime:
    # Datetimes end with the year 9999, too.
    return time_of(min(time_us + TRACE_S * 1_000_000, MAX_EXPIRES_US))


def document_of(key: Key, value: Any, metadata: Metadata, *, aware_datetimes: bool = False) -> dict[str, Any]:
    """The document of an entry. Raises the errors that `MongoDatastore` documents for values."""
    from bson import BSON, encode

    # The documented serializer `bson` returns bytes of this class.
    if type(value) is BSON:
        value = bytes(value)
    _check(value, "value", VALUE_DEPTH * 2, aware_datetimes=aware_datetimes)
    document = {"_id": str(key), "path": str(key.path), "value": value, **dict(zip(METADATA, metadata, strict=True))}
    if metadata.expires_us:
        document[REMOVED] = _after_trace(metadata.expires_us)
    else:
        del document["expires_us"]
    with translated():
        size = len(encode(document))
    if size > DOCUMENT_BYTES:
        raise LimitExceededError(
            f"the document of {key} has {size:,} bytes, the limit of MongoDB is {DOCUMENT_BYTES:,}",
            limit="document_bytes",
            maximum=DOCUMENT_BYTES,
        )
    return document


def _check(value: Any, path: str, depth: int, *, aware_datetimes: bool) -> None:
    """Raise UnsupportedTypeError or InvalidValueError, with the path, for a part that BSON would change."""
    kind = type(value)
    if depth == 0:
        raise InvalidValueError(f"{path}: nested too deeply", path=path)
    if kind is dict:
        for name, part in value.items():
            if type(name) is not str:
                raise UnsupportedTypeError(f"{path}: the names of a map are str, not {type(name).__name__}", path=path)
            if "\0" in name:
                raise InvalidValueError(f"{path}: a name in a map has a NUL: {name!r}", path=path)
            if name == "$ref":
                raise InvalidValueError(f"{path}: the driver reads a map with a '$ref' as a reference", path=path)
            _check_text(name, path)
            _check(part, f"{path}.{name}", depth - 1, aware_datetimes=aware_datetimes)
    elif kind in (list, tuple):
        for place, part in enumerate(value):
            _check(part, f"{path}[{place}]", depth - 1, aware_datetimes=aware_datetimes)
    elif kind is int:
        if value not in INT64:
            raise InvalidValueError(f"{path}: MongoDB stores ints of 64 bits, not {value}", path=path)
    elif kind is datetime:
        if (value.utcoffset() is not None) is not aware_datetimes or value.microsecond % 1000:
            zone = "with a zone" if aware_datetimes else "without zone"
            raise InvalidValueError(f"{path}: MongoDB stores datetimes {zone}, of whole milliseconds", path=path)
    elif kind is str:
        _check_text(value, path)
    elif value is not None and kind not in (bool, float, bytes):
        raise UnsupportedTypeError(f"{path}: MongoDB does not store {kind.__name__}; use a serializer", path=path)


def _check_text(text: str, path: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidValueError(f"{path}: the text has a lone surrogate at {error.start}", path=path) from None


def plain(value: Any) -> Any:
    """The original value: the driver returns 64-bit ints as a special class."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def key_of(identity: Any) -> Key | None:
    """The key of a document; None if another program wrote it."""
    if isinstance(identity, str):
        with suppress(InvalidKeyError):
            key = Key(identity)
            return key if str(key) == identity else None
    return None
