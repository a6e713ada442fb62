"""Keys made from the members of an entry: `--key '/Airport:{icao}'`. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from datastore.model.errors import InvalidError
from datastore.model.key import Key

__all__ = ["ROW_NUMBER", "KeyTemplate"]

#: In a template, the number of the row, starting at 1.
ROW_NUMBER = "#"

#: `{{` and `}}` are braces; anything else between braces is a name, including colons and dots.
_PIECE = re.compile(r"\{\{|\}\}|\{(?P<name>[^{}]+)\}|[{}]|[^{}]+")
#: The characters that are special or invalid in keys: delimiters, the escape itself, control characters.
_ESCAPED = re.compile("[/:%\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class KeyTemplate:
    """Makes keys from members: `/Airport:{icao}`; `{#}` is the number of the row.

    With `escape`, slashes, colons, percent signs and control characters in a member are percent-encoded, so that each
    member is one name in the key. Raises InvalidError for text without members, and for single braces.
    """

    text: str
    escape: bool = False
    #: The members of which the key consists, in order.
    names: tuple[str, ...] = field(init=False)
    #: Those before any colon in their part of the key: a colon in such a member makes a type.
    untyped: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_pieces", tuple(self._parsed()))
        members = [(name, is_typed) for name, is_typed in self._members() if name != ROW_NUMBER]
        object.__setattr__(self, "names", tuple(name for name, _ in members))
        object.__setattr__(self, "untyped", tuple(name for name, is_typed in members if not is_typed))

    def key(self, members: Mapping[str, Any], number: int = 0) -> Key:
        """The key of the entry with these members in row `number`.

        Raises InvalidError if a member is absent, empty, neither text nor an integer, or, without `escape`, has a
        slash.
        """
        pieces: tuple[tuple[str, bool], ...] = self._pieces  # type: ignore[attr-defined]
        return Key("".join(self._part(text, members, number) if is_name else text for text, is_name in pieces))

    def colon_in(self, members: Mapping[str, Any]) -> str | None:
        """The first member whose colon makes a type that the template does not name; None if there is none."""
        if self.escape:
            return None
        return next((name for name in self.untyped if ":" in str(members.get(name, ""))), None)

    def _parsed(self) -> list[tuple[str, bool]]:
        pieces = []
        for found in _PIECE.finditer(self.text):
            piece, name = found.group(), found["name"]
            if piece in ("{", "}"):
                raise InvalidError(
                    f"the key template {self.text!r} has a single {piece!r}; members are written {{name}}, "
                    "braces {{ and }}"
                )
            pieces.append((name, True) if name is not None else (piece.replace("{{", "{").replace("}}", "}"), False))
        if not any(is_name for _, is_name in pieces):
            raise InvalidError(f"the key template {self.text!r} names no member; write e.g. /Airport:{{icao}}")
        return pieces

    def _members(self) -> list[tuple[str, bool]]:
        """The members, each with whether a colon of the template precedes it in its part of the key."""
        members, before = [], ""
        for text, is_name in self._pieces:  # type: ignore[attr-defined]
            if is_name:
                members.append((text, ":" in before))
            else:
                before = (before + text).rpartition("/")[2]
        return members

    def _part(self, name: str, members: Mapping[str, Any], number: int) -> str:
        if name == ROW_NUMBER:
            return str(number)
        value = members.get(name)
        if value is None:
            raise InvalidError(f"there is no member {name!r} to build the key from, or its cell is empty")
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise InvalidError(f"the member {name!r} is part of the key and must be text or an integer")
        part = str(value)
        if self.escape:
            part = _ESCAPED.sub(lambda found: "".join(f"%{byte:02X}" for byte in found.group().encode()), part)
        # An empty part, or one with a slash, would make a different key than intended, perhaps that of another row.
        if not part or "/" in part:
            raise InvalidError(
                f"the member {name!r} is part of the key and must not be empty or contain a slash: {part!r}"
                + ("; --key-escape writes the slash as %2F" if part else "")
            )
        return part
