"""`datastore placement`, and the output of other commands while a placement changes or does not match."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, chdir
from pathlib import Path
from typing import Any

import grpc
import pytest

from datastore.engine.placement import SLOTS, Placement
from datastore.model.entries import Write
from datastore.model.key import Key
from datastore_client.aio import RemoteDatastore
from datastore_server.config import ClusterConfig, Config, ShardConfig, dump_config, load_config
from datastore_server.coordination import moving
from datastore_server.coordination.moving import Options
from datastore_server.coordination.nodes import NodeClient
from tests.support import clusters
from tests.support.clusters import background
from tests.support.commands import Commands, run_here
from tests.support.growing import SOURCE, Nodes, apply_now, nodes, proxy
from tests.support.moves import ENTRIES, cut_before_the_deletion, formed, interrupted_before, status, typed


@pytest.mark.long
async def test_check_reports_a_move_in_progress_to_the_former_configuration_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(tmp_path, "a", "b", "c") as running:
        await formed(running, "a", "b")
        assert (await typed(running.config("a", "b"), tmp_path, "check"))[0] == 0
        await interrupted_before("CommitMove", running, monkeypatch)
        for names in ("ab", "abc"):
            code, reported = await typed(running.config(*names), tmp_path, "check")
            assert code == 3 and "a move to epoch 2" in reported
            code, reported = await typed(running.config(*names), tmp_path, "check", "--json")
            assert code == 3 and "a move to epoch 2" in json.loads(reported)["differences"][0]["text"]
        assert (await typed(running.config("a", "b"), tmp_path, "abort"))[0] == 0
        assert (await typed(running.config("a", "b"), tmp_path, "check"))[0] == 0


async def test_status_shows_that_a_proxy_refuses_and_what_the_nodes_own(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b", "c") as running:
        await formed(running, "a", "b", "c")
        await running.stop("b")
        await running.start("b", directory="new")
        async with proxy(running.config("a", "b")) as store:
            code, shown = await status(store.url)
        assert (code, shown["health"]) == (4, "not serving")
        slots = {shard["name"]: shard["slots"] for shard in shown["shards"]}
        assert slots["b"] == 0 and 0 < slots["a"] < SLOTS / 2
        assert all(shard["health"] == "refused" for shard in shown["shards"])
        assert "serves an empty data directory" in shown["shards"][0]["error"]


async def test_status_says_that_writes_are_refused_while_entries_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(tmp_path, "a", "b", "c") as running:
        await formed(running, "a", "b")
        async with proxy(running.config("a", "b")) as store:
            assert (await status(store.url))[1]["health"] == "serving"
            await interrupted_before("CommitMove", running, monkeypatch)
            code, shown = await status(store.url)
        assert (code, shown["health"]) == (0, "read-only")
        for row in [*shown["shards"], (await status(running.urls["a"]))[1]]:
            assert row["health"] == "read-only"
            assert "writes are refused" in row["error"] and "include copies" in row["error"]


def test_an_apply_interrupted_while_no_node_answers_says_that_writes_may_be_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(moving, "apply", interrupted)
    path = tmp_path / SOURCE
    path.write_text(dump_config(Config(cluster=ClusterConfig(name="trial"), shards=[ShardConfig("a", "grpc://h:1")])))
    done = run_here("placement", "apply", str(path))
    assert done.code == 130
    assert "If the change was begun, writes are refused until it is finished" in done.err
    assert f"datastore placement abort {path}" in done.err


@asynccontextmanager
async def growing(directory: Path, cut: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Nodes]:
    """A cluster of a and b that grew by c until a method was to be called first."""
    async with nodes(directory, "a", "b", "c") as running:
        await formed(running, "a", "b")
        config = running.config("a", "b", "c")
        (directory / SOURCE).write_text(dump_config(config))
        if cut == "ClearSlots":
            await cut_before_the_deletion(running, monkeypatch, config)
        elif cut:
            await interrupted_before(cut, running, monkeypatch)
        yield running


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, *(pytest.param(one, marks=pytest.mark.long) for one in (signal.SIGHUP, signal.SIGINT))]
)
@pytest.mark.parametrize(
    ("cut", "says"),
    [
        (
            "CommitMove",
            "The change to epoch 2 is not finished, and writes are refused until it is. To finish it, run the",
        ),
        (
            "ClearSlots",
            "The cluster is at epoch 2. Copies of entries that moved away are not deleted yet. To finish it,",
        ),
    ],
)
def test_an_apply_ended_by_a_signal_says_what_is_left_to_do(
    cut: str, says: str, number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with background() as loop, loop.running(growing(tmp_path, cut, monkeypatch)):
        call = NodeClient._call

        async def signalled(self: NodeClient, method: str, *arguments: Any) -> Any:
            if method == cut and threading.current_thread() is threading.main_thread():
                signal.raise_signal(number)
                await asyncio.Event().wait()
            return await call(self, method, *arguments)

        monkeypatch.setattr(NodeClient, "_call", signalled)
        done = run_here("placement", "apply", str(tmp_path / SOURCE), "--offline")
        assert done.code == 128 + number
        assert says in done.err and "Traceback" not in done.err
        assert ("Interrupted." if number is signal.SIGINT else f"Ended by {number.name}.") in done.err
        assert ("datastore placement abort" in done.err) == (cut == "CommitMove")
        monkeypatch.undo()
        assert run_here("placement", "apply", str(tmp_path / SOURCE), "--offline").code == 0
        assert run_here("placement", "check", str(tmp_path / SOURCE)).code == 0


@pytest.mark.long
def test_an_abort_ended_by_a_signal_says_to_run_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with background() as loop, loop.running(growing(tmp_path, "CommitMove", monkeypatch)):
        call = NodeClient._call

        async def signalled(self: NodeClient, method: str, *arguments: Any) -> Any:
            if method == "AbortMove" and threading.current_thread() is threading.main_thread():
                signal.raise_signal(signal.SIGTERM)
                await asyncio.Event().wait()
            return await call(self, method, *arguments)

        monkeypatch.setattr(NodeClient, "_call", signalled)
        done = run_here("placement", "abort", str(tmp_path / SOURCE))
        assert done.code == 143 and "Run the same command again" in done.err
        monkeypatch.undo()
        done = run_here("placement", "abort", str(tmp_path / SOURCE))
        assert done.code == 0
        assert sorted(done.err.splitlines()) == [
            f"shard '{name}': the change to epoch 2 is cancelled" for name in "abc"
        ]


def test_copies_that_a_killed_apply_left_are_named_with_the_command_that_deletes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with background() as loop, loop.running(growing(tmp_path, "ClearSlots", monkeypatch)) as running:
        path = tmp_path / SOURCE
        found = run_here("placement", "check", str(path))
        assert found.code == 3
        assert "copies of entries that moved away await deletion: shard 'a', shard 'b', shard 'c'" in found.out
        assert f"delete them: datastore placement apply {path}\n" in found.out
        assert "datastore placement apply CONFIG.toml" in run_here("status", "--server", running.urls["a"]).out
        assert run_here("placement", "apply", str(path)).code == 0
        assert run_here("placement", "check", str(path)).out == f"The nodes match {path}.\n"
        assert "placement" not in run_here("status", "--server", running.urls["a"]).out


def test_plan_and_apply_use_the_singular_for_one_entry_in_one_slot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with background() as loop, loop.running(growing(tmp_path, "", monkeypatch)) as running:
        path = str(tmp_path / SOURCE)
        moved = next(key for key in ENTRIES if target(path).owner_of(key) == "c")
        loop.run(empty_but(running, moved))
        said = run_here("placement", "plan", path).out
        assert "To move: 1 entry, " in said
        said = run_here("placement", "apply", path, "--offline").err
    assert "copied 1 entry in 1 slot from shard " in said
    assert "verified 1 entry in 1 slot: " in said
    assert "deleted 1 entry that moved away from shard " in said


def target(path: str) -> Placement:
    """The placement that `apply` would establish."""
    return asyncio.run(moving.plan(load_config(Path(path)), path, Options())).target


async def empty_but(running: Nodes, kept: Key) -> None:
    """Delete all entries of the cluster but one."""
    async with proxy(running.config("a", "b")) as store:
        await store.batch_write([Write(key, None) for key in ENTRIES if key != kept])


@pytest.mark.long
async def test_an_apply_that_ends_with_an_error_says_that_writes_are_refused_and_how_to_continue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(tmp_path, "a", "b", "c") as running:
        await formed(running, "a", "b")
        await interrupted_before("CommitMove", running, monkeypatch)
        await running.stop("c")
        code, reported = await typed(running.config("a", "b", "c"), tmp_path, "apply", "--offline")
        assert code == 4 and "shard 'c' does not answer" in reported
        assert "The change to epoch 2 is not finished, and writes are refused until it is" in reported
        assert f"datastore placement abort {tmp_path / SOURCE}" in reported
        await running.start("c")
        await apply_now(running.config("a", "b", "c"))
        await running.stop("c")
        code, reported = await typed(running.config("a", "b", "c"), tmp_path, "apply", "--offline")
        assert code == 4 and "writes are refused" not in reported


# Exit codes


@asynccontextmanager
async def mismatched() -> AsyncIterator[RemoteDatastore]:
    """A proxy that refuses every key, as its nodes do not match its configuration."""
    async with nodes(None, "a", "b") as running:
        await formed(running, "a", "b")
        async with proxy(running.config("a")) as store:
            yield store


@pytest.fixture(scope="module")
def not_serving() -> Iterator[Commands]:
    """Commands to a proxy that refuses every key."""
    with background() as loop, loop.running(mismatched()) as proxy:
        yield Commands(proxy.url)


KEYS = [str(key) for key in ENTRIES][:3]


@pytest.mark.parametrize(
    "words",
    [
        ["get", KEYS[0]],
        ["get", *KEYS],
        ["put", KEYS[0], "1"],
        ["contains", KEYS[0]],
        ["delete", KEYS[0]],
        ["delete", "/Kind1", "--collection", "--yes"],
        ["query", "/Kind1"],
        ["count", "/Kind1"],
        ["list"],
        ["import", "rows.jsonl"],
        ["export", "out.jsonl"],
        ["status"],
    ],
    ids=" ".join,
)
def test_every_command_ends_with_code_4_at_a_proxy_that_does_not_serve(
    not_serving: Commands, words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"key": KEYS[0], "value": 1}))
    with chdir(tmp_path):
        done = not_serving(*words)
    assert done.code == 4, done.err
    assert "which cluster.toml does not have" in done.out + done.err


async def test_a_key_of_another_node_is_refused_with_code_3(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b") as running:
        await formed(running, "a", "b")
        foreign = (await running.held())["b"][0]
        done = await asyncio.to_thread(run_here, "get", foreign, "--server", running.urls["a"])
    assert done.code == 3
    assert "belongs to shard b" in done.err


# Requests of status and show


async def test_a_node_that_placed_itself_on_an_empty_directory_owns_no_slot_until_a_proxy_confirms_it(
    tmp_path: Path,
) -> None:
    async with nodes(tmp_path, "a", "b") as running:
        await formed(running, "a", "b")
        owned = (await status(running.urls["a"]))[1]["slots"]
        assert 0 < owned < SLOTS
        config = running.config("a", "b")
        await running.stop("b")
        await running.start("b", directory="new", config=config)
        assert (await status(running.urls["b"]))[1]["slots"] == 0
        async with proxy(config) as store:
            _, shown = await status(store.url)
        assert {shard["name"]: shard["slots"] for shard in shown["shards"]} == {"a": owned, "b": 0}
        code, reported = await typed(config, tmp_path, "show", "--json")
        rows = {row["shard"]: row for row in json.loads(reported)}
        assert (code, rows["b"]["slots"], rows["b"]["state"]) == (0, 0, "placed itself, empty")
        assert rows["a"]["slots"] == owned

        await running.stop("a")
        await running.start("a", directory="newer", config=config)
        async with proxy(config) as store:
            assert await store.get(Key("/none")) is None
            _, shown = await status(store.url)
        assert [shard["slots"] for shard in shown["shards"]] == [owned, SLOTS - owned]


def test_status_opens_one_connection_to_each_server(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: Counter[str] = Counter()

    def counted(open_channel: Any) -> Any:
        def counting(target: str, *arguments: Any, **options: Any) -> Any:
            # The proxy's own connections are made on the servers' loop.
            if threading.current_thread().name != "background loop":
                opened[target.removeprefix("dns:///")] += 1
            return open_channel(target, *arguments, **options)

        return counting

    with background() as loop, loop.running(clusters.proxy()) as cluster:
        for module in (grpc, grpc.aio):
            monkeypatch.setattr(module, "insecure_channel", counted(module.insecure_channel))
        assert Commands(cluster.url)("status").code == 0
        servers = [cluster.url, *(node.url for node in cluster.nodes)]
    assert opened == dict.fromkeys((url.removeprefix("grpc://") for url in servers), 1)
