"""Shards added, removed, renamed, and another rule: nothing is lost, doubled or hidden, wherever it is interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from operator import le, lt
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from datastore.aio import Datastore
from datastore.engine.placement import SLOTS
from datastore.lmdb import LMDBDatastore
from datastore.model.entries import Write
from datastore.model.errors import ConfigError, DatastoreError, PlacementError, UnavailableError, WrongShardError
from datastore.model.key import Key
from datastore.model.operations import ReadOptions
from datastore.model.query import Query
from datastore_client import aio as client
from datastore_server.config import Config
from datastore_server.coordination import moving
from datastore_server.coordination.moving import Options, abort, apply, plan
from datastore_server.coordination.nodes import NodeClient
from datastore_server.coordination.planning import Slots, Summary
from tests.support.growing import SOURCE, Nodes, apply_now, check_whole, fill, nodes, proxy
from tests.support.moves import (
    ENTRIES,
    CrashError,
    crash,
    cut_before_the_deletion,
    formed,
    interrupted_before,
    typed,
)


async def check(running: Nodes, *names: str, **settings: Any) -> None:
    """Check that a cluster of these nodes has every entry once, where it belongs, and accepts writes."""
    async with proxy(running.config(*names, **settings)) as store:
        await check_whole(store, ENTRIES, absent=[Key("/none")])
        await store.put(Key("/written"), 1)
        await store.delete(Key("/written"))
    held = await running.held()
    assert sorted(key for keys in held.values() for key in keys) == sorted(map(str, ENTRIES))


async def test_three_shards_become_four_and_two_and_nothing_is_lost_doubled_or_hidden(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b", "c", "d") as running:
        await formed(running, "a", "b", "c")
        grown = await apply_now(running.config("a", "b", "c", "d"))
        assert grown.target.epoch == 2 and grown.target.slots_of("d") == SLOTS // 4
        assert {move.target for move in grown.moves} == {"d"}
        await check(running, "a", "b", "c", "d")
        await apply_now(running.config("a", "d"))
        await check(running, "a", "d")
        assert {name: len(keys) for name, keys in (await running.held()).items() if name in "bc"} == {"b": 0, "c": 0}
        await running.stop("b", "c")
        await check(running, "a", "d")


async def test_a_plan_says_what_moves_and_changes_nothing(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b", "c") as running:
        await formed(running, "a", "b")
        config = running.config("a", "b", "c")
        planned = await plan(config, SOURCE, Options())
        assert planned.target.epoch == 2
        assert 0 < planned.size.entries < len(ENTRIES) and planned.size.bytes > planned.size.entries
        assert sum(len(move.slots) for move in planned.moves) == planned.target.slots_of("c") == SLOTS // 3
        await check(running, "a", "b")
        applied = await apply(config, SOURCE, Options(offline=True), lambda _: None)
        assert applied == planned
        again = await apply(config, SOURCE, Options(), lambda _: None)
        assert again.target is again.current and not again.moves


async def test_entries_move_only_if_writes_may_be_refused_meanwhile(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b") as running:
        await formed(running, "a")
        with pytest.raises(ConfigError, match=r"entries would move, and writes would be refused meanwhile.*--offline"):
            await apply(running.config("a", "b"), SOURCE, Options(), lambda _: None)
        await check(running, "a")


async def test_a_shard_is_renamed_without_moving_an_entry(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b", named=True) as running:
        await formed(running, "a", "b")
        config = running.config("a", "x=b")
        with pytest.raises(ConfigError, match=r"shard 'b' is named 'x'.*\n.*--rename b=x"):
            await apply(config, SOURCE, Options(offline=True), lambda _: None)
        renamed = await apply(config, SOURCE, Options(renames={"b": "x"}), lambda _: None)
        assert renamed.size.entries == 0
        await check(running, "a", "x=b")


async def test_versions_grow_over_a_move_to_a_node_whose_clock_is_behind(tmp_path: Path) -> None:
    ahead = Key("/ahead")
    with LMDBDatastore(tmp_path / "a", clock=lambda: 4_000_000_000.0) as store:
        store.put(ahead, b"")
        store.delete(ahead)
    keys = list(ENTRIES)

    async def versions(store: Datastore) -> list[int]:
        read = await store.read(keys, ReadOptions(metadata=True))
        return [result.metadata.version for result in read if result.metadata is not None]

    async with nodes(tmp_path, "a", "b") as running:
        await formed(running, "a")
        config = running.config("a", "b")
        async with proxy(running.config("a")) as cluster:
            before = await versions(cluster)
        moved = {move.target for move in (await apply_now(config)).moves}
        assert moved == {"b"}
        # What was raised is kept, also for entries that are written only now.
        await running.stop("b")
        await running.start("b")
        async with proxy(config) as cluster:
            after = await versions(cluster)
            await cluster.batch_write([Write(key, None) for key in keys])
            await fill(cluster, ENTRIES)
            anew = await versions(cluster)
        assert len(before) == len(after) == len(anew) == len(keys)
        assert all(map(le, before, after)) and any(map(lt, before, after))
        assert all(map(lt, after, anew))


async def test_entries_that_expire_do_so_on_their_new_node(tmp_path: Path) -> None:
    far = datetime(2200, 1, 1, tzinfo=UTC)
    keys = list(ENTRIES)

    async def expiries(store: Datastore) -> list[datetime | None]:
        read = await store.read(keys, ReadOptions(metadata=True))
        return [result.metadata.expire_time for result in read if result.metadata is not None]

    async with nodes(tmp_path, "a", "b") as running:
        await formed(running, "a")
        async with proxy(running.config("a")) as cluster:
            for key in keys[::2]:
                assert await cluster.touch(key, expire_time=far)
            before = await expiries(cluster)
        assert before[:2] == [far, None]
        moved = await apply_now(running.config("a", "b"))
        assert moved.size.entries > 0
        async with proxy(running.config("a", "b")) as cluster:
            assert await expiries(cluster) == before


async def test_copies_are_compared_again_if_entries_may_have_expired_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "_COMPARED_AGAIN_S", (0.0, 0.0, 0.0))
    one, none = {1: Summary(1, 10, 7)}, dict[int, Summary]()

    async def still_wrong(*compared: tuple[Slots, Slots]) -> list[int]:
        """What is wrong in slot 1 after comparing what the source and the target have, one time after the other."""
        source, target = (
            moving.Node(cast("Any", _Summarizing(found)), cast("Any", None), "")
            for found in zip(*compared, strict=True)
        )
        return await moving._still_wrong(target, {source: one}, cast("Any", SimpleNamespace(shard_by=None)), [1])

    assert await still_wrong((none, none)) == []
    assert await still_wrong((one, none), (one, none), (none, none)) == []
    assert await still_wrong((one, none), (one, none), (one, none)) == [1]


class _Summarizing:
    """A client of a node whose summaries are given, one after the other."""

    def __init__(self, found: Sequence[Slots]) -> None:
        self._found = list(found)

    async def summarize(self, *_: Any, **__: Any) -> Slots:
        return self._found.pop(0)


@pytest.mark.long
@pytest.mark.parametrize("first", ["key", "collection"])
async def test_another_rule_moves_entries_and_the_former_one_moves_them_back(tmp_path: Path, first: str) -> None:
    second = {"key": "collection", "collection": "key"}[first]
    async with nodes(tmp_path, "a", "b", "c") as running:
        async with proxy(running.config("a", "b", "c", shard_by=first)) as store:
            await fill(store, ENTRIES)
        await apply_now(running.config("a", "b", "c", shard_by=second))
        await check(running, "a", "b", "c", shard_by=second)
        await apply_now(running.config("a", "b", shard_by=first))
        await check(running, "a", "b", shard_by=first)


async def test_a_node_that_was_lost_is_replaced_by_an_empty_one_only_if_requested(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b") as running:
        await formed(running, "a", "b")
        await running.stop("b")
        await running.start("b", directory="new")
        config = running.config("a", "b")
        with pytest.raises(ConfigError, match="serves an empty data directory"):
            await apply_now(config)
        replaced = await apply_now(config, replaced=frozenset("b"))
        assert replaced.target.epoch == 2 and not replaced.moves
        async with proxy(config) as store:
            await fill(store, ENTRIES)
        await check(running, "a", "b")


async def test_writes_are_refused_and_reads_answered_while_a_move_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(tmp_path, "a", "b", "c") as running:
        await formed(running, "a", "b")
        async with proxy(running.config("a", "b")) as store:
            await interrupted_before("CommitMove", running, monkeypatch)
            await check_whole(store, ENTRIES)
            async with client.connect(store.url, retry=False) as once:
                for key in list(ENTRIES)[:10]:
                    with pytest.raises(UnavailableError, match="entries are being moved") as raised:
                        await once.put(key, 1)
                    assert raised.value.retry_after_s
            await abort(running.config("a", "b", "c"), SOURCE, Options(), lambda _: None)
            await store.put(next(iter(ENTRIES)), ENTRIES[next(iter(ENTRIES))])
        await check(running, "a", "b")


async def test_a_node_reports_the_name_that_it_was_given(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b", named=True) as running:
        await formed(running, "a", "b")
        await apply_now(running.config("a", "x=b"), renames={"b": "x"})
        async with client.connect(running.urls["b"]) as store:
            reported = await store.describe_store()
        assert (reported.cluster_name, reported.shard_name) == ("trial", "x")


@pytest.mark.long
async def test_a_move_under_way_continues_with_its_own_configuration_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(tmp_path, "a", "b", "c") as running:
        await formed(running, "a", "b")
        await interrupted_before("CommitMove", running, monkeypatch)
        with pytest.raises(ConfigError, match="a move to epoch 2 is under way, to the shards a, b, c with shard_by"):
            await apply_now(running.config("a", "b"))
        await apply_now(running.config("a", "b", "c"))
        await check(running, "a", "b", "c")


@pytest.mark.long
async def test_an_aborted_move_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with nodes(tmp_path, "a", "b", "c") as running:
        await formed(running, "a", "b")
        await interrupted_before("CommitMove", running, monkeypatch)
        await abort(running.config("a", "b", "c"), SOURCE, Options(), lambda _: None)
        assert (await running.held())["c"] == []
        await check(running, "a", "b")
        await apply_now(running.config("a", "b", "c"))
        await check(running, "a", "b", "c")


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.long) for part in (1, 2, 3))])
async def test_a_change_that_is_interrupted_anywhere_is_finished_by_the_same_command(
    part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard stays, one comes and one goes. Each run is cut some calls later than the run before.

    Together the four parts are cut at every call.
    """
    before, after = "ab", "bc"
    at, crashed = part, 0
    async with nodes(tmp_path, *sorted({*before, *after})) as running:
        await formed(running, *before)
        config = running.config(*after)
        removed = {name: running.urls[name] for name in before if name not in after}
        while True:
            with crash(at, monkeypatch):
                try:
                    await apply_now(config, addresses=removed)
                    break
                except CrashError:
                    crashed += 1
            at += 4
        assert crashed > 3
        await check(running, *after)


