"""How a node's placement may change, and how it is recorded."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.engine.placement import MEMBERS, SLOTS, Member, NodePlacement, Placement
from datastore.model.errors import CorruptDataError, InvalidError, PlacementError
from datastore_server.placement import record, transitions
from tests.support.placements import placement

EMPTY = NodePlacement("0a")
PLACED = NodePlacement("0a", shard="a", current=placement(a="0a", b="0b", c="0c"))
MOVING = transitions.prepare_move(PLACED, "a", placement("a", "b", epoch=2, a="0a", b="0b"))
REMOVED = transitions.commit_move(transitions.prepare_move(PLACED, "", placement("b", "c", epoch=2)), 2)


def test_a_move_is_prepared_and_committed() -> None:
    assert MOVING.current == PLACED.current
    assert MOVING.may_hold_foreign
    moved = transitions.commit_move(MOVING, 2)
    assert (moved.shard, moved.current, moved.pending, moved.pending_shard) == ("a", MOVING.pending, None, "")
    assert moved.may_hold_foreign


def test_a_move_is_prepared_and_aborted() -> None:
    aborted = transitions.abort_move(MOVING, 2)
    assert aborted == replace(PLACED, may_hold_foreign=True)


def test_a_new_node_is_prepared_for_its_first_slots_and_is_new_again_after_an_abort() -> None:
    coming = transitions.prepare_move(EMPTY, "d", placement("a", "d", epoch=7))
    assert (coming.current, coming.pending_shard, coming.epoch) == (None, "d", 0)
    assert transitions.commit_move(coming, 7).epoch == 7
    assert transitions.abort_move(coming, 7) == EMPTY


def test_a_removed_node_owns_nothing_and_may_join_again_later() -> None:
    assert (REMOVED.shard, REMOVED.epoch) == ("", 2)
    assert REMOVED.current is not None
    assert not any(REMOVED.current.owned_by(""))
    with pytest.raises(PlacementError, match="no longer a member of cluster trial"):
        transitions.prepare_move(REMOVED, "a", placement(epoch=2))
    assert transitions.prepare_move(REMOVED, "a", placement(epoch=9)).pending_shard == "a"
    assert transitions.place_node(REMOVED, "x", placement("x", cluster="other")).shard == "x"
    with pytest.raises(PlacementError, match="no longer a member"):
        transitions.place_node(REMOVED, "a", placement())


@pytest.mark.parametrize(
    "repeat",
    [
        lambda: (transitions.place_node(PLACED, "a", placement(a="0a")), PLACED),
        lambda: (transitions.prepare_move(MOVING, "a", placement("a", "b", epoch=2, a="0a", b="0b")), MOVING),
        lambda: (transitions.commit_move(REMOVED, 2), REMOVED),
        lambda: (transitions.abort_move(PLACED, 2), PLACED),
        lambda: (transitions.abort_move(EMPTY, 2), EMPTY),
    ],
    ids=["place", "prepare", "commit", "abort", "abort of a new one"],
)
def test_repeating_a_request_changes_nothing(repeat) -> None:
    after, before = repeat()
    assert after is before


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (lambda: transitions.prepare_move(PLACED, "a", placement(epoch=1)), "epoch 1 of cluster trial cannot follow"),
        (lambda: transitions.prepare_move(PLACED, "a", placement(epoch=3)), "epoch 3 of cluster trial cannot follow"),
        (lambda: transitions.prepare_move(PLACED, "a", placement(epoch=2, cluster="o")), "of cluster o cannot follow"),
        (lambda: transitions.prepare_move(MOVING, "a", placement(epoch=2)), "another move, to trial/a/2, is being"),
        (lambda: transitions.prepare_move(MOVING, "b", placement("a", "b", epoch=2)), "another move"),
        (lambda: transitions.prepare_move(PLACED, "a", placement(epoch=2, a="0f")), "another data directory"),
        (lambda: transitions.prepare_move(EMPTY, "", placement(epoch=2)), "nothing to prepare"),
        (lambda: transitions.place_node(MOVING, "a", placement()), "a move to epoch 2 is being prepared here"),
        (lambda: transitions.commit_move(PLACED, 2), r"no move to epoch 2 is being prepared.*trial/a/1"),
        (lambda: transitions.commit_move(EMPTY, 2), "no move to epoch 2 is being prepared.*without a placement"),
        (lambda: transitions.commit_move(MOVING, 1), "to epoch 2, not 1"),
        (lambda: transitions.commit_move(MOVING, 3), "to epoch 2, not 3"),
        (lambda: transitions.abort_move(MOVING, 3), "to epoch 2, not 3"),
        (lambda: transitions.abort_move(REMOVED, 2), "no move to epoch 2 is being prepared"),
        (lambda: transitions.check_epoch(PLACED, 2), "epoch 2 is neither current nor coming"),
        (lambda: transitions.check_epoch(MOVING, 1), "epoch 1 is neither current nor coming"),
        (lambda: transitions.check_epoch(EMPTY, 0), "epoch 0 is neither current nor coming"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(request_, says) -> None:
    with pytest.raises(PlacementError, match=says):
        request_()


def test_a_node_that_placed_itself_by_an_old_configuration_may_be_placed_by_a_new_one() -> None:
    provisional = NodePlacement("0d", shard="d", current=placement("a", "d"))
    assert transitions.starts_anew(provisional, placement("a", "b", "d"))
    assert transitions.place_node(provisional, "d", placement("a", "b", "d")).current == placement("a", "b", "d")
    assert transitions.prepare_move(provisional, "d", placement("a", "d", epoch=9)).pending_shard == "d"
    # A completed placement has a history.
    complete = transitions.place_node(provisional, "d", placement("a", "d", a="0a", d="0d"))
    assert not transitions.starts_anew(complete, placement("a", "b", "d"))
    with pytest.raises(PlacementError):
        transitions.place_node(complete, "d", placement("a", "b", "d"))


def test_only_unknown_identities_of_members_are_filled_in() -> None:
    node = transitions.place_node(EMPTY, "a", placement())
    node = transitions.place_node(node, "a", placement(b="0b"))
    node = transitions.place_node(node, "a", placement(c="0c", a="0a"))
    assert node.current is not None
    assert [member.node_id for member in node.current.members] == ["0a", "0b", "0c"]
    assert node.current.is_complete
    moved = replace(node.current, members=tuple(replace(member, url="grpc://x:1") for member in node.current.members))
    found = transitions.place_node(node, "a", moved).current
    assert found is not None
    assert {member.url for member in found.members} == {"grpc://x:1"}


@pytest.mark.parametrize("node", [EMPTY, PLACED, MOVING, REMOVED], ids=["empty", "placed", "moving", "removed"])
def test_a_record_is_read_back_unchanged(node: NodePlacement) -> None:
    assert record.unpack(record.pack(node)) == node


@given(st.data())
def test_a_damaged_record_is_never_read(data) -> None:
    packed = bytearray(record.pack(PLACED))
    kind = data.draw(st.sampled_from(["flip", "cut", "empty"]))
    if kind == "flip":
        packed[data.draw(st.integers(0, len(packed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del packed[data.draw(st.integers(0, len(packed) - 1)) if kind == "cut" else 0 :]
    with pytest.raises(CorruptDataError):
        record.unpack(bytes(packed))


def test_the_record_of_a_proxy_keeps_its_revision() -> None:
    assert record.unpack_revision(record.pack_revision(2**40, b"\x00x")) == (2**40, b"\x00x")


GOOD = placement()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"cluster": ""}, "cluster"),
        ({"cluster": "a/b"}, "cluster"),
        ({"cluster": "a" * 65}, "cluster"),
        ({"epoch": 0}, "epoch"),
        ({"epoch": -1}, "epoch"),
        ({"shard_by": "value"}, "shard_by"),
        ({"members": ()}, "members"),
        ({"members": (Member("a"), Member("a"), Member("c"))}, "members"),
        ({"members": (Member("b"), Member("a"), Member("c"))}, "members"),
        ({"members": (Member("a"), Member("b/c"), Member("c"))}, "members"),
        ({"members": tuple(Member(f"s{number:04}") for number in range(MEMBERS + 1))}, "members"),
        ({"owners": GOOD.owners[:-1]}, "owners"),
        ({"owners": (*GOOD.owners, 0)}, "owners"),
        ({"owners": (3, *GOOD.owners[1:])}, "owners"),
        ({"owners": (-1, *GOOD.owners[1:])}, "owners"),
    ],
)
def test_an_impossible_placement_is_refused_with_the_field(change, field) -> None:
    with pytest.raises(InvalidError) as raised:
        replace(GOOD, **change)
    assert raised.value.field == field


def test_a_cluster_can_have_as_many_members_as_the_limit() -> None:
    members = tuple(Member(f"s{number:04}") for number in range(MEMBERS))
    placed = Placement("trial", 1, "key", members, tuple(slot % MEMBERS for slot in range(SLOTS)))
    assert [placed.slots_of(shard) for shard in placed.shards] == [SLOTS // MEMBERS] * MEMBERS


def test_every_slot_is_owned_by_one_member() -> None:
    owned = [GOOD.owned_by(shard) for shard in GOOD.shards]
    assert [sum(column) for column in zip(*owned, strict=True)] == [1] * SLOTS
    assert sum(GOOD.slots_of(shard) for shard in GOOD.shards) == SLOTS
    assert GOOD.slots_of("nobody") == 0
