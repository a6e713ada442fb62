"""Serialized maps that are valid, but encoded in another way than protobuf does: built by hand, field by field."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from datastore.model.errors import InvalidValueError
from datastore.wire import check_value, encode_value
from datastore.wire.varints import length_delimited

__all__ = ["NAME", "VALUE", "entry", "field", "maps", "of", "scalar"]

#: The tags of the two fields of a map's entry, those of a map's entries and of a Value's map.
NAME, VALUE = b"\x0a", b"\x12"
_ENTRY, _MAP = b"\x0a", b"\x52"
#: A field that an entry does not have.
_UNKNOWN = b"\x1a\x01z"

field = length_delimited


def scalar(plain: Any) -> bytes:
    """The bytes of a plain value."""
    return encode_value(plain).data


def entry(name: str, *values: bytes) -> bytes:
    """An entry with a name and values, of which it should have one."""
    return b"".join([field(NAME, name.encode()), *(field(VALUE, value) for value in values)])


def of(*entries: bytes) -> bytes:
    """A map of these entries."""
    return field(_MAP, b"".join(field(_ENTRY, entry) for entry in entries))


def maps() -> st.SearchStrategy[bytes]:
    """Maps that a store accepts: entries in any order, with fields repeated, missing or unknown, also within others."""
    scalars = st.one_of(st.none(), st.integers(-1, 300), st.floats(), st.text(max_size=3)).map(scalar)
    return _maps_of(st.recursive(scalars, _maps_of, max_leaves=4)).filter(_is_accepted)


def _maps_of(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    names = st.sampled_from(["", "a", "a", "b", "x"]).map(lambda name: field(NAME, name.encode()))
    fields = st.one_of(values, values, st.just(b"")).map(lambda value: field(VALUE, value))
    entries = st.one_of(
        st.tuples(names, fields),
        st.lists(st.one_of(names, fields, fields, st.just(_UNKNOWN)), min_size=1, max_size=4),
    ).map(b"".join)
    parts = st.lists(entries, max_size=4).map(lambda found: of(*found))
    return st.lists(parts, min_size=1, max_size=2).map(b"".join)


def _is_accepted(data: bytes) -> bool:
    try:
        check_value(data)
    except InvalidValueError:
        return False
    return True