@pytest.mark.long
async def test_a_cut_before_the_first_commit_can_be_aborted_and_one_after_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(tmp_path, "a", "b", "c") as running:
        await formed(running, "a", "b")
        config = running.config("a", "b", "c")
        at = 0
        while True:
            at += 1
            with crash(at, monkeypatch) as done:
                try:
                    await apply_now(config)
                    break
                except CrashError:
                    pass
            committed = done[: at + 1].count("CommitMove") > (done[at:] == ["CommitMove"] and 1)
            try:
                await abort(config, SOURCE, Options(), lambda _: None)
            except ConfigError as error:
                assert "is committed on some nodes already" in str(error)
                assert committed
                await apply_now(config)
                break
            await check(running, "a", "b")
        await check(running, "a", "b", "c")


@pytest.mark.long
@pytest.mark.parametrize("epoch", [1, 3])
async def test_a_new_node_that_placed_itself_by_the_new_configuration_gets_its_share(
    tmp_path: Path, epoch: int
) -> None:
    async with nodes(tmp_path, "a", "b", "c", "d") as running:
        await formed(running, "a", "b")
        if epoch == 3:
            await apply_now(running.config("a", "b", "c"))
            await apply_now(running.config("a", "b"))
        await running.stop("d")
        config = running.config("a", "b", "d")
        # As `datastore serve --config` starts it.
        await running.start("d", directory="new", config=config)
        grown = await apply_now(config)
        assert grown.target.epoch == epoch + 1
        await check(running, "a", "b", "d")


