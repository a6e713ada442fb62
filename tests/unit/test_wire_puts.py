"""Puts read without messages: the same as with messages, or left to them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from datastore.model.errors import DatastoreError
from datastore.model.key import Key
from datastore.model.operations import Operation, Put
from datastore.testing import cases
from datastore.wire import WireValue, encode_value, plain_puts, raw
from datastore_server.limits import Limits
from datastore_server.requests import Requests

VALUE = encode_value("v").data
#: Sizes at which lengths take one byte more.
TEXTS = ["/", "/k", "/" + "k" * 122, "/" + "k" * 124, "/" + "k" * 125, "/" + "k" * 126, "/é", "k", "", "/\n", "/a//b"]
DATAS = [VALUE, b"", b"x", *(bytes(size) for size in (100, 126, 127, 128, 129, 16_000, 16_383, 16_384, 100_000))]


def put(text: str, data: bytes) -> Any:
    write = raw.BatchWriteRequest().writes.add()
    write.put.key.text, write.put.value = text, data
    return write


def parsed(data: bytes) -> Any:
    return type(put("", b"")).FromString(data)


@pytest.mark.parametrize("data", DATAS, ids=len)
@pytest.mark.parametrize("text", TEXTS)
def test_a_put_is_read_as_it_was_written_or_left(text: str, data: bytes) -> None:
    write = put(text, data)
    read = plain_puts([write.SerializeToString()] * 2)
    assert read in (None, ([text.encode()] * 2, [data] * 2))
    is_common = 1 < len(text.encode()) <= 125 and 0 < len(data) <= 16_000
    assert read is not None or not is_common


@given(cases.keys(), st.binary(max_size=300), st.data())
def test_bytes_that_were_altered_are_read_as_messages_read_them_or_left(key: Key, value: bytes, data: Any) -> None:
    written = bytearray(put(str(key), value).SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, min(len(written), 12)))
        written[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    read = plain_puts([bytes(written)])
    if read is not None:
        (text,), (held,) = read
        # Whether the text is text is checked with all keys.
        with suppress(UnicodeDecodeError):
            expected = put(text.decode(), held)
            assert parsed(bytes(written)) == expected
            assert bytes(written) == expected.SerializeToString()


@pytest.mark.parametrize("term", ["condition", "expiry", "attempt"])
def test_terms_are_never_overlooked(term: str) -> None:
    write = put("/k", VALUE)
    getattr(write, term).SetInParent()
    assert plain_puts([write.SerializeToString()]) is None
    write.ClearField(term)
    write.put.metadata.SetInParent()
    assert plain_puts([write.SerializeToString()]) is None


def request_of(puts: list[tuple[str, bytes]]) -> bytes:
    request = raw.BatchWriteRequest()
    request.writes.extend(put(text, data) for text, data in puts)
    data: bytes = request.SerializeToString()
    return data


def shown(items: list[Operation | DatastoreError]) -> list[object]:
    return [
        (type(item), item.key, getattr(item.value, "data", None))
        if not isinstance(item, DatastoreError)
        else (type(item), str(item))
        for item in items
    ]


ODD = [b"", b"\xff", b"\x08\x00", encode_value(None).data, b"\x2a\x01\xff", b"\x12\x00\x08\x00", bytes(7)]
VALUES = st.one_of(cases.wire_values().map(encode_value).map(lambda value: value.data), st.sampled_from(ODD))
PUTS = st.lists(st.tuples(st.one_of(cases.keys().map(str), st.sampled_from(TEXTS)), VALUES), min_size=1, max_size=5)


@given(PUTS, st.booleans())
@example([("/k", VALUE), ("/k", b"")], True)
@example([("/k", VALUE), ("/k", encode_value(None).data)], False)
@example([("/k" * 40, VALUE)], True)
@example([("/k", bytes(60))], False)
def test_batches_are_checked_together_as_they_are_one_by_one(puts: list[tuple[str, bytes]], check_values: bool) -> None:
    requests = Requests(Limits(key_bytes=50, entry_bytes=60), str, check_values=check_values)
    alone = [requests.writes(request_of([one]))[0][0] for one in puts]
    closer, _ = requests.writes(request_of([*puts, ("", VALUE)]))
    assert shown(requests.writes(request_of(puts))[0]) == shown(closer[:-1]) == shown(alone)


def test_a_batch_of_plain_puts_makes_no_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "BatchWriteRequest", None)
    requests = Requests(Limits(), str, check_values=True)
    write = b"\x0a\x0d\x0a\x04\x0a\x02/k\x12\x05\x2a\x03abc"
    (one,), is_atomic = requests.writes(b"\x0a\x0f" + write)
    assert not is_atomic
    assert isinstance(one, Put)
    assert (one.key, one.value) == (Key("/k"), WireValue(encode_value("abc").data))
