"""A proxy serves nodes that match its configuration, and refuses all others with what resolves the difference."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import grpc
import msgspec
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from datastore.model.errors import DatastoreError, UnavailableError, WrongShardError
from datastore.model.key import Key
from datastore_client import aio as client
from datastore_server import membership
from datastore_server.config import Config, ProxyConfig
from datastore_server.coordination.nodes import NodeClient
from datastore_server.describe import ClusterInfo
from tests.support.growing import apply_now, check_whole, contents, entries_of, fill, nodes, proxy

KEYS = [Key(f"/Thing:{number}") for number in range(60)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies that check again soon."""
    monkeypatch.setattr(membership, "LOOK_AGAIN_S", 0.05)


async def refusal(store: client.RemoteDatastore) -> str:
    """The error of every call to a proxy that refuses to serve."""
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: store.get(KEYS[0]),
        lambda: store.put(KEYS[0], 1),
        lambda: store.delete(KEYS[0]),
        lambda: store.contains(KEYS[0]),
        lambda: entries_of(store),
    ]
    texts = set()
    for call in calls:
        with pytest.raises(WrongShardError) as raised:
            await call()
        texts.add(str(raised.value))
    for outcome in await store.batch_get(KEYS[:3]):
        assert isinstance(outcome.error, WrongShardError)
    assert len(texts) == 1
    return texts.pop()


async def refused_for(store: client.RemoteDatastore) -> str:
    """Why the proxy refuses to serve, or nothing while it serves."""
    try:
        await entries_of(store)
    except WrongShardError as error:
        return str(error)
    return ""


async def health(store: client.RemoteDatastore, service: str) -> int:
    async with grpc.aio.insecure_channel(store.url.removeprefix("grpc://")) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
        return int(answer.status)


async def until_served(store: client.RemoteDatastore) -> None:
    while True:
        try:
            await store.get(KEYS[0])
            return
        except DatastoreError:
            await asyncio.sleep(0.01)


