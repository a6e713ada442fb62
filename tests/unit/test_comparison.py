"""A configuration compared with the nodes: what is served, placed, or refused, and with which command."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest

from datastore.engine.placement import Member, NodePlacement, Placement, first_placement
from datastore.model.errors import DatastoreError, UnavailableError
from datastore_server.config import ClusterConfig, Config, ShardConfig
from datastore_server.coordination.comparison import Answer, Verdict, compare
from datastore_server.coordination.planning import target_placement

Answers = dict[str, Answer | DatastoreError]


def config_of(*names: str, shard_by: str = "key", cluster: str = "trial") -> Config:
    shards = [ShardConfig(name=name, url=f"grpc://127.0.0.1:{100 + ord(name)}") for name in names]
    return Config(cluster=ClusterConfig(name=cluster, shard_by=shard_by), shards=shards)  # type: ignore[arg-type]


def empty(name: str, *, in_memory: bool = False) -> Answer:
    """A node that was never placed."""
    return Answer(NodePlacement(node_id=f"id-{name}"), is_empty=True, in_memory=in_memory)


def placed(placement: Placement, name: str, *, is_empty: bool = False) -> Answer:
    """A node that has the placement."""
    return Answer(NodePlacement(node_id=f"id-{name}", shard=name, current=placement), is_empty, in_memory=False)


def formed(*names: str) -> Placement:
    """The first placement of these shards, complete."""
    return first_placement("trial", [Member(name, node_id=f"id-{name}") for name in names])


def running(*names: str) -> Answers:
    """The nodes of a cluster with entries."""
    placement = formed(*names)
    return {name: placed(placement, name) for name in names}


def refused(verdict: Verdict) -> str:
    """The texts of the differences; there must be some, and then nothing is placed."""
    assert verdict.differences
    assert not verdict.unplaced and not verdict.fitting
    return "\n".join(map(str, verdict.differences))


def test_empty_nodes_are_placed_by_the_names_of_the_shards_with_all_identities_known() -> None:
    verdict = compare(config_of("a", "b"), {"a": empty("a"), "b": empty("b")})
    assert verdict.placement is not None and verdict.placement.is_complete
    assert verdict.placement.owners == formed("a", "b").owners
    assert (verdict.placement.epoch, set(verdict.unplaced), verdict.differences) == (1, {"a", "b"}, ())


def test_nodes_that_match_the_configuration_are_served_and_nothing_is_placed() -> None:
    verdict = compare(config_of("a", "b"), running("a", "b"))
    assert verdict == Verdict(formed("a", "b"), fitting=frozenset({"a", "b"}))


def test_a_node_that_cannot_be_reached_is_left_out_and_the_others_serve() -> None:
    answers = running("a", "b", "c") | {"b": UnavailableError("down")}
    verdict = compare(config_of("a", "b", "c"), answers)
    assert (verdict.fitting, verdict.differences) == ({"a", "c"}, ())


def test_nothing_is_known_while_no_node_can_be_reached() -> None:
    assert compare(config_of("a"), {"a": UnavailableError("down")}) == Verdict(None, awaited=("a",))


def test_an_interrupted_first_placement_is_completed() -> None:
    first = compare(config_of("a", "b"), {"a": empty("a"), "b": empty("b")})
    assert first.placement is not None
    second = compare(config_of("a", "b"), {"a": placed(first.placement, "a"), "b": empty("b")})
    assert second == Verdict(first.placement, unplaced=("b",), fitting=frozenset({"a", "b"}))


@pytest.mark.parametrize(
    "lone",
    [
        empty("c"),
        empty("c", in_memory=True),
        placed(first_placement("trial", [Member(name) for name in "abc"]), "c", is_empty=True),
        placed(first_placement("trial", [Member(name) for name in "abc"]), "c"),
        placed(first_placement("trial", [Member("c")]), "c", is_empty=True),
    ],
    ids=["unplaced", "in memory", "placed by itself", "and written to directly", "by an older configuration"],
)
def test_a_node_that_does_not_know_its_cluster_is_neither_placed_nor_served_while_others_do_not_answer(
    lone: Answer,
) -> None:
    down = UnavailableError("down")
    verdict = compare(config_of("a", "b", "c"), {"a": down, "b": down, "c": lone})
    assert verdict == Verdict(None, awaited=("a", "b"))


def test_a_rebalanced_placement_is_taken_from_the_nodes_and_not_from_names() -> None:
    config = config_of("a", "b", "c")
    known = {name: Member(name, node_id=f"id-{name}") for name in "abc"}
    target = target_placement(formed("a", "b"), config, known, {})
    verdict = compare(config, {name: placed(target, name) for name in "abc"})
    assert verdict.placement == target != formed("a", "b", "c")
    assert not verdict.differences


def apply_of(text: str) -> list[str]:
    return re.findall(r"datastore placement apply CONFIG[^\n;)]*", text)


def test_an_added_shard_is_refused_with_the_command_that_moves_its_share() -> None:
    for newcomer in (empty("c"), UnavailableError("not started"), placed(formed("a"), "c", is_empty=True)):
        text = refused(compare(config_of("a", "b", "c"), running("a", "b") | {"c": newcomer}))
        assert "the shard 'c', which the cluster does not have" in text
        assert "datastore placement apply CONFIG --offline" in apply_of(text)


def test_a_new_node_that_placed_itself_by_the_new_configuration_is_not_believed() -> None:
    alone = first_placement("trial", [Member(name) for name in "abc"])
    text = refused(compare(config_of("a", "b", "c"), running("a", "b") | {"c": placed(alone, "c", is_empty=True)}))
    assert text.count("\n") == 1
    assert "the shard 'c', which the cluster does not have" in text


def test_a_removed_shard_is_refused_with_its_address() -> None:
    placement = replace(
        formed("a", "b"), members=tuple(replace(m, url=f"grpc://h:{m.shard}") for m in formed("a", "b").members)
    )
    text = refused(compare(config_of("a"), {"a": placed(placement, "a")}))
    assert f"the shard 'b' with {placement.slots_of('b'):,} slots (epoch 1), which CONFIG does not have" in text
    assert "it was at grpc://h:b" in text
    assert "datastore placement apply CONFIG --offline" in apply_of(text)


def test_a_renamed_shard_is_refused_with_the_command_that_renames_it() -> None:
    answers = running("a", "b")
    text = refused(compare(config_of("a", "x"), {"a": answers["a"], "x": answers["b"]}))
    assert "shard 'b' is named 'x' in CONFIG" in text
    assert apply_of(text) == ["datastore placement apply CONFIG --rename b=x"]


def test_exchanged_addresses_are_refused_with_the_right_ones() -> None:
    answers = running("a", "b")
    text = refused(compare(config_of("a", "b"), {"a": answers["b"], "b": answers["a"]}))
    assert "grpc://127.0.0.1:197 is shard 'b', but CONFIG has shard 'a' there" in text
    assert "'a' is at grpc://127.0.0.1:198: set url = \"grpc://127.0.0.1:198\" for it" in text


def test_another_shard_by_rule_is_refused_with_both_remedies() -> None:
    text = refused(compare(config_of("a", "b", shard_by="collection"), running("a", "b")))
    assert "placed with shard_by = 'key', but CONFIG says shard_by = 'collection'" in text
    assert 'set shard_by = "key"' in text and "datastore placement apply CONFIG --offline" in apply_of(text)


def test_another_cluster_is_refused_whole_and_as_a_single_node() -> None:
    assert "belong to cluster 'trial', but CONFIG says 'other'" in refused(
        compare(config_of("a", "b", cluster="other"), running("a", "b"))
    )
    stray = placed(replace(formed("a", "b"), cluster="other"), "b")
    text = refused(compare(config_of("a", "b", "c"), running("a", "b", "c") | {"b": stray}))
    assert "grpc://127.0.0.1:198 belongs to cluster 'other'" in text


def test_an_empty_directory_in_place_of_a_full_one_is_refused() -> None:
    other = Answer(NodePlacement(node_id="id-new"), is_empty=True, in_memory=False)
    text = refused(compare(config_of("a", "b"), running("a", "b") | {"b": other}))
    assert f"empty data directory, but {formed('a', 'b').slots_of('b'):,} slots with their entries are expected" in text
    assert "datastore placement apply CONFIG --replace b --offline" in apply_of(text)


def test_another_directory_that_claims_the_same_shard_is_refused() -> None:
    placement = formed("a", "b")
    other = Answer(NodePlacement(node_id="id-copy", shard="b", current=placement), is_empty=False, in_memory=False)
    text = refused(compare(config_of("a", "b"), running("a", "b") | {"b": other}))
    assert "the wrong data directory as shard 'b': it is node id-copy, not id-b" in text


def test_a_directory_copied_to_another_shard_is_refused_placed_or_not() -> None:
    answers = running("a", "b")
    assert "serve the same data directory, or copies of it" in refused(
        compare(config_of("a", "b"), {"a": answers["a"], "b": answers["a"]})
    )
    assert "serve the same data directory, or copies of it" in refused(
        compare(config_of("a", "b"), {"a": empty("a"), "b": empty("a")})
    )


def test_a_node_in_memory_that_started_again_is_placed_again() -> None:
    config = config_of("a", "b")
    first = compare(config, {"a": empty("a"), "b": empty("b", in_memory=True)}).placement
    assert first is not None and first.is_complete
    answers: Answers = {"a": placed(first, "a"), "b": Answer(NodePlacement("id-2"), is_empty=True, in_memory=True)}
    verdict = compare(config, answers)
    assert (verdict.unplaced, verdict.differences) == (("b",), ())


def test_entries_without_a_placement_are_refused_with_the_command_that_checks_them() -> None:
    old = Answer(NodePlacement(node_id="id-a"), is_empty=False, in_memory=False)
    text = refused(compare(config_of("a", "b"), {"a": old, "b": empty("b")}))
    assert "(shard 'a') holds entries, but has no placement" in text
    assert apply_of(text) == ["datastore placement apply CONFIG --adopt"]


def moved(answers: Mapping[str, Answer], *names: str) -> tuple[Config, Placement]:
    config = config_of(*names)
    known = {name: Member(name, node_id=f"id-{name}") for name in names}
    return config, target_placement(formed(*answers), config, known, {})


def test_an_outdated_configuration_is_refused() -> None:
    answers = {name: placed(formed("a", "b"), name) for name in "ab"}
    _, target = moved(answers, "a", "b", "c")
    text = refused(compare(config_of("a", "b"), {name: placed(target, name) for name in "ab"}))
    assert "the cluster has the shard 'c'" in text and "(epoch 2)" in text


def test_a_node_that_is_behind_is_refused_and_one_that_only_has_to_commit_finishes() -> None:
    answers = {name: placed(formed("a", "b"), name) for name in "ab"}
    config, target = moved(answers, "a", "b", "c")
    ahead: Answers = {name: placed(target, name) for name in "ac"}
    text = refused(compare(config, ahead | {"b": answers["b"]}))
    assert "(shard 'b') has the placement of epoch 1, but the cluster is at 2" in text
    waiting = replace(answers["b"], placement=replace(answers["b"].placement, pending=target, pending_shard="b"))
    text = refused(compare(config, ahead | {"b": waiting}))
    assert "a move to epoch 2 is being finished, and shard 'b' has not switched yet" in text
    assert apply_of(text) == ["datastore placement apply CONFIG --offline"]


def waiting_for(target: Placement, answers: Mapping[str, Answer]) -> Answers:
    """Nodes that have prepared a move."""
    return {
        name: replace(answer, placement=replace(answer.placement, pending=target, pending_shard=name))
        for name, answer in answers.items()
    }


def test_a_prepared_move_is_reported_to_the_old_configuration_which_still_reads() -> None:
    answers = {name: placed(formed("a", "b"), name) for name in "ab"}
    _, target = moved(answers, "a", "b", "c")
    verdict = compare(config_of("a", "b"), waiting_for(target, answers))
    assert not verdict.differences and verdict.fitting == {"a", "b"}
    text = str(verdict.move)
    assert "a move to epoch 2 (a, b, c) is under way, and writes are refused" in text
    assert "datastore placement abort CONFIG" in text


@pytest.mark.parametrize("newcomer", ["empty", "filled"])
def test_a_prepared_move_is_the_only_difference_of_its_own_configuration(newcomer: str) -> None:
    answers = {name: placed(formed("a", "b"), name) for name in "ab"}
    config, target = moved(answers, "a", "b", "c")
    waiting = waiting_for(target, answers | {"c": replace(empty("c"), is_empty=newcomer == "empty")})
    verdict = compare(config, waiting)
    assert all(difference.passes for difference in verdict.differences)
    text = refused(verdict)
    assert "--adopt" not in text and "take it out" not in text
    assert set(apply_of(text)) == {"datastore placement apply CONFIG --offline"}
    # The others have switched, and the new member holds its entries.
    switched: Answers = {name: placed(target, name) for name in "ab"}
    (difference,) = compare(config, switched | {"c": waiting["c"]}).differences
    assert difference.passes and "shard 'c' has not switched yet" in difference.text


def test_a_prepared_move_is_reported_to_a_third_configuration() -> None:
    answers = {name: placed(formed("a", "b"), name) for name in "ab"}
    _, target = moved(answers, "a", "b", "c")
    verdict = compare(config_of("a"), {"a": waiting_for(target, answers)["a"]})
    assert "a move to epoch 2 (a, b, c) is under way" in refused(verdict)
    assert not any(difference.passes for difference in verdict.differences)


@pytest.mark.parametrize("names", [("a",), ("a", "b", "c")])
def test_every_difference_says_what_resolves_it(names: tuple[str, ...]) -> None:
    verdict = compare(config_of(*names), {name: running("a", "b").get(name, empty(name)) for name in names})
    for difference in verdict.differences:
        assert re.search(r"datastore |set |url", difference.resolve)
