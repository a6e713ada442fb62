"""The hash that placement depends on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from datastore import Key
from datastore.model import fasthash


@given(st.binary())
def test_bytes_are_hashed_unchanged_to_sixty_bits(data):
    assert fasthash.hash(data) == xxh3_64_intdigest(data) & (2**60 - 1)
    assert 0 <= fasthash.hash(data) < 2**60


@given(st.one_of(st.text(), st.integers(), st.text("ab:/", max_size=9).map(Key)))
def test_anything_else_is_hashed_as_the_utf_8_of_its_text(thing):
    assert fasthash.hash(thing) == fasthash.hash(str(thing)) == fasthash.hash(str(thing).encode())


def test_lone_surrogates_are_hashed_too():
    assert fasthash.hash("\ud800") == fasthash.hash(b"\xed\xa0\x80")


def test_the_hash_of_nothing_is_that_of_xxh3():
    assert fasthash.hash(b"") == 0x2D06800538D394C2 & (2**60 - 1)


@given(st.text())
def test_the_builtin_hash_returns_it_unchanged(text):
    number = fasthash.hash(text)
    assert hash(number) == number
