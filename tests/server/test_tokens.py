"""Resume tokens: they are read back unchanged, and nothing else is accepted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.model.entries import Position
from datastore.model.errors import InvalidTokenError
from datastore.model.key import Key
from datastore.model.query import Query
from datastore_server.tokens import (
    End,
    Token,
    decode_page_token,
    decode_token,
    encode_page_token,
    encode_token,
    query_hash,
)

QUERY = Query(Key("/a")).order("n")
HASH = query_hash(b"a query")

tokens = st.builds(
    Token,
    query_hash=st.just(HASH),
    key=st.none() | st.sampled_from(["/", "/a", "/ü:b", "/a/b:c"]),
    sort_key=st.binary(max_size=40),
    limit=st.none() | st.integers(0, 2**63 - 1),
    offset=st.integers(0, 2**63 - 1),
    end=st.sampled_from(End),
    epoch=st.text(max_size=20),
)


@given(tokens)
def test_a_token_survives_a_round_trip(token: Token) -> None:
    assert decode_token(encode_token(token), HASH) == token
    assert decode_page_token(encode_page_token(token), HASH) == token


@given(tokens, st.data())
def test_any_altered_byte_is_refused(token: Token, data: st.DataObject) -> None:
    encoded = bytearray(encode_token(token))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InvalidTokenError, match=r"altered|cut or lengthened|version"):
        decode_token(bytes(encoded), HASH)


@given(tokens, st.data())
def test_any_cut_is_refused_as_such(token: Token, data: st.DataObject) -> None:
    encoded = encode_token(token)
    with pytest.raises(InvalidTokenError, match="cut"):
        decode_token(encoded[: data.draw(st.integers(1, len(encoded) - 1))], HASH)


@given(tokens, st.data())
def test_any_altered_character_of_a_page_token_is_refused(token: Token, data: st.DataObject) -> None:
    encoded = encode_page_token(token)
    index = data.draw(st.integers(0, len(encoded) - 1))
    other = data.draw(st.characters().filter(lambda character: character != encoded[index]))
    with pytest.raises(InvalidTokenError):
        decode_page_token(encoded[:index] + other + encoded[index + 1 :], HASH)


@given(st.binary(min_size=1, max_size=60))
def test_bytes_that_are_not_a_token_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidTokenError):
        decode_token(data, HASH)


@given(st.text(min_size=1, max_size=60))
def test_text_that_is_not_a_page_token_is_refused(text: str) -> None:
    with pytest.raises(InvalidTokenError) as caught:
        decode_page_token(text, HASH)
    assert caught.value.field == "page_token"


def test_a_token_of_another_query_is_refused_as_such() -> None:
    with pytest.raises(InvalidTokenError, match="another query") as caught:
        decode_token(encode_token(Token(query_hash=query_hash(b"another"))), HASH)
    assert caught.value.field == "resume_token"


def test_a_well_formed_token_with_a_bad_key_is_refused() -> None:
    with pytest.raises(InvalidTokenError, match="not made by a server"):
        decode_token(encode_token(Token(query_hash=HASH, key="/\x00")), HASH)


def test_the_position_is_none_only_at_the_beginning() -> None:
    assert Token(query_hash=HASH).position(QUERY, None) is None
    assert Token(query_hash=HASH, key="/a", sort_key=b"s").position(QUERY, None) == Position(b"s", Key("/a"))
