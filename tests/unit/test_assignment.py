"""Slots when the shards of a cluster change: even shares, and the fewest possible moves."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.engine.placement import SLOTS, SlotMap
from datastore.model.errors import ConfigError
from datastore_server.coordination.assignment import rebalanced

NAMES = st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=8, unique=True)
OWNERS = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=60)


def moved(before: list[str], after: list[str]) -> int:
    return sum(old != new for old, new in zip(before, after, strict=True))


@given(OWNERS, NAMES)
def test_shares_are_even_within_one_slot_among_exactly_the_shards_named(owners: list[str], names: list[str]) -> None:
    after = rebalanced(owners, names)
    if set(owners) == set(names):
        assert after == owners
        return
    shares = [Counter(after)[name] for name in names]
    assert sum(shares) == len(owners)
    assert max(shares) - min(shares) <= 1


@given(OWNERS, NAMES)
def test_no_even_assignment_moves_fewer_slots(owners: list[str], names: list[str]) -> None:
    if set(owners) == set(names):
        return
    after = rebalanced(owners, names)
    # Each shard keeps what it held up to its share, and those with the most held have the larger shares: the best.
    share, extra = divmod(len(owners), len(names))
    held = sorted((Counter(owners)[name] for name in names), reverse=True)
    kept = sum(min(count, share + (place < extra)) for place, count in enumerate(held))
    assert moved(owners, after) == len(owners) - kept


@given(OWNERS, NAMES, st.randoms())
def test_the_order_of_the_names_does_not_matter(owners: list[str], names: list[str], random: Random) -> None:
    shuffled = names.copy()
    random.shuffle(shuffled)
    assert rebalanced(owners, shuffled) == rebalanced(owners, names)


@given(OWNERS, NAMES)
def test_an_even_assignment_does_not_change(owners: list[str], names: list[str]) -> None:
    once = rebalanced(owners, names)
    assert rebalanced(once, names) == once


def test_a_new_shard_takes_its_share_from_all_and_nothing_else_moves() -> None:
    slot_map = SlotMap(["a", "b", "c"])
    before = [slot_map.names[owner] for owner in slot_map.owners]
    after = rebalanced(before, ["a", "b", "c", "d"])
    assert set(Counter(after).values()) == {SLOTS // 4}
    assert all(new in (old, "d") for old, new in zip(before, after, strict=True))


def test_removing_a_shard_moves_only_its_slots() -> None:
    before = [("a", "b", "c", "d")[slot % 4] for slot in range(SLOTS)]
    after = rebalanced(before, ["a", "b", "d"])
    assert all(new == old for old, new in zip(before, after, strict=True) if old != "c")


def test_there_must_be_a_shard() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        rebalanced(["a"], [])
