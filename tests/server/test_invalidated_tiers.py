"""Two proxies whose caches follow the nodes: each sees what is written through the other, whatever happens between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace

from datastore.model.errors import ConfigError, DatastoreError
from datastore.model.key import Key
from datastore_client.aio import RemoteDatastore
from datastore_server.app import Server, serve
from datastore_server.config import ProxyConfig, dump_config, parse_config
from datastore_server.store_urls import lmdb_url, parse_store_url
from datastore_server.topology import build_node, build_proxy
from tests.support.growing import apply_now, nodes, proxy
from tests.support.waiting import until

NAMES = ("s1", "s2")
KEYS = [Key(f"/a:{number}") for number in range(20)]
LRU = '{ kind = "lru", max_entries = 1000, max_age = "100d" }'


def cluster(urls: dict[str, str], tiers: str = LRU) -> str:
    shards = [f'[[shards]]\nname = "{name}"\nurl = "{url}"\n' for name, url in urls.items()]
    return f'[cluster]\nname = "c"\n[proxy]\ntiers = [{tiers}]\ninvalidate = "watch"\n' + "".join(shards)


class Nodes:
    """Two nodes, which keep their ports when they start again."""

    def __init__(self, directory: Path | None, options: str) -> None:
        self._directory = directory
        self._options = options
        self._servers: dict[str, Server] = {}
        self.urls = dict.fromkeys(NAMES, "grpc://127.0.0.1:0")

    async def start(self, name: str) -> None:
        url = "memory:" if self._directory is None else lmdb_url(self._directory / name) + self._options
        topology = build_node(parse_store_url(url))
        listen = self.urls[name].removeprefix("grpc://")
        self._servers[name] = serve(topology.datastore, **topology.settings(), listen=listen)
        await self._servers[name].start()
        self.urls[name] = self._servers[name].url

    async def stop(self, name: str) -> None:
        if name in self._servers:
            await self._servers.pop(name).stop()


class Cluster:
    """Nodes and two proxies with a cache each, which alone would keep a value for 100 days."""

    def __init__(self, nodes: Nodes, clients: list[RemoteDatastore]) -> None:
        self.nodes = nodes
        self.one, self.other = clients

    async def tiers(self, client: RemoteDatastore) -> list[tuple[int, int]]:
        """The hits and misses of a proxy's cache and of its nodes."""
        store = (await client.describe_store()).store
        return [(tier.hits, tier.misses) for tier in store.children]

    async def follows(self, client: RemoteDatastore, *, is_so: bool = True) -> None:
        async def text() -> bool:
            await client.batch_get(KEYS)
            return "not followed" not in (await client.describe_store()).store.description

        await until(text, is_so)

    async def both_see(self, value: str) -> None:
        """Wait until both proxies answer with this value, and then from their caches."""
        for client in (self.one, self.other):

            async def answers(client: RemoteDatastore = client) -> list[object]:
                return [result.value for result in await client.batch_get(KEYS)]

            async def hits(client: RemoteDatastore = client) -> bool:
                (before, _), _ = await self.tiers(client)
                assert await answers(client) == [value] * len(KEYS)
                (after, _), _ = await self.tiers(client)
                return after - before == len(KEYS)

            await until(answers, [value] * len(KEYS))
            await until(hits, answer=True)

    async def write(self, client: RemoteDatastore, value: str) -> None:
        for key in KEYS:
            await client.put(key, value)


@pytest.fixture
def options() -> str:
    return "?changes=true"


@pytest.fixture(params=["memory", "lmdb"])
async def running(request: pytest.FixtureRequest, tmp_path: Path, options: str) -> AsyncIterator[Cluster]:
    nodes = Nodes(None if request.param == "memory" else tmp_path, options)
    async with AsyncExitStack() as stack:
        for name in NAMES:
            await nodes.start(name)
            stack.push_async_callback(nodes.stop, name)
        clients = []
        for _ in range(2):
            topology = build_proxy(parse_config(cluster(nodes.urls), source="cluster.toml"), "cluster.toml")
            server = await stack.enter_async_context(serve(topology.datastore, **topology.settings()))
            clients.append(await stack.enter_async_context(RemoteDatastore(server.url, retry=False)))
        yield Cluster(nodes, clients)