async def test_of_two_concurrent_commands_the_later_one_continues_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first hangs after verifying everything; the second clears a copy to repeat it, and is interrupted too."""
    async with nodes(tmp_path, "a", "b", "c") as running:
        await formed(running, "a", "b")
        config = running.config("a", "b", "c")
        verified, go_on = asyncio.Event(), asyncio.Event()
        commit, write = NodeClient.commit, NodeClient.write_slots

        async def hang(self: NodeClient, epoch: int) -> Any:
            verified.set()
            await go_on.wait()
            return await commit(self, epoch)

        async def cut(self: NodeClient, epoch: int, entries: Any) -> None:
            raise CrashError

        monkeypatch.setattr(NodeClient, "commit", hang)
        first = asyncio.create_task(apply_now(config))
        await verified.wait()
        with monkeypatch.context() as patch, pytest.raises(CrashError):
            # The state that the second command saw before the first had copied everything.
            patch.setattr(moving, "differing", lambda expected, found, slots: sorted(expected))
            patch.setattr(NodeClient, "write_slots", cut)
            await apply_now(config)
        assert write is NodeClient.write_slots
        go_on.set()
        with pytest.raises(PlacementError, match="another command has continued this move"):
            await first
        await apply_now(config)
        await check(running, "a", "b", "c")


@pytest.mark.long
async def test_a_node_restarted_during_a_move_requires_running_the_command_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(tmp_path, "a", "b", "c") as running:
        await formed(running, "a", "b")
        call = NodeClient._call
        restarted: list[str] = []

        async def restart(self: Any, name: str, *arguments: Any) -> Any:
            if name in ("WriteSlots", "CommitMove", "ClearSlots") and name not in restarted:
                restarted.append(name)
                await running.stop("a", "c")
                await running.start("c")
                await running.start("a")
            return await call(self, name, *arguments)

        monkeypatch.setattr(NodeClient, "_call", restart)
        refused = 0
        while True:
            try:
                await apply_now(running.config("a", "b", "c"))
                break
            except (PlacementError, UnavailableError):
                refused += 1
        assert refused and set(restarted) == {"WriteSlots", "CommitMove", "ClearSlots"}
        await check(running, "a", "b", "c")


async def test_a_move_is_aborted_with_the_former_configuration_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(tmp_path, "a", "b", "c") as running:
        await formed(running, "a", "b")
        await interrupted_before("CommitMove", running, monkeypatch)
        await abort(running.config("a", "b"), SOURCE, Options(), lambda _: None)
        assert (await running.held())["c"] == []
        await check(running, "a", "b")


async def test_entries_of_an_older_release_are_adopted_after_each_was_checked(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b") as running:
        config = running.config("a", "b")
        async with proxy(config) as store:
            await fill(store, ENTRIES)
        held = await running.held()
        await running.stop()
        for name in ("a", "b"):
            await running.start(name, directory=f"old-{name}")
            async with client.connect(running.urls[name]) as node:
                await fill(node, {key: ENTRIES[key] for key in map(Key, held[name])})
        with pytest.raises(ConfigError, match=r"holds entries, but has no placement.*--adopt"):
            await apply_now(config)
        async with client.connect(running.urls["a"]) as node:
            stray = Key(held["b"][0])
            await node.put(stray, 1)
            strays = rf"1 of {len(held['a']) + 1} entries outside the slots of shard 'a'"
            with pytest.raises(ConfigError, match=rf"{strays}\n.* adopt it as the only shard, then add the others"):
                await apply_now(config, adopt=True)
            await node.delete(stray)
        await apply_now(config, adopt=True)
        await check(running, "a", "b")


async def test_all_nodes_must_run(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b", "c") as running:
        await formed(running, "a", "b", "c")
        config = running.config("a", "b")
        await running.stop("c")
        with pytest.raises(UnavailableError, match="shard 'c' does not answer at") as raised:
            await apply_now(config)
        address = running.urls["c"].removeprefix("grpc://")
        assert f"datastore serve lmdb:ITS_DIRECTORY --listen {address}\n" in str(raised.value)
        assert "--node c=grpc://HOST:PORT" in str(raised.value)
        await running.stop("b")
        with pytest.raises(UnavailableError, match=r"\n  datastore serve --config cluster.toml --shard b$"):
            await apply_now(config)
        await running.start("b")
        await running.start("c")
        await apply_now(config)
        await check(running, "a", "b")


async def test_exchanged_addresses_are_refused_before_anything_moves(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b", "c") as running:
        await formed(running, "a", "b")
        with pytest.raises(ConfigError, match=r"is shard 'b'.* has shard 'a' there"):
            await apply_now(running.config("a=b", "b=a", "c"))
        await check(running, "a", "b")


@pytest.mark.long
async def test_a_stream_that_is_under_way_when_the_placement_changes_ends_with_an_error(tmp_path: Path) -> None:
    many = {Key(f"/Many:{number:05}"): "x" * 2000 for number in range(3000)}
    async with nodes(tmp_path, "a", "b") as running, proxy(running.config("a")) as store:
        await fill(store, many)
        cursor = store.query(Query(Key("/"), recursive=True))
        first = await anext(cursor)
        assert first
        await apply_now(running.config("a", "b"))
        with pytest.raises(DatastoreError) as raised:
            async for _ in cursor:
                pass
        assert isinstance(raised.value, WrongShardError)


async def begun_and_lost(running: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Grow a cluster of a and b by c, crash while entries are copied, and lose the directory of c."""
    await formed(running, "a", "b")
    await interrupted_before("WriteSlots", running, monkeypatch)
    await running.stop("c")
    await running.start("c", directory="new")


