"""The record format of the LMDB store, byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_digest, xxh3_64_intdigest

from datastore.lmdb.records import (
    OLDEST,
    Stored,
    created_us,
    pack,
    pack_all,
    unpack,
    unpack_all,
    unpack_metadata,
    unpack_stored,
)
from datastore.model.errors import CorruptDataError
from datastore.model.metadata import Metadata

TEXT = b"/a:b/c"
int64 = st.integers(0, 2**63 - 1)
values = st.one_of(st.binary(max_size=40), st.text(max_size=40))


def packed(value: bytes | str, metadata: Metadata, text: bytes = TEXT) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return pack(text, data, metadata, is_text=isinstance(value, str))


def bare(value: bytes | str, text: bytes = TEXT) -> bytes:
    """A record as releases without metadata stored it."""
    data = value.encode() if isinstance(value, str) else value
    return (b"\x02" if isinstance(value, str) else b"\x01") + xxh3_64_digest(data, xxh3_64_intdigest(text)) + data


@given(value=values, metadata=st.builds(Metadata, int64, int64, int64, int64))
def test_a_record_gives_back_what_was_packed(value: bytes | str, metadata: Metadata) -> None:
    record = packed(value, metadata)
    assert unpack_stored(TEXT, record) == Stored(value, metadata)
    assert unpack(TEXT, record) == value
    assert unpack_metadata(TEXT, record) == metadata
    assert created_us(TEXT, record) == metadata.created_us


def test_the_format_byte_says_which_parts_a_record_has() -> None:
    for value, text_bit in ((b"v", 0), ("v", 1)):
        for expires_us, expiry_bit in ((0, 0), (9, 2)):
            record = packed(value, Metadata(1, 2, 3, expires_us))
            assert record[0] == 16 + text_bit + expiry_bit
            times = b"".join(part.to_bytes(8) for part in (1, 2, 3, *((expires_us,) if expires_us else ())))
            assert record[9:] == times + b"v"


@given(st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=40), int64, int64, int64)), st.booleans())
def test_records_packed_together_are_those_packed_one_by_one(
    items: list[tuple[bytes, bytes, int, int, int]], is_text: bool
) -> None:
    together = pack_all(
        [text for text, *_ in items],
        [value for _, value, *_ in items],
        [(*stamp, 0) for _, _, *stamp in items],
        is_text=is_text,
    )
    assert list(together) == [pack(text, value, Metadata(*stamp), is_text=is_text) for text, value, *stamp in items]


@given(st.lists(st.tuples(values, st.booleans(), st.integers(0, 1)), max_size=6))
def test_records_of_all_formats_are_read_together(items: list[tuple[bytes | str, bool, int]]) -> None:
    texts = [b"/%d" % place for place in range(len(items))]
    records = [
        bare(value, text) if is_bare else packed(value, Metadata(5, 6, 7, expires_us), text=text)
        for text, (value, is_bare, expires_us) in zip(texts, items, strict=True)
    ]
    assert unpack_all(texts, records) == [value for value, *_ in items]


def test_a_record_of_a_release_without_metadata_has_the_oldest() -> None:
    for value in (b"value", "text", b"", ""):
        record = bare(value)
        assert unpack_stored(TEXT, record) == Stored(value, OLDEST)
        assert unpack_metadata(TEXT, record) == OLDEST == Metadata(1, 0, 0)
        assert created_us(TEXT, record) == 0


@pytest.mark.parametrize(
    "record",
    [
        packed(b"value", Metadata(1, 2, 3)),
        packed("text", Metadata(1, 2, 3, 4)),
        bare(b"value"),
    ],
)
def test_any_flipped_bit_and_any_cut_is_detected(record: bytes) -> None:
    altered = [
        record[:place] + bytes([record[place] ^ 1 << bit]) + record[place + 1 :]
        for place in range(len(record))
        for bit in range(8)
    ]
    for damaged in [*altered, *(record[:length] for length in range(len(record)))]:
        for read in (unpack, unpack_stored, unpack_metadata, created_us):
            with pytest.raises(CorruptDataError, match="/a:b/c"):
                read(TEXT, damaged)
        with pytest.raises(CorruptDataError, match="/a:b/c"):
            unpack_all([TEXT, TEXT], [record, damaged])
    with pytest.raises(CorruptDataError, match="its checksum does not match"):
        unpack(b"/other", record)