async def test_one_key_written_to_three_nodes_is_accepted_only_by_its_owner(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b", "c") as running, proxy(running.config("a", "b", "c")) as store:
        await store.put(KEYS[0], "through the proxy")
        taken, owners = [], set()
        for name, url in running.urls.items():
            async with client.connect(url) as node:
                try:
                    await node.put(KEYS[0], "directly")
                    taken.append(name)
                except WrongShardError as error:
                    owners.add(error.owner)
                    assert error.epoch == 1
        assert owners == set(taken) and len(taken) == 1
        assert await entries_of(store) == [(KEYS[0], "directly")]


async def test_an_empty_directory_in_place_of_a_full_one_is_refused_until_the_full_one_is_back(
    tmp_path: Path,
) -> None:
    entries = contents(200)
    async with nodes(tmp_path, "a", "b", "c") as running, proxy(running.config("a", "b", "c")) as store:
        await fill(store, entries)
        await running.stop("b")
        await running.start("b", directory="new")
        with pytest.raises(DatastoreError):
            # Any of the calls may detect it; none that needs the shard succeeds.
            await entries_of(store)
        text = await refusal(store)
        assert "(shard 'b') serves an empty data directory" in text
        assert "datastore placement apply cluster.toml --replace b --offline" in text
        for service in ("", "datastore.v1.DatastoreService"):
            while await health(store, service) != health_pb2.HealthCheckResponse.NOT_SERVING:
                await asyncio.sleep(0.01)
        await running.stop("b")
        await running.start("b")
        await until_served(store)
        await check_whole(store, entries)
        while await health(store, "") != health_pb2.HealthCheckResponse.SERVING:
            await asyncio.sleep(0.01)


async def test_cached_entries_are_refused_too_while_the_nodes_do_not_match(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b") as running:
        config = running.config("a", "b")
        # Not appended to: configurations without settings of the proxy share theirs.
        tiers = [{"kind": "lru", "max_entries": 1000}]
        config = msgspec.structs.replace(config, proxy=ProxyConfig(tiers=tiers))
        async with proxy(config) as store:
            for key in KEYS:
                await store.put(key, str(key))
                assert await store.get(key) == str(key)
            await running.stop("b")
            await running.start("b", directory="new")
            while "serves an empty data directory" not in await refused_for(store):
                await asyncio.sleep(0.01)
            assert "serves an empty data directory" in await refusal(store)


async def test_a_proxy_that_starts_over_an_empty_directory_in_place_of_a_full_one_refuses(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b") as running:
        async with proxy(running.config("a", "b")) as store:
            await fill(store, contents(50))
        await running.stop("b")
        await running.start("b", directory="new")
        async with proxy(running.config("a", "b")) as store:
            assert "serves an empty data directory" in await refusal(store)
            assert await health(store, "") == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_addresses_exchanged_while_the_proxy_is_idle_answer_nothing_and_store_nothing(tmp_path: Path) -> None:
    entries = {Key(f"/Thing:{number:03}"): number for number in range(300)}
    async with nodes(tmp_path, "a", "b", "c") as running, proxy(running.config("a", "b", "c")) as store:
        await fill(store, entries)
        a, b = running.urls["a"], running.urls["b"]
        await running.stop("a", "b")
        await running.start("a", at=b)
        await running.start("b", at=a)
        for key, value in entries.items():
            with suppress(DatastoreError):
                assert await store.get(key) == value
        acknowledged = 0
        for number in range(100):
            try:
                await store.put(Key(f"/New:{number}"), number)
                acknowledged += 1
            except DatastoreError:
                pass
        assert acknowledged == 0
        text = await refusal(store)
        assert f"{a} is shard 'b', but cluster.toml has shard 'a' there" in text
        assert f"'b' is at {a}: set url = \"{a}\" for it" in text
        async with proxy(running.config("a", "b", "c")) as corrected:
            await check_whole(corrected, entries)


async def test_a_shard_that_the_configuration_lacks_is_refused(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b", "c") as running:
        async with proxy(running.config("a", "b", "c")) as store:
            await fill(store, contents(60))
        async with proxy(running.config("a", "b")) as store:
            text = await refusal(store)
            assert "the cluster has the shard 'c'" in text and f"it was at {running.urls['c']}" in text
            assert "datastore placement apply cluster.toml --offline" in text


async def test_a_shard_that_the_cluster_lacks_is_refused(tmp_path: Path) -> None:
    entries = contents(60)
    async with nodes(tmp_path, "a", "b", "c") as running:
        async with proxy(running.config("a", "b")) as store:
            await fill(store, entries)
            async with proxy(running.config("a", "b", "c")) as newer:
                assert "has the shard 'c', which the cluster does not have" in await refusal(newer)
            await check_whole(store, entries)


async def test_a_directory_copied_to_another_shard_is_refused(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b") as running:
        async with proxy(running.config("a", "b")) as store:
            await fill(store, contents(60))
        await running.stop("a", "b")
        shutil.copytree(tmp_path / "a", tmp_path / "copy")
        await running.start("a")
        await running.start("b", directory="copy")
        async with proxy(running.config("a", "b")) as store:
            text = await refusal(store)
            assert "serve the same data directory, or copies of it, as shards 'a' and 'b'" in text
            assert f"{running.urls['b']} is shard 'a', but cluster.toml has shard 'b' there" in text


async def test_another_rule_is_refused(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b") as running:
        async with proxy(running.config("a", "b")) as store:
            await fill(store, contents(60))
        async with proxy(running.config("a", "b", shard_by="collection")) as store:
            text = await refusal(store)
            assert "the entries are placed with shard_by = 'key', but cluster.toml says shard_by = 'collection'" in text
            assert "datastore placement apply cluster.toml --offline" in text


async def test_an_older_proxy_beside_a_newer_one_refuses_to_serve(tmp_path: Path) -> None:
    entries = contents(120)
    async with nodes(tmp_path, "a", "b", "c") as running, proxy(running.config("a", "b")) as older:
        await fill(older, entries)
        await apply_now(running.config("a", "b", "c"))
        async with proxy(running.config("a", "b", "c")) as newer:
            await check_whole(newer, entries)
            with pytest.raises(WrongShardError):
                await entries_of(older)
            text = await refusal(older)
            assert "the cluster has the shard 'c'" in text and "(epoch 2)" in text
            await newer.put(Key("/Thing:new"), 1)
            await check_whole(newer, entries | {Key("/Thing:new"): 1})


async def test_a_write_between_the_switches_of_two_nodes_is_refused_as_one_to_retry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy has asked its nodes before the move began."""
    async with nodes(tmp_path, "a", "b", "c") as running, proxy(running.config("a", "b")) as store:
        await fill(store, contents(60))
        await committed_once(running.config("a", "b", "c"), monkeypatch)
        async with client.connect(store.url, retry=False) as once:
            for key in KEYS:
                try:
                    await once.put(key, 1)
                    raise AssertionError("a write was taken during a move")
                except UnavailableError as error:
                    assert "--replace" not in str(error)
                    assert error.retry_after_s
            with pytest.raises(UnavailableError, match="a move to epoch 2 is being finished") as raised:
                await entries_of(once)
            assert "datastore placement apply cluster.toml --offline" in str(raised.value)


async def committed_once(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Apply a configuration that adds a shard, and end after its node and one of the others have switched."""
    commit = NodeClient.commit
    switched: list[str] = []

    async def once(self: NodeClient, epoch: int) -> None:
        await commit(self, epoch)
        switched.append(self.url)
        if len(switched) == 2:
            raise CrashError

    with monkeypatch.context() as patch, pytest.raises(CrashError):
        patch.setattr(NodeClient, "commit", once)
        await apply_now(config)


class CrashError(Exception):
    """The coordinator crashed here."""


async def test_nodes_that_were_asked_before_a_move_are_asked_again_before_they_are_called_old_copies(
    tmp_path: Path,
) -> None:
    async with nodes(tmp_path, "a", "b", "c") as running, AsyncExitStack() as stack:
        config = running.config("a", "b", "c")
        remotes = {
            name: await stack.enter_async_context(client.RemoteDatastore(url, lazy=True))
            for name, url in running.urls.items()
        }
        members = membership.Membership(config, remotes, ClusterInfo())
        await members.ready()
        # The entries of a shard are lost; the shards stay, so that the proxy serves on.
        await running.stop("c")
        await running.start("c", directory="new")
        await apply_now(config, replaced=frozenset("c"))
        members.lost("a")
        await members.member_ready("a")
        assert members.placement.epoch == 2 and not members.differences


async def test_a_proxy_whose_file_now_matches_the_nodes_says_to_restart_it(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b", "c") as running:
        file = [running.config("a", "b")]
        async with proxy(file[0], lambda: file[0]) as store:
            await fill(store, contents(60))
            for now in (("a", "b", "c"), ("a", "x=b", "c")):
                file[0] = running.config(*now)
                await apply_now(file[0], renames={"b": "x"} if "x=b" in now else {})
                # While nodes switch one by one, the proxy finds other differences.
                while "cluster.toml was changed after this proxy had read it" not in await refused_for(store):
                    await asyncio.sleep(0.01)
                text = await refusal(store)
                assert "cluster.toml was changed after this proxy had read it\n    restart the proxy" in text
                assert "datastore placement" not in text
            described = await store.describe_store()
            assert described.placement_epoch == "3"


async def test_entries_stored_without_a_placement_are_refused_with_the_command_that_checks_them(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b") as running:
        async with client.connect(running.urls["a"]) as node:
            await node.put(KEYS[0], 1)
        async with proxy(running.config("a", "b")) as store:
            text = await refusal(store)
            assert "(shard 'a') holds entries, but has no placement" in text
            assert "datastore placement apply cluster.toml --adopt" in text


async def test_a_node_in_memory_that_started_again_is_used_again_without_its_entries() -> None:
    async with nodes(None, "a", "b") as running, proxy(running.config("a", "b")) as store:
        for key in KEYS:
            await store.put(key, 1)
        await running.stop("b")
        await running.start("b")
        await until_served(store)
        while True:
            try:
                rest = await entries_of(store)
                break
            except UnavailableError:
                await asyncio.sleep(0.01)
        assert 0 < len(rest) < len(KEYS)
        for key in KEYS:
            await store.put(key, 2)
        assert len(await entries_of(store)) == len(KEYS)


@pytest.mark.long
async def test_two_proxies_that_start_concurrently_form_one_cluster(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b", "c") as running:
        config = running.config("a", "b", "c")
        async with asyncio.TaskGroup() as group:
            begun = [proxy(config) for _ in range(2)]
            stores = [group.create_task(one.__aenter__()) for one in begun]
        one, other = (task.result() for task in stores)
        try:
            await fill(one, contents(60))
            await check_whole(other, contents(60))
        finally:
            for context in begun:
                await context.__aexit__(None, None, None)


@pytest.mark.long
async def test_a_cluster_does_not_form_before_all_its_nodes_are_up(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b") as running:
        await running.stop("b")
        async with proxy(running.config("a", "b")) as store:
            for key in KEYS:
                with pytest.raises(UnavailableError, match=running.urls["b"]) as raised:
                    await store.put(key, 1)
                assert raised.value.shard == "b"
            assert await health(store, "") == health_pb2.HealthCheckResponse.SERVING
            await running.start("b")
            await until_served(store)
            for key in KEYS:
                await store.put(key, 2)
            assert len(await entries_of(store)) == len(KEYS)
        await running.stop("b")
        async with proxy(running.config("a", "b")) as store:
            failed = set()
            for outcome in await store.batch_get(KEYS):
                failed.add(outcome.error.shard if outcome.error else "")
            assert failed == {"", "b"}


@pytest.mark.parametrize("named", [False, True])
async def test_an_empty_directory_is_not_used_before_the_cluster_that_it_belongs_to_is_known(
    named: bool, tmp_path: Path
) -> None:
    entries = contents(60)
    async with nodes(tmp_path, "a", "b", "c") as running:
        config = running.config("a", "b", "c")
        async with proxy(config) as store:
            await fill(store, entries)
        await running.stop()
        await running.start("c", directory="not-mounted", config=config if named else None)
        async with proxy(config) as store:
            for key in list(entries)[:12]:
                with pytest.raises(UnavailableError):
                    await store.get(key)
                with pytest.raises(UnavailableError):
                    await store.put(key, "lost")
            await running.start("a")
            while True:
                try:
                    await store.get(next(iter(entries)))
                except WrongShardError as error:
                    assert "data directory" in str(error) and "shard 'c'" in str(error)
                    break
                except UnavailableError:
                    await asyncio.sleep(0.01)
            await running.stop("c")
            await running.start("c")
            await running.start("b")
            await until_served(store)
            await check_whole(store, entries)


@pytest.mark.long
async def test_a_proxy_learns_a_rebalanced_placement_from_the_nodes(tmp_path: Path) -> None:
    entries = contents(200)
    async with nodes(tmp_path, "a", "b", "c", "d") as running:
        async with proxy(running.config("a", "b", "c")) as store:
            await fill(store, entries)
        await apply_now(running.config("a", "b", "c", "d"))
        async with proxy(running.config("a", "b", "c", "d")) as store:
            await check_whole(store, entries, absent=[Key("/none")])
            described = await store.describe_store()
            assert [shard.slots for shard in described.shards] == [4096] * 4
            assert described.placement_epoch == "2"


async def test_a_node_that_is_lost_before_a_proxy_has_called_it_is_waited_for(tmp_path: Path) -> None:
    entries = contents(30)
    async with nodes(tmp_path, "a", "b") as running:
        config = running.config("a", "b")
        async with proxy(config) as store:
            await fill(store, entries)
        async with proxy(config) as store:
            await running.stop("a")
            reads = [asyncio.ensure_future(call) for call in (*map(store.get, entries), entries_of(store))]
            while not any(read.done() for read in reads):
                await asyncio.sleep(0.01)
            await running.start("a")
            *values, all_entries = await asyncio.gather(*reads)
        assert values == list(entries.values())
        assert all_entries == sorted(entries.items())