@pytest.mark.long
async def test_a_new_node_that_is_lost_during_the_move_is_replaced_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(tmp_path, "a", "b", "c") as running:
        await begun_and_lost(running, monkeypatch)
        await apply_now(running.config("a", "b", "c"))
        await check(running, "a", "b", "c")


@pytest.mark.long
@pytest.mark.parametrize("names", ["ab", "abc"])
@pytest.mark.parametrize("runs", [False, True])
async def test_a_move_is_aborted_without_the_new_node_that_is_lost(
    names: str, runs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(tmp_path, "a", "b", "c") as running:
        await begun_and_lost(running, monkeypatch)
        config = running.config(*names)
        if not runs:
            await running.stop("c")
        await abort(config, SOURCE, Options(), lambda _: None)
        await check(running, "a", "b")


async def test_problems_with_a_new_node_are_found_before_a_member_refuses_writes(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b", "c") as running:
        await formed(running, "a", "b")
        await running.stop("c")
        await running.start("c", directory="named", named=True)
        with pytest.raises(PlacementError, match="which this node was started as"):
            await apply_now(running.config("a", "b", "d=c"))
        await check(running, "a", "b")


@pytest.mark.long
async def test_a_change_prepared_only_by_a_new_node_is_dropped_if_another_came_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(tmp_path, "0", "a", "b", "c") as running:
        await formed(running, "a", "b", "c")
        prepare = NodeClient.prepare
        prepared: list[str] = []

        async def once(self: NodeClient, shard: str, *arguments: Any, **options: Any) -> Any:
            if prepared:
                raise CrashError
            prepared.append(shard)
            return await prepare(self, shard, *arguments, **options)

        with monkeypatch.context() as patch, pytest.raises(CrashError):
            patch.setattr(NodeClient, "prepare", once)
            await apply_now(running.config("0", "a", "b", "c"))
        assert prepared == ["0"]
        await check(running, "a", "b", "c")
        assert (await apply_now(running.config("a", "b"))).target.epoch == 2
        assert (await apply_now(running.config("0", "a", "b"))).target.epoch == 3
        await check(running, "0", "a", "b")


@pytest.mark.long
async def test_a_shard_is_added_again_after_another_was_renamed(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b", "c") as running:
        await formed(running, "a", "b", "c")
        await apply_now(running.config("a", "b"))
        await apply_now(running.config("x=a", "b"), renames={"a": "x"})
        await apply_now(running.config("x=a", "b", "c"))
        await check(running, "x=a", "b", "c")


async def test_nodes_of_two_clusters_of_one_name_are_refused_before_anything_changes(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b", "c", "d") as running:
        await formed(running, "a", "b")
        async with proxy(running.config("c", "d")) as store:
            assert not await store.contains(next(iter(ENTRIES)))
        old = {name: running.urls[name] for name in "ab"}
        foreign = r"is not that of the other nodes of 'trial'|is not a node of the cluster 'trial'"
        for names, addresses in (("cd", old), ("abc", {})):
            with pytest.raises(ConfigError, match=foreign):
                await apply_now(running.config(*names), addresses=addresses)
        await check(running, "a", "b")


async def lose_d_before_commit(number: int, running: Nodes, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Grow a cluster of a and b by c and d, crash before that commit, from 1, and start d on a new directory.

    The new nodes have the first two commits. Returns the configuration of all four.
    """
    await formed(running, "a", "b")
    config = running.config("a", "b", "c", "d")
    commit, done = NodeClient.commit, 0

    async def until(self: NodeClient, epoch: int) -> Any:
        nonlocal done
        done += 1
        if done == number:
            raise CrashError
        return await commit(self, epoch)

    with monkeypatch.context() as patch, pytest.raises(CrashError):
        patch.setattr(NodeClient, "commit", until)
        await apply_now(config)
    await running.stop("d")
    await running.start("d", directory="new-d")
    return config


@pytest.mark.long
async def test_a_new_node_that_is_lost_while_only_new_ones_have_switched_loses_no_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(tmp_path, "a", "b", "c", "d") as running:
        config = await lose_d_before_commit(2, running, monkeypatch)
        with pytest.raises(ConfigError, match=r"stop the new nodes \(c, d\), start each of them on a new, empty"):
            await apply_now(config)
        await running.stop("c", "d")
        await running.start("c", directory="new-c")
        await running.start("d", directory="newer-d")
        await apply_now(config)
        await check(running, "a", "b", "c", "d")


@pytest.mark.long
async def test_a_new_node_that_is_lost_when_others_have_switched_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(tmp_path, "a", "b", "c", "d") as running:
        config = await lose_d_before_commit(4, running, monkeypatch)
        with pytest.raises(ConfigError, match="with --replace d"):
            await apply_now(config)
        replaced = await apply_now(config, replaced=frozenset("d"))
        assert replaced.target.epoch == 3
        kept = {key: value for key, value in ENTRIES.items() if replaced.target.owner_of(key) != "d"}
        async with proxy(config) as store:
            await check_whole(store, kept)
            await fill(store, ENTRIES)
        await check(running, "a", "b", "c", "d")


@pytest.mark.long
async def test_a_renaming_that_was_cut_after_the_commits_is_finished_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(tmp_path, "a", "b", "c") as running:
        await formed(running, "a", "b")
        config = running.config("a", "x=b", "c")
        await cut_before_the_deletion(running, monkeypatch, config, renames={"b": "x"})
        finished = await apply_now(config, renames={"b": "x"})
        assert finished.target is finished.current
        await check(running, "a", "x=b", "c")
        with pytest.raises(ConfigError, match="the cluster has no shard 'y'"):
            await apply_now(config, renames={"y": "z"})


@pytest.mark.long
@pytest.mark.parametrize("after", ["ab", "a", "abd", "d"])
async def test_entries_left_on_a_removed_node_are_deleted_by_the_same_command(
    after: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(tmp_path, "a", "b", "c", "d") as running:
        await formed(running, "a", "b", "c")
        config = running.config(*after)
        # The command says where the nodes of a cluster are if none of them stays.
        addresses = {name: running.urls[name] for name in "abc"} if after == "d" else {}
        await cut_before_the_deletion(running, monkeypatch, config, addresses=addresses)
        assert (await apply_now(config, addresses=addresses)).target.epoch == 2
        for name in {*"abc"} - {*after}:
            async with NodeClient(running.urls[name]) as node:
                assert (await node.get_placement()).is_empty
        await check(running, *after)


@pytest.mark.long
async def test_a_removed_node_that_still_holds_its_entries_is_added_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(tmp_path, "a", "b", "c") as running:
        await formed(running, "c")
        addresses = {"c": running.urls["c"]}
        await cut_before_the_deletion(running, monkeypatch, running.config("a", "b"), addresses=addresses)
        await check(running, "a", "b")
        await apply_now(running.config("a", "b", "c"))
        await check(running, "a", "b", "c")


async def test_nodes_without_a_cluster_are_reported_to_form_a_new_one(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b") as running:
        said: list[str] = []
        await apply(running.config("a", "b"), SOURCE, Options(), said.append)
        assert "this forms a NEW cluster 'trial' of 2 nodes, 2 empty" in "\n".join(said)
        said.clear()
        await apply(running.config("a", "b"), SOURCE, Options(), said.append)
        assert "NEW" not in "\n".join(said)


async def cut_before_emptying(running: Nodes, monkeypatch: pytest.MonkeyPatch, config: Config, lost: str) -> None:
    """Form a cluster of a, b and c, apply a configuration up to where a removed node is emptied, and lose that node."""
    await formed(running, "a", "b", "c")
    await cut_before_the_deletion(running, monkeypatch, config)
    await running.stop(lost)


@pytest.mark.parametrize("after", ["ab", pytest.param("abd", marks=pytest.mark.long)])
async def test_a_removed_node_that_is_lost_after_its_commit_loses_no_entries(
    after: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(tmp_path, "a", "b", "c", "d") as running:
        config = running.config(*after)
        await cut_before_emptying(running, monkeypatch, config, "c")
        code, text = await typed(config, tmp_path, "apply", "--offline")
        assert code == 4 and f"datastore placement apply {tmp_path / SOURCE} --offline --lost c" in text
        code, text = await typed(config, tmp_path, "apply", "--offline", "--lost", "c")
        assert code == 0 and "do not serve it" in text
        await check(running, *after)
        # Run again, it has nothing to do, and a node that comes back is not part of the cluster.
        await running.start("c")
        assert (await typed(config, tmp_path, "apply", "--offline", "--lost", "c"))[0] == 0
        async with proxy(config) as store:
            await check_whole(store, ENTRIES)


@pytest.mark.long
async def test_a_removed_node_that_is_lost_before_it_was_copied_loses_only_its_own_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(tmp_path, "a", "b", "c", "d") as running:
        await formed(running, "a", "b", "c")
        config = running.config("a", "d")
        with monkeypatch.context() as patch, pytest.raises(CrashError):
            patch.setattr(moving, "_copy", crashes)
            await apply_now(config)
        lost = (await running.held())["c"]
        await running.stop("c")
        with pytest.raises(UnavailableError, match=r"--lost c"):
            await apply_now(config)
        await apply_now(config, lost=frozenset("c"))
        kept = {key: value for key, value in ENTRIES.items() if str(key) not in lost}
        assert 0 < len(kept) < len(ENTRIES)
        async with proxy(config) as store:
            await check_whole(store, kept)
            await fill(store, ENTRIES)
        await running.stop("b")
        await check(running, "a", "d")


async def crashes(*_: Any) -> None:
    raise CrashError


async def test_a_lost_node_is_left_out_only_of_a_change_under_way_whose_slots_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(tmp_path, "a", "b", "c") as running:
        await formed(running, "a", "b", "c")
        await running.stop("c")
        with pytest.raises(UnavailableError, match="shard 'c' does not answer"):
            await apply_now(running.config("a", "b"), lost=frozenset("c"))
        await running.start("c")
        config = running.config("a", "b", shard_by="collection")
        with monkeypatch.context() as patch, pytest.raises(CrashError):
            patch.setattr(moving, "_copy", crashes)
            await apply_now(config)
        await running.stop("c")
        with pytest.raises(ConfigError, match="shard_by changes too"):
            await apply_now(config, lost=frozenset("c"))
        with pytest.raises(UnavailableError, match="shard 'b' does not answer"):
            await running.stop("b")
            await apply_now(config, lost=frozenset("bc"))
