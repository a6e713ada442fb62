"""Documents: a key, its collection and a value, which is refused if BSON would change it."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any

from datastore.model.errors import InvalidKeyError, InvalidValueError, LimitExceededError, UnsupportedTypeError
from datastore.model.key import Key
from datastore.model.limits import VALUE_DEPTH
from datastore.mongo.errors import DOCUMENT_BYTES, translated

__all__ = ["INT64", "document_of", "key_of", "plain"]

INT64 = range(-(2**63), 2**63)


def document_of(key: Key, value: Any, *, aware_datetimes: bool = False) -> dict[str, Any]:
    """The document of an entry. Raises the errors that `MongoDatastore` documents for values."""
    from bson import BSON, encode

    # The documented serializer `bson` returns bytes of this class.
    if type(value) is BSON:
        value = bytes(value)
    _check(value, "value", VALUE_DEPTH * 2, aware_datetimes=aware_datetimes)
    document = {"_id": str(key), "path": str(key.path), "value": value}
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
