"""Changes as messages: whatever they are, they come back, in messages as large as was asked for."""

from __future__ import annotations

from itertools import chain, pairwise

from hypothesis import given
from hypothesis import strategies as st

from datastore.model.changes import Change, ChangeKind
from datastore.model.key import Key
from datastore.wire import raw
from datastore.wire.changes import decode_changes, encode_changes
from datastore.wire.values import encode_value

KEYS = st.text("ab:/ü", max_size=200).map(lambda text: Key(f"/Thing/{text}"))
#: Any, those around the sizes at which a varint grows, and those of a tenth of a second, which share their first bits.
VERSIONS = st.one_of(
    st.integers(1, 2**63 - 1),
    st.builds(lambda bits, more: max(1, 2**bits + more), st.integers(0, 62), st.integers(-1, 1)),
    st.integers(1_790_000_000_000_000, 1_790_000_000_100_000),
)
PLAIN = st.text("xü", max_size=300) | st.booleans()
CHANGES = st.lists(
    st.builds(Change, st.just(ChangeKind.PUT), KEYS, VERSIONS, st.none() | PLAIN | PLAIN.map(encode_value))
    | st.builds(Change, st.sampled_from([ChangeKind.DELETE, ChangeKind.EXPIRE]), KEYS, VERSIONS, st.none()),
    max_size=30,
)


def parsed(message: bytes) -> list[Change]:
    return decode_changes(raw.WatchResponse.FromString(message).changes)


def as_sent(change: Change) -> Change:
    return change if change.value is None else change._replace(value=encode_value(change.value))


@given(CHANGES, st.integers(1, 2000))
def test_changes_come_back_in_their_order(changes: list[Change], message_bytes: int) -> None:
    messages = encode_changes(changes, message_bytes)
    assert list(chain.from_iterable(map(parsed, messages))) == list(map(as_sent, changes))


@given(CHANGES, st.integers(1, 2000))
def test_a_message_is_as_large_as_was_asked_for_or_has_one_change(changes: list[Change], message_bytes: int) -> None:
    messages = list(encode_changes(changes, message_bytes))
    assert all(len(message) <= message_bytes or len(parsed(message)) == 1 for message in messages)
    for message, after in pairwise(messages):
        first = next(encode_changes(parsed(after)[:1], message_bytes))
        assert len(message) + len(first) > message_bytes
