"""How values are stored in engines that other programs use too: serializers from WireValues and back.

Values of other programs can be read, and a value that is put comes back unchanged or is refused. Pure.
"""

from __future__ import annotations

import json
import math
from typing import Any

from datastore import wire
from datastore.model.errors import CorruptDataError, InvalidValueError, UnsupportedTypeError
from datastore.wire import WireValue

__all__ = ["DocumentValues", "JsonValues", "PlainValues", "WireValues", "decoded"]

#: The beginning of the values that we mark; the next word says what follows the line.
_MARK = b"%datastore 1 "
_MARKED_VALUE = _MARK + b"value\n"
#: As `datastore.redis` marks bytes among JSON.
_MARKED_BYTES = _MARK + b"bytes\n"


class PlainValues:
    """Text as text and bytes as bytes; other values, which other programs cannot read, in wire form after a mark.

    An engine that `tells_text` distinguishes text from bytes. In others, all valid UTF-8 is text, and bytes that would
    be taken for text are marked.
    """

    #: As descriptions of stores show it.
    __name__ = "plain"
    keeps_mappings = False
    never_loads_none = True

    def __init__(self, *, tells_text: bool) -> None:
        self._tells_text = tells_text

    def dumps(self, value: Any) -> str | bytes:
        """The text, the bytes, or the marked form of a value."""
        encoded = wire.encode_value(value)
        plain = encoded.view()
        if type(plain) is str and not plain.startswith(_MARK.decode()):
            return plain
        if type(plain) is bytes and not plain.startswith(_MARK):
            return plain if self._tells_text or not _is_text(plain) else _MARKED_BYTES + plain
        return _MARKED_VALUE + encoded.data

    def loads(self, stored: Any) -> WireValue:
        """The value of its stored form."""
        if isinstance(stored, str):
            return _readable(stored)
        if stored.startswith(_MARKED_VALUE):
            return _checked(stored[len(_MARKED_VALUE) :])
        if self._tells_text:
            return wire.encode_value(stored)
        if stored.startswith(_MARKED_BYTES):
            return wire.encode_value(stored[len(_MARKED_BYTES) :])
        return _readable(stored.decode()) if _is_text(stored) else wire.encode_value(stored)


class JsonValues:
    """JSON that other programs can read and write; bytes are stored after the mark of `datastore.redis`.

    Refuses values that JSON cannot represent: bytes in lists and maps, datetimes, keys, infinities.
    """

    __name__ = "json"
    keeps_mappings = False
    never_loads_none = False

    @staticmethod
    def dumps(value: Any) -> str | bytes:
        """The JSON text of a value."""
        plain = wire.encode_value(value).decode()
        if isinstance(plain, bytes):
            return _MARKED_BYTES + plain
        _require_json(plain, "value")
        return json.dumps(plain, ensure_ascii=False)

    @staticmethod
    def loads(stored: Any) -> WireValue | None:
        """The value of a JSON text; `null` counts as absent."""
        if isinstance(stored, bytes) and stored.startswith(_MARKED_BYTES):
            return wire.encode_value(stored[len(_MARKED_BYTES) :])
        try:
            plain = json.loads(stored)
        except (ValueError, TypeError, RecursionError) as error:
            raise CorruptDataError(
                f"it is not JSON ({type(error).__name__}): serve the store with ?serializer=plain to read it as text"
            ) from error
        return None if plain is None else _readable(plain)


class WireValues:
    """Every value in wire form, which other programs cannot read: the fastest to serve."""

    __name__ = "wire"
    keeps_mappings = False
    never_loads_none = True

    @staticmethod
    def dumps(value: Any) -> bytes:
        """The bytes of a value."""
        return wire.encode_value(value).data

    @staticmethod
    def loads(stored: Any) -> WireValue:
        """The value of its bytes, which another program may have replaced."""
        if not isinstance(stored, bytes):
            raise CorruptDataError(f"it is not a value in wire form but {type(stored).__name__}")
        return _checked(stored)


class DocumentValues:
    """Plain objects, for stores that keep objects and query their fields."""

    __name__ = "documents"
    keeps_mappings = True
    never_loads_none = True

    @staticmethod
    def dumps(value: Any) -> Any:
        """The plain value."""
        return wire.encode_value(value).decode()

    @staticmethod
    def loads(stored: Any) -> WireValue:
        """The value of a stored object."""
        return _readable(stored)


class _Decoded(DocumentValues):
    """Plain values over a store of WireValues."""

    @staticmethod
    def dumps(value: Any) -> WireValue:
        return wire.encode_value(value)

    @staticmethod
    def loads(stored: Any) -> Any:
        return stored.decode()


decoded = _Decoded()


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _readable(plain: Any) -> WireValue:
    """The wire form of an object that another program stored. Raises CorruptDataError if it cannot be sent."""
    try:
        return wire.encode_value(plain)
    except (InvalidValueError, UnsupportedTypeError) as error:
        raise CorruptDataError(f"another program stored what cannot be sent: {error}") from error


def _checked(data: bytes) -> WireValue:
    try:
        wire.check_value(data)
    except (InvalidValueError, ValueError) as error:
        raise CorruptDataError(f"{len(data):,} bytes are not a value in wire form: {error}") from error
    return WireValue(data)


def _require_json(value: Any, path: str) -> None:
    """Raise UnsupportedTypeError or InvalidValueError, with the path, for a part that JSON would change."""
    if isinstance(value, dict):
        for name, part in value.items():
            _require_json(part, f"{path}[{name!r}]")
    elif isinstance(value, list):
        for place, part in enumerate(value):
            _require_json(part, f"{path}[{place}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise InvalidValueError(f"{path} is {value}, which JSON cannot represent", path=path)
    elif value is not None and not isinstance(value, (str, int, float)):
        raise UnsupportedTypeError(
            f"{path} is a {type(value).__name__}, which JSON cannot represent, and this store keeps JSON", path=path
        )
