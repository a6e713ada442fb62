"""The encoding of text in stores of bytes, and sizes as text. Pure; knows no stores."""

from __future__ import annotations

from datastore.model.errors import InvalidValueError

__all__ = ["UNITS", "size_text", "utf8_of"]

#: The units of sizes, in bytes.
UNITS = {
    "B": 1,
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGT", start=1)},
    **{f"{prefix}B": 1000**power for power, prefix in enumerate("kMGT", start=1)},
}


def utf8_of(text: str) -> bytes:
    """The text in UTF-8; InvalidValueError (a ValueError) for a lone surrogate, which UTF-8 cannot carry."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidValueError(f"the value's text has a lone surrogate at {error.start}", path="value") from None


def size_text(size: int) -> str:
    """A number of bytes as it is written: in the largest unit of which it is a multiple, e.g. `256MiB`."""
    unit = next(unit for unit in ("TiB", "GiB", "MiB", "KiB", "B") if size % UNITS[unit] == 0)
    return f"{size // UNITS[unit]}{unit}"