async def test_what_is_written_through_one_proxy_is_seen_through_the_other(running: Cluster) -> None:
    await running.write(running.one, "old")
    await running.both_see("old")
    await running.write(running.one, "new")
    await running.both_see("new")
    await running.write(running.other, "newer")
    await running.both_see("newer")
    for key in KEYS:
        await running.one.delete(key)

    async def left() -> int:
        return sum(result.value is not None for result in await running.other.batch_get(KEYS))

    await until(left, 0)


@pytest.mark.parametrize("running", ["lmdb"], indirect=True)
async def test_nothing_old_is_read_after_a_node_has_restarted(running: Cluster) -> None:
    await running.write(running.one, "old")
    await running.both_see("old")
    await running.nodes.stop("s1")
    await running.follows(running.other, is_so=False)
    # The caches have all values, and are not used.
    failed = [result.error is not None for result in await running.other.batch_get(KEYS)]
    assert any(failed)
    assert not all(failed)
    reached = [key for key, is_down in zip(KEYS, failed, strict=True) if not is_down]
    for key in reached:
        await running.one.put(key, "meanwhile")
        assert await running.other.get(key) == "meanwhile"
    await running.nodes.start("s1")

    async def writable() -> bool:
        try:
            await running.write(running.one, "new")
        except DatastoreError:
            return False
        return True

    await until(writable, answer=True)
    await running.both_see("new")


@pytest.mark.parametrize("running", ["lmdb"], indirect=True)
@pytest.mark.parametrize("options", [""])
async def test_nodes_that_keep_no_changes_are_read_past_the_cache(
    running: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    await running.write(running.one, "old")
    for number in range(3):
        await running.write(running.one, str(number))
        assert [result.value for result in await running.other.batch_get(KEYS)] == [str(number)] * len(KEYS)
    (hits, misses), _ = await running.tiers(running.other)
    assert (hits, misses) == (0, 0)

    async def logged() -> int:
        await running.other.get(KEYS[0])
        return sum("the caches are not used while the changes of" in message for message in caplog.messages)

    await until(logged, 1)


async def test_a_proxy_that_does_not_know_where_entries_have_moved_answers_nothing_old(tmp_path: Path) -> None:
    cached = ProxyConfig(tiers=[{"kind": "lru", "max_entries": 1000}], invalidate="watch")
    async with nodes(tmp_path, *"ab", changes=True) as running:
        before, after = running.config("a"), running.config("a", "b")
        async with proxy(replace(before, proxy=cached)) as former:
            for key in KEYS:
                await former.put(key, "old")

            async def hits() -> int:
                before = (await former.describe_store()).store.children[0].hits
                assert [result.value for result in await former.batch_get(KEYS)] == ["old"] * len(KEYS)
                return (await former.describe_store()).store.children[0].hits - before

            await until(hits, len(KEYS))
            await apply_now(after)
            # Nothing is written or read where the former proxy would notice the move.
            moved = [Key(text) for text in (await running.held())["b"]]
            assert moved
            async with proxy(replace(after, proxy=cached)) as current:
                for key in moved:
                    await current.put(key, "new")

            async def old() -> int:
                return sum(result.value == "old" for result in await former.batch_get(moved))

            await until(old, 0)


# The key `invalidate` of a cluster's file

URLS = {"a": "grpc://127.0.0.1:7421"}


def test_invalidate_survives_being_written() -> None:
    config = parse_config(cluster(URLS), source="cluster.toml")
    assert config.proxy.invalidate == "watch"
    assert parse_config(dump_config(config), source="again") == config


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (cluster(URLS, ""), "proxy.invalidate: there are no caches to invalidate"),
        (cluster(URLS).replace('"watch"', '"poll"'), "proxy.invalidate: "),
    ],
)
def test_a_wrong_invalidate_is_named(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_config(text, source="cluster.toml")
    assert str(raised.value).startswith(f"cluster.toml: {problem}")


async def test_a_cache_that_several_proxies_share_is_refused() -> None:
    config = parse_config(cluster(URLS, f'{LRU}, "memcached://127.0.0.1:1"'), source="cluster.toml")
    with pytest.raises(ConfigError, match=r"proxy\.tiers: tier 2, memcached, does not keep its entries in the memory"):
        build_proxy(config, "cluster.toml")
