"""The encoding of text in stores of bytes. Pure; knows no stores."""

from __future__ import annotations

from datastore.model.errors import InvalidValueError

__all__ = ["utf8_of"]


def utf8_of(text: str) -> bytes:
    """The text in UTF-8; InvalidValueError (a ValueError) for a lone surrogate, which UTF-8 cannot carry."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidValueError(f"the value's text has a lone surrogate at {error.start}", path="value") from None
