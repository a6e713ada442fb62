"""Which changes a configuration makes, and which entries they move."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.engine.placement import SLOTS, Member, Placement, first_placement
from datastore.model.errors import ConfigError
from datastore_server.config import ClusterConfig, Config, ShardConfig
from datastore_server.coordination.planning import (
    Summary,
    check_fits,
    differing,
    moves,
    target_placement,
    total,
)


def config_of(*names: str, shard_by: str = "key", cluster: str = "trial") -> Config:
    shards = [ShardConfig(name=name, url=f"grpc://127.0.0.1:{100 + ord(name)}") for name in names]
    return Config(cluster=ClusterConfig(name=cluster, shard_by=shard_by), shards=shards)  # type: ignore[arg-type]


def members_of(*names: str) -> dict[str, Member]:
    return {name: Member(name, node_id=f"id-{name}") for name in names}


def formed(*names: str) -> Placement:
    return first_placement("trial", members_of(*names).values())


def owners(placement: Placement) -> list[str]:
    return [placement.shards[owner] for owner in placement.owners]


def test_a_fourth_shard_takes_a_quarter_and_the_epoch_grows_by_one() -> None:
    before = formed("a", "b", "c")
    after = target_placement(before, config_of("a", "b", "c", "d"), members_of(*"abcd"), {})
    assert (after.epoch, after.slots_of("d")) == (2, SLOTS // 4)
    assert all(new in (old, "d") for old, new in zip(owners(before), owners(after), strict=True))


def test_removing_a_shard_keeps_the_slots_of_the_others() -> None:
    before = formed("a", "b", "c")
    grown = target_placement(before, config_of("a", "b", "c", "d"), members_of(*"abcd"), {})
    after = target_placement(grown, config_of("a", "c", "d"), members_of(*"acd"), {})
    assert after.epoch == 3
    assert all(new == old for old, new in zip(owners(grown), owners(after), strict=True) if old != "b")


def test_a_renamed_shard_keeps_its_slots() -> None:
    before = formed("a", "b")
    after = target_placement(before, config_of("a", "x"), members_of("a", "x"), {"b": "x"})
    assert [("x" if old == "b" else old) for old in owners(before)] == owners(after)


def test_a_shard_renamed_to_the_front_keeps_its_slots_too() -> None:
    before = formed("m", "z")
    after = target_placement(before, config_of("a", "m"), members_of("a", "m"), {"z": "a"})
    assert [("a" if old == "z" else old) for old in owners(before)] == owners(after)


def test_another_rule_changes_no_owner_of_a_slot() -> None:
    after = target_placement(formed("a", "b"), config_of("a", "b", shard_by="collection"), members_of("a", "b"), {})
    assert (after.epoch, after.shard_by, after.owners) == (2, "collection", formed("a", "b").owners)


def test_the_same_configuration_changes_nothing_and_a_replaced_node_does() -> None:
    before = formed("a", "b")
    assert target_placement(before, config_of("a", "b"), members_of("a", "b"), {}) is before
    other = members_of("a", "b") | {"b": Member("b", node_id="id-new")}
    after = target_placement(before, config_of("a", "b"), other, {})
    assert (after.epoch, after.owners) == (2, before.owners)


@pytest.mark.parametrize(
    ("names", "renames", "says"),
    [
        ("ax", {"z": "x"}, "the cluster has no shard 'z'; it has a, b"),
        ("ab", {"b": "x"}, "the configuration has no shard 'x'; it has a, b"),
        ("ab", {"a": "b"}, "'a' is a shard both before and after"),
        ("bx", {"a": "b"}, "'b' is a shard both before and after"),
    ],
)
def test_a_renaming_that_does_not_fit_is_refused(names: str, renames: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        target_placement(formed("a", "b"), config_of(*names), members_of(*names), renames)


def test_a_cluster_keeps_its_name() -> None:
    with pytest.raises(ConfigError, match="belong to cluster 'trial', but the configuration says 'other'"):
        target_placement(formed("a"), config_of("a", cluster="other"), members_of("a"), {})


def test_a_move_in_progress_continues_only_with_its_own_configuration() -> None:
    pending = target_placement(formed("a", "b"), config_of("a", "b", "c"), members_of(*"abc"), {})
    check_fits(pending, config_of(*"abc"), "F")
    for other in (config_of("a", "b"), config_of(*"abc", shard_by="collection"), config_of(*"abc", cluster="other")):
        with pytest.raises(ConfigError, match=r"a move to epoch 2 is under way, .* shard_by = 'key'.*abort F"):
            check_fits(pending, other, "F")


SLOTS_HELD = st.dictionaries(
    st.integers(0, 20), st.builds(Summary, st.integers(1, 9), st.integers(1, 99), st.integers(0, 2**64 - 1)), max_size=8
)


@given(
    st.dictionaries(st.sampled_from("abc"), SLOTS_HELD, min_size=1),
    st.lists(st.sampled_from("abcd"), min_size=21, max_size=21),
)
def test_every_misplaced_entry_moves_once(held: dict[str, dict[int, Summary]], owner_of: list[str]) -> None:
    planned = moves(held, owner_of)
    moved = {(move.source, slot): move.target for move in planned for slot in move.slots}
    assert len(moved) == sum(len(move.slots) for move in planned)
    for source, slots in held.items():
        for slot in slots:
            assert moved.get((source, slot), source) == owner_of[slot]
    for move in planned:
        assert move.source != move.target
        assert move.size.entries == sum(held[move.source][slot].entries for slot in move.slots)


def test_empty_slots_that_move_are_part_of_a_plan_if_the_rule_is_unchanged() -> None:
    (move,) = moves({"a": {1: Summary(2, 3, 4)}}, ["b", "b", "a"], {0: "a", 1: "a", 2: "a"})
    assert (move.source, move.target, move.slots, move.size) == ("a", "b", (0, 1), Summary(2, 3, 4))


@given(st.lists(SLOTS_HELD, max_size=4))
def test_the_total_of_some_nodes_differs_from_any_other_contents(held: list[dict[int, Summary]]) -> None:
    together = total(held)
    assert sum(summary.entries for summary in together.values()) == sum(
        summary.entries for slots in held for summary in slots.values()
    )
    assert differing(together, together, range(21)) == []
    assert differing(together, {}, range(21)) == sorted(together)
    assert differing({}, together, range(21)) == sorted(together)


def test_checksums_add_up_modulo_two_to_the_64() -> None:
    assert Summary(1, 2, 2**64 - 1) + Summary(3, 4, 5) == Summary(4, 6, 4)
