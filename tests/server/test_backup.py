"""Backups of nodes and clusters: as of one moment, incremental, continued after an interruption, restored exactly."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from datastore.lmdb import LMDBDatastore
from datastore.lmdb.snapshot import Snapshot
from datastore.model.entries import Write
from datastore.model.errors import (
    ConfigError,
    CorruptDataError,
    OverloadedError,
    PlacementError,
    StoreLockedError,
    UnavailableError,
    UnsupportedError,
)
from datastore.model.key import Key
from datastore.model.metadata import Metadata
from datastore.model.query import Query
from datastore.v1 import maintenance_pb2
from datastore.wire import encode_value
from datastore_client import aio as client
from datastore_server import limits
from datastore_server.backups import restoring
from datastore_server.backups.catalog import MANIFEST, Catalog
from datastore_server.backups.checking import verify
from datastore_server.backups.parts import read_part
from datastore_server.backups.rates import Rate
from datastore_server.backups.sources import sources_of
from datastore_server.backups.taking import Taking, take_backup
from datastore_server.config import dump_config
from datastore_server.coordination.maintenance import MaintenanceClient
from datastore_server.limits import SNAPSHOTS
from tests.support import processes
from tests.support.backups import CutError, back_up, interrupts_after, restore_into, stored
from tests.support.commands import COMMAND, command, run_here
from tests.support.growing import SOURCE, Nodes, apply_now, fill, nodes, proxy
from tests.support.local_clusters import wait_until
from tests.support.placements import placement
from tests.support.waiting import until
from tests.unit.test_lmdb_versions import make_old, raw

ENTRIES = {Key(f"/Kind{number % 7}:{number:05}"): {"n": number, "text": "x" * (number % 300)} for number in range(2000)}
SOME = dict(list(ENTRIES.items())[:50])


@asynccontextmanager
async def filled(tmp_path: Path, entries: Any = None, *, changes: bool = False) -> AsyncIterator[Nodes]:
    """A node `a` with entries, and an empty one, `b`."""
    async with nodes(tmp_path, "a", "b", changes=changes) as running:
        async with client.connect(running.urls["a"]) as store:
            await fill(store, SOME if entries is None else entries)
        yield running


async def test_a_restored_node_has_the_same_entries_with_their_versions_times_and_expiry(tmp_path: Path) -> None:
    async with filled(tmp_path, ENTRIES, changes=True) as running:
        a, b = running.urls["a"], running.urls["b"]
        async with client.connect(a) as store:
            await store.put(Key("/later"), b"\x00", expires_in_s=3600)
            await store.put(Key("/soon"), 1, expires_in_s=3600)
            await store.delete(Key("/Kind0:00000"))
            await store.put(Key("/Kind1:00001"), [None, 1.5, True])
        before = await stored(a)
        backup = await back_up(a, tmp_path / "backups")
        assert (backup.entries, backup.incremental) == (len(before), False)
        assert (await restore_into(b, tmp_path / "backups")).entries == len(before)
        assert await stored(b) == before
        async with client.connect(b) as store:
            await store.put(Key("/new"), 1)
            written = await store.entry(Key("/new"))
        assert written is not None and written.version > backup.version
        assert (await verify(b, lambda _: None)).findings == []


async def test_a_backup_is_as_of_one_moment_while_the_node_is_written_to(tmp_path: Path) -> None:
    """Two entries are always written together, so a snapshot has them alike."""
    pairs = [(Key(f"/A:{number:04}"), Key(f"/Z:{number:04}")) for number in range(500)]
    async with filled(tmp_path, {key: 0 for pair in pairs for key in pair}) as running:
        has_begun = asyncio.Event()

        async def write() -> None:
            async with client.connect(running.urls["a"]) as store:
                for round_ in range(1, 10**9):
                    for first, last in pairs:
                        await store.batch_write([Write(first, round_), Write(last, round_)], atomic=True)
                        has_begun.set()

        writing = asyncio.create_task(write())
        await has_begun.wait()
        for _ in range(3):
            await back_up(running.urls["a"], tmp_path / "backups")
        writing.cancel()
        for number in range(3):
            await restore_into(running.urls["b"], tmp_path / "backups", number=number)
            found = await stored(running.urls["b"])
            values = [tuple(found[str(key)][0] for key in pair) for pair in pairs]
            assert [pair for pair in values if pair[0] != pair[1]] == []
            await empty(running.urls["b"])


async def empty(url: str) -> None:
    async with client.connect(url) as store:
        await store.batch_write([Write(Key(key), None) for key in await stored(url)])


async def test_entries_of_an_earlier_release_are_backed_up_and_restored(tmp_path: Path) -> None:
    make_old(tmp_path / "a", {str(key): encode_value(value).data for key, value in SOME.items()})
    async with nodes(tmp_path, "a", "b") as running:
        await back_up(running.urls["a"], tmp_path / "backups")
        async with client.connect(running.urls["a"]) as store:
            await store.put(Key("/Kind3:00003"), "rewritten")
        assert (await back_up(running.urls["a"], tmp_path / "backups")).incremental
        await restore_into(running.urls["b"], tmp_path / "backups")
        found = await stored(running.urls["b"])
        assert found == await stored(running.urls["a"])
        assert found["/Kind4:00004"][1] == Metadata(1, 0, 0)


async def test_a_directory_is_backed_up_whether_its_node_runs_or_not(tmp_path: Path) -> None:
    directory, source = tmp_path / "backups", f"lmdb://{tmp_path / 'a'}"
    async with filled(tmp_path) as running:
        code, text = await command("backup", source, str(directory))
        assert code == 0 and "Backup 0 (full): 50 entries" in text
        await running.stop("a")
        code, text = await command("backup", source, str(directory), "--json")
        assert code == 0 and '"incremental":true' in text
        code, text = await command("verify", source)
        assert code == 0 and "sound" in text
        with raw(tmp_path / "a") as data:
            data.put(b"/Kind1:00001", data.get(b"/Kind1:00001")[:-1])
        code, text = await command("verify", source)
        assert code == 5 and "the record of '/Kind1:00001' is damaged" in text
        # A damaged entry is not left out of a backup.
        code, text = await command("backup", source, str(directory), "--full")
        assert code == 5 and "the record of '/Kind1:00001' is damaged" in text
        assert len(Catalog(directory).backups) == 2


async def test_the_largest_entries_are_backed_up_and_restored_after_small_ones(tmp_path: Path) -> None:
    """A message has several entries only if they are small together: otherwise it would be too large."""
    largest = limits.MESSAGE_BYTES - limits.RESERVED_BYTES - 100
    sizes = [*[13_000] * 75, largest]
    values = [encode_value(b"x" * size).data for size in sizes]
    with LMDBDatastore(tmp_path / "a") as store:
        store.restore([(b"/k:%06d" % place, value, Metadata(place + 1, 1, 1, 0)) for place, value in enumerate(values)])
    async with nodes(tmp_path, "a", "b") as running:
        backup = await back_up(running.urls["a"], tmp_path / "backups")
        assert backup.entries == len(sizes)
        assert (await restore_into(running.urls["b"], tmp_path / "backups")).entries == len(sizes)


async def test_an_incremental_backup_reads_only_the_values_that_have_changed(tmp_path: Path) -> None:
    async with filled(tmp_path, ENTRIES) as running:
        a, directory = running.urls["a"], tmp_path / "backups"
        full = await back_up(a, directory)
        async with client.connect(a) as store:
            await store.put(Key("/Kind3:00003"), "changed")
            await store.put(Key("/new"), "new")
            await store.delete(Key("/Kind4:00004"))
            # Deleted and created again, with the same value.
            await store.delete(Key("/Kind5:00005"))
            await store.put(Key("/Kind5:00005"), ENTRIES[Key("/Kind5:00005")])
        before = await stored(a)
        second = await back_up(a, directory)
        assert (second.incremental, second.entries) == (True, len(before))
        (node,) = second.nodes
        assert len(node.parts) == 2 and node.part_bytes[1] < node.part_bytes[0] / 2
        third = await back_up(a, directory)
        assert third.incremental
        assert (await back_up(a, directory, full=True)).incremental is False
        for number in (second.number, third.number):
            await restore_into(running.urls["b"], directory, number=number)
            assert await stored(running.urls["b"]) == before
            await empty(running.urls["b"])
        await restore_into(running.urls["b"], directory, number=full.number)
        assert set(await stored(running.urls["b"])) == set(map(str, ENTRIES))


@pytest.mark.long("another node, besides one with another past")
async def test_a_backup_of_another_node_reads_all_values_and_says_so(tmp_path: Path) -> None:
    async with filled(tmp_path) as running:
        await back_up(running.urls["a"], tmp_path / "backups")
        async with client.connect(running.urls["b"]) as store:
            await fill(store, SOME)
        said: list[str] = []
        backup = await back_up(running.urls["b"], tmp_path / "backups", said=said)
        assert not backup.incremental and len(backup.nodes[0].parts) == 1
        assert "all values are read, because it is another node" in said[0]


async def test_a_node_whose_past_is_another_one_is_found_out_and_read_whole(tmp_path: Path) -> None:
    """Its directory was replaced by an older copy, and an entry has another version than the backup before has."""
    directory = tmp_path / "backups"
    async with filled(tmp_path) as running:
        await running.stop("a")
        copy = (tmp_path / "a" / "data.mdb").read_bytes()
        await running.start("a")
        async with client.connect(running.urls["a"]) as store:
            await store.put(Key("/Kind1:00001"), "lost with the newer directory")
        await back_up(running.urls["a"], directory)
        await running.stop("a")
        (tmp_path / "a" / "data.mdb").write_bytes(copy)
        await running.start("a")
        async with client.connect(running.urls["a"]) as store:
            await store.put(Key("/after"), 1)
        said: list[str] = []
        backup = await back_up(running.urls["a"], directory, said=said)
        assert not backup.incremental and "all values are read again" in said[0]
        await restore_into(running.urls["b"], directory)
        assert await stored(running.urls["b"]) == await stored(running.urls["a"])


async def test_an_interrupted_backup_is_not_one_and_continues_with_what_changed_since(tmp_path: Path) -> None:
    directory = tmp_path / "backups"
    async with filled(tmp_path, ENTRIES) as running:
        a = running.urls["a"]
        for cut in (800, 1400):
            with pytest.raises(CutError):
                await back_up(a, directory, advance=interrupts_after(cut))
            assert Catalog(directory).backups == ()
            async with client.connect(a) as store:
                # In what is copied already, and in what is not.
                await store.put(Key("/Kind0:00007"), cut)
                await store.delete(Key(f"/Kind0:{cut + cut % 7:05}"))
                await store.delete(Key("/Kind0:00014"))
                await store.put(Key("/Kind6:00006"), cut)
        backup = await back_up(a, directory)
        (node,) = backup.nodes
        assert len(node.parts) == 3
        assert node.part_bytes[2] < sum(node.part_bytes) / 2
        await restore_into(running.urls["b"], directory)
        assert await stored(running.urls["b"]) == await stored(a)


async def test_an_interrupted_restore_is_not_served_and_continues(tmp_path: Path) -> None:
    directory = tmp_path / "backups"
    async with filled(tmp_path, ENTRIES) as running:
        a, b = running.urls["a"], running.urls["b"]
        await back_up(a, directory)
        with pytest.raises(CutError):
            await restore_into(b, directory, advance=interrupts_after(1200))
        for _ in ("running", "started again"):
            async with client.connect(b, retry=False) as store, MaintenanceClient(b) as node:
                assert not await node.is_serving()
                for call in (store.get(Key("/a")), store.put(Key("/a"), 1), store.contains(Key("/a"))):
                    with pytest.raises(UnavailableError, match="is being restored from the backup"):
                        await call
                with pytest.raises(UnavailableError, match="is being restored"):
                    await store.query(Query(Key("/"), recursive=True)).entries().__anext__()
            await running.stop("b")
            await running.start("b")
        other = tmp_path / "others"
        with pytest.raises(PlacementError, match="it has only a part of its entries"):
            await back_up(b, other)
        await back_up(a, other)
        with pytest.raises(PlacementError, match="being restored from another backup"):
            await restore_into(b, other)
        await restore_into(b, directory)
        async with MaintenanceClient(b) as node:
            assert await node.is_serving()
        assert await stored(b) == await stored(a)
        with pytest.raises(PlacementError, match="has been restored here before"):
            await restore_into(b, directory)


async def test_a_restore_can_be_cancelled(tmp_path: Path) -> None:
    async with filled(tmp_path, ENTRIES) as running:
        await back_up(running.urls["a"], tmp_path / "backups")
        with pytest.raises(CutError):
            await restore_into(running.urls["b"], tmp_path / "backups", advance=interrupts_after(1200))
        async with MaintenanceClient(running.urls["b"]) as node:
            assert await node.abort_restore() > 0
            assert await node.abort_restore() == 0
        assert await stored(running.urls["b"]) == {}
        await restore_into(running.urls["b"], tmp_path / "backups")


async def test_only_an_empty_node_is_restored(tmp_path: Path) -> None:
    async with filled(tmp_path) as running:
        await back_up(running.urls["a"], tmp_path / "backups")
        async with client.connect(running.urls["b"]) as store:
            await store.put(Key("/mine"), 1)
        with pytest.raises(PlacementError, match="holds entries, and a backup is restored only into an empty one"):
            await restore_into(running.urls["b"], tmp_path / "backups")
        assert set(await stored(running.urls["b"])) == {"/mine"}


@pytest.mark.parametrize(
    ("before", "after"),
    [pytest.param("a", "xyz", marks=pytest.mark.long("one shard into three, besides three into two")), ("abc", "xy")],
)
async def test_a_cluster_is_restored_into_one_of_another_shape(tmp_path: Path, before: str, after: str) -> None:
    directory, config = tmp_path / "backups", tmp_path / SOURCE
    async with nodes(tmp_path, *before, *after) as running:
        async with proxy(running.config(*before)) as store:
            await fill(store, ENTRIES)
            await store.put(Key("/expires"), 1, expires_in_s=3600)
        config.write_text(dump_config(running.config(*before)))
        backup = await back_up(str(config), directory)
        assert [node.shard for node in backup.nodes] == [*before] and backup.epoch == 1
        assert (await verify(str(config), lambda _: None)).findings == []
        async with proxy(running.config(*after)):
            pass
        config.write_text(dump_config(running.config(*after)))
        restored = await restore_into(str(config), directory)
        assert restored.entries == len(ENTRIES) + 1 and restored.with_new_versions == ()
        wanted = await stored(*(running.urls[name] for name in before))
        assert await stored(*(running.urls[name] for name in after)) == wanted
        async with proxy(running.config(*after)) as store:
            assert await store.get(Key("/Kind3:00003")) == ENTRIES[Key("/Kind3:00003")]
        for name in after:
            assert (await verify(running.urls[name], lambda _: None)).findings == []


async def test_a_backup_over_a_change_of_the_placement_is_refused(tmp_path: Path) -> None:
    config, directory = tmp_path / SOURCE, tmp_path / "backups"
    async with nodes(tmp_path, *"abc") as running:
        async with proxy(running.config("a", "b")) as store:
            await fill(store, ENTRIES)
        config.write_text(dump_config(running.config("a", "b")))
        with Catalog.locked(directory) as catalog:
            async with sources_of(str(config)) as sources:
                await apply_now(running.config("a", "b", "c"))
                with pytest.raises(PlacementError, match="the placement changed during the backup"):
                    await take_backup(
                        sources,
                        Taking(catalog, "", full=False, rate=Rate(None), advance=lambda _: None, say=lambda _: None),
                    )
        assert Catalog(directory).backups == ()
        with pytest.raises(PlacementError, match="placement check"):
            await back_up(str(config), directory)
        config.write_text(dump_config(running.config("a", "b", "c")))
        backup = await back_up(str(config), directory)
        assert (backup.epoch, backup.entries) == (2, len(ENTRIES))


@pytest.mark.long("a lost node restored over the network, besides as a directory")
async def test_one_shard_alone_is_restored_after_its_node_was_lost(tmp_path: Path) -> None:
    config, directory = tmp_path / SOURCE, tmp_path / "backups"
    async with nodes(tmp_path, *"abc") as running:
        async with proxy(running.config(*"abc")) as store:
            await fill(store, ENTRIES)
        config.write_text(dump_config(running.config(*"abc")))
        before = await stored(*running.urls.values())
        await back_up(str(config), directory)
        await running.stop("b")
        await running.start("b", directory="new")
        await apply_now(running.config(*"abc"), replaced=frozenset("b"))
        with pytest.raises(PlacementError, match="into an empty one"):
            await restore_into(str(config), directory)
        with pytest.raises(PlacementError, match=r"is shard b of the cluster trial: .* --only b"):
            await restore_into(running.urls["b"], directory)
        await restore_into(str(config), directory, only="b")
        assert await stored(*running.urls.values()) == before


async def test_a_lost_node_is_restored_as_a_directory_and_is_the_same_node(tmp_path: Path) -> None:
    config, directory = tmp_path / SOURCE, tmp_path / "backups"
    async with nodes(tmp_path, *"abc") as running:
        async with proxy(running.config(*"abc")) as store:
            await fill(store, ENTRIES)
            await store.put(Key("/expires"), 1, expires_in_s=3600)
        config.write_text(dump_config(running.config(*"abc")))
        before = await stored(*running.urls.values())
        backup = await back_up(str(config), directory)
        await running.stop("b")
        new = f"lmdb://{tmp_path / 'new'}"
        code, text = await command("restore", str(directory), new)
        assert code == 3 and "say which with --only SHARD, one of a, b, c" in text
        (tmp_path / "new.restoring").mkdir()
        code, text = await command("restore", str(directory), new, "--only", "b")
        assert code == 0, text
        code, text = await command("restore", str(directory), new, "--only", "b")
        assert code == 3 and "is not empty" in text
        assert not (tmp_path / "new.restoring").exists()
        await running.start("b", directory="new")
        async with proxy(running.config(*"abc")) as store:
            await store.put(Key("/Kind3:00003"), "after")
            written = await store.entry(Key("/Kind3:00003"))
            assert written is not None and written.version > backup.version
        after = await stored(*running.urls.values())
        assert {**after, "/Kind3:00003": None} == {**before, "/Kind3:00003": None}
        assert (await verify(running.urls["b"], lambda _: None)).findings == []


async def test_a_node_in_memory_gives_restored_entries_new_versions_and_says_so(tmp_path: Path) -> None:
    directory = tmp_path / "backups"
    async with filled(tmp_path) as running, nodes(None, "m") as others:
        async with client.connect(running.urls["a"]) as store:
            await store.put(Key("/expires"), 1, expires_in_s=3600)
        await back_up(running.urls["a"], directory)
        restored = await restore_into(others.urls["m"], directory)
        assert restored.with_new_versions == ("",)
        before, after = await stored(running.urls["a"]), await stored(others.urls["m"])
        assert {key: value for key, (value, _) in before.items()} == {key: value for key, (value, _) in after.items()}
        assert after["/expires"][1].expires_us == before["/expires"][1].expires_us
        with pytest.raises(UnsupportedError, match=r"a store of kind .* has no snapshots: `datastore export`"):
            await back_up(others.urls["m"], tmp_path / "others")


async def test_what_has_expired_since_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "backups"
    async with filled(tmp_path) as running:
        async with client.connect(running.urls["a"]) as store:
            await store.put(Key("/hour"), 1, expires_in_s=3600)
            await store.put(Key("/day"), 1, expires_in_s=24 * 3600)
        backup = await back_up(running.urls["a"], directory)
        later = time.time() + 2 * 3600
        monkeypatch.setattr(restoring.time, "time", lambda: later)
        restored = await restore_into(running.urls["b"], directory)
        monkeypatch.undo()
        assert (backup.entries, restored.entries, restored.expired) == (len(SOME) + 2, len(SOME) + 1, 1)
        assert set(await stored(running.urls["b"])) == {"/day", *map(str, SOME)}


@pytest.mark.parametrize("kind", ["redis://127.0.0.1", "mongodb://127.0.0.1/db", "memcached://127.0.0.1", "memory:"])
async def test_an_engine_with_its_own_backup_is_refused_with_advice(kind: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"a store of kind {kind.partition(':')[0]} has no snapshots: ."):
        await back_up(kind, tmp_path / "backups")


async def test_a_proxy_is_refused_with_advice(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b") as running, proxy(running.config("a", "b")) as store:
        await back_up(running.urls["a"], tmp_path / "backups")
        for call in (back_up(store.url, tmp_path / "others"), restore_into(store.url, tmp_path / "backups")):
            with pytest.raises(UnsupportedError, match="this is a proxy: name the configuration file"):
                await call


async def test_there_are_so_many_snapshots_at_once_and_no_more(tmp_path: Path) -> None:
    async with filled(tmp_path, ENTRIES) as running, MaintenanceClient(running.urls["a"]) as node:
        request = maintenance_pb2.ReadSnapshotRequest()
        streams = [node.read_snapshot(request) for _ in range(SNAPSHOTS)]
        for stream in streams:
            await anext(stream)
        with pytest.raises(OverloadedError, match="which is the most"):
            await anext(node.read_snapshot(request))
        for stream in streams:
            await stream.aclose()

        async def is_free() -> bool:
            try:
                async for _ in node.verify_store():
                    pass
            except OverloadedError:
                return False
            return True

        # What a client leaves ends with it.
        await until(is_free, answer=True)


async def test_a_snapshot_that_is_left_does_not_keep_pages_from_being_reused(tmp_path: Path) -> None:
    async with filled(tmp_path, ENTRIES) as running, MaintenanceClient(running.urls["a"]) as node:
        environment = running.engine("a")._environment

        async def is_read() -> bool:
            pids = {line.split()[0] for line in environment.readers().splitlines()[1:]}
            return bool(pids - {str(os.getpid())})

        stream = node.read_snapshot(maintenance_pb2.ReadSnapshotRequest())
        await anext(stream)
        assert await is_read()
        await stream.aclose()
        await until(is_read, answer=False)


async def test_two_commands_do_not_write_into_one_directory(tmp_path: Path) -> None:
    async with filled(tmp_path) as running:
        with Catalog.locked(tmp_path / "backups"), pytest.raises(StoreLockedError):
            await back_up(running.urls["a"], tmp_path / "backups")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(ConfigError, match=r"has other files \(file\): name an empty or a new directory"):
        await back_up("grpc://127.0.0.1:1", tmp_path / "other")


@pytest.mark.parametrize(
    "damage",
    ["flipped", *(pytest.param(name, marks=pytest.mark.long("other damage")) for name in ("truncated", "removed"))],
)
async def test_a_damaged_backup_is_found_and_not_restored(tmp_path: Path, damage: str) -> None:
    directory = tmp_path / "backups"
    async with filled(tmp_path) as running:
        backup = await back_up(running.urls["a"], directory)
        assert (await verify(str(directory), lambda _: None)).findings == []
        path = directory / backup.nodes[0].parts[0]
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        if damage == "removed":
            path.unlink()
        else:
            path.write_bytes(data if damage == "flipped" else data[:-1])
        verdict = await verify(str(directory), lambda _: None)
        assert verdict.found == 1 and str(path) in verdict.findings[0]
        done = await command("restore", str(directory), running.urls["b"])
        assert done[0] == 5 and "CORRUPT_DATA" in done[1]
        assert await stored(running.urls["b"]) == {}


@pytest.mark.parametrize(("made", "said"), [(False, "no such file or directory"), (True, "has neither manifest.json")])
async def test_what_cannot_be_verified_is_named(tmp_path: Path, made: bool, said: str) -> None:
    target = tmp_path / "target"
    if made:
        target.mkdir()
    with pytest.raises(ConfigError, match=f"{target}.*{said}"):
        await verify(str(target), lambda _: None)


async def test_a_damaged_length_in_a_backup_reserves_no_memory(tmp_path: Path) -> None:
    directory = tmp_path / "backups"
    async with filled(tmp_path) as running:
        backup = await back_up(running.urls["a"], directory)
    (part,) = Catalog(directory).paths(backup.nodes[0])
    data = bytearray(part.read_bytes())
    data[0] = 0xFF
    part.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptDataError, match="is damaged at byte 0"):
            list(read_part(part))
        assert tracemalloc.get_traced_memory()[1] < 16 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "changed",
    [
        {"parts": ["../secret.part"]},
        {"parts": ["/etc/secret.part"]},
        {"parts": ["0.part\0"]},
        {"parts": [], "part_bytes": []},
        {"part_bytes": []},
        {"entries": -1},
        {"version": -1},
        {"version": 1 << 63},
    ],
)
async def test_a_manifest_that_no_backup_has_written_is_refused(changed: dict[str, Any], tmp_path: Path) -> None:
    async with filled(tmp_path) as running:
        await back_up(running.urls["a"], tmp_path / "backups")
    path = tmp_path / "backups" / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["backups"][0]["nodes"][0] |= changed
    path.write_text(json.dumps(manifest))
    with pytest.raises(CorruptDataError, match=rf"{path} cannot be read"):
        Catalog(tmp_path / "backups")


async def test_a_restore_that_stored_something_else_is_not_served(tmp_path: Path) -> None:
    async with filled(tmp_path) as running, MaintenanceClient(running.urls["b"]) as node:
        await node.prepare_restore("x")
        columns = maintenance_pb2.EntryColumns(
            keys=["/a"], values=[b"\x18\x01"], versions=[7], created_us=[1], updated_us=[2], expires_us=[0]
        )
        await node.restore_entries("x", columns)
        with pytest.raises(CorruptDataError, match="1 instead of 2"):
            await node.finish_restore(maintenance_pb2.FinishRestoreRequest(backup="x", entries=2))
        async with client.connect(running.urls["b"], retry=False) as store:
            with pytest.raises(UnavailableError, match="is being restored"):
                await store.get(Key("/a"))
        for refused in ("", "a b", "x" * 65):
            with pytest.raises(ValueError, match="is not the identity of a backup"):
                await node.prepare_restore(refused)
        with pytest.raises(PlacementError, match="being restored from x"):
            await node.restore_entries("y", columns)
        with pytest.raises(PlacementError, match="the placement cannot be changed now"):
            await node.place("a", placement("a", "b"))


BAD_COLUMNS = [
    ({"values": []}, "the same length"),
    ({"keys": ["a"]}, "key"),
    ({"values": [b"\xff"]}, "value"),
    ({"versions": [0]}, "the version of an entry"),
    ({"versions": [2**63]}, "the version of an entry"),
]


@pytest.mark.parametrize(("changed", "message"), BAD_COLUMNS)
async def test_bad_entries_are_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    async with nodes(tmp_path, "b") as running, MaintenanceClient(running.urls["b"]) as node:
        await node.prepare_restore("x")
        good = {"keys": ["/a"], "values": [b"\x18\x01"], "versions": [7], "created_us": [1], "updated_us": [2]}
        columns = maintenance_pb2.EntryColumns(**(good | {"expires_us": [0]} | changed))
        with pytest.raises((ValueError, CorruptDataError), match=message):
            await node.restore_entries("x", columns)


def test_a_backup_and_a_restore_survive_kills(tmp_path: Path) -> None:
    """SIGKILL of the commands and of the nodes, in the middle."""
    directory = tmp_path / "backups"
    with processes.node(tmp_path / "a") as source, processes.node(tmp_path / "b") as target:
        lines = tmp_path / "in.jsonl"
        lines.write_text("".join(f'{{"key": "/K:{number:05}", "value": "{"x" * 200}"}}\n' for number in range(3000)))
        assert run_here("import", str(lines), "--server", source.url).code == 0
        killed("backup", source.url, str(directory), when=lambda: size_of(directory) > 200_000)
        assert not (directory / "manifest.json").exists()
        assert run_here("put", "/K:00001", "1", "--server", source.url).code == 0
        with subprocess.Popen([*COMMAND, "backup", source.url, str(directory), "--rate", "200KiB"]) as process:
            left = size_of(directory)
            while size_of(directory) < left + 200_000:
                assert process.poll() is None
                time.sleep(0.02)
            source.kill()
            source.start()
            assert process.wait() == 0

        def is_half_restored() -> bool:
            with Snapshot(tmp_path / "b") as snapshot:
                return "/K:" in (snapshot.read_system("restore") or b"").decode()

        killed("restore", str(directory), target.url, when=is_half_restored)
        target.kill()
        target.start()
        wait_until(lambda: "being restored" in run_here("count", "/", "--server", target.url, "--timeout", "1").err)
        assert run_here("restore", str(directory), target.url).code == 0
        outs = [
            run_here("query", "/", "--recursive", "--metadata", "--json", "--server", node.url).out
            for node in (source, target)
        ]
        assert outs[0] == outs[1] and outs[0].count("\n") == 3000


def size_of(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob("*.part"))


def killed(*words: str, when: Any) -> None:
    """Run a slow command, and kill it as soon as something is so."""
    with subprocess.Popen([*COMMAND, *words, "--rate", "100KiB"], stderr=subprocess.DEVNULL) as process:
        while not when():
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("rate", ["0", "1x", "9" * 5000], ids=["none", "no unit", "too long"])
def test_a_rate_that_is_not_a_size_is_a_usage_error(rate: str) -> None:
    done = run_here("backup", "grpc://127.0.0.1:1", "backup", "--rate", rate)
    assert (done.code, "Invalid value for '--rate': a size" in done.err) == (2, True), done.err


def test_a_backup_over_tls_is_for_those_who_may_administer_the_server(tmp_path: Path) -> None:
    tokens, tls = tmp_path / "tokens.toml", tmp_path / "tls"
    assert run_here("tls", "init", str(tls)).code == 0
    files = ["--tls-cert", str(tls / "server.pem"), "--tls-key", str(tls / "server-key.pem")]
    for name, right in (("operator", "admin"), ("reader", "read")):
        done = run_here("token", "create", name, "--rights", right, "--prefix", "/", "--tokens", str(tokens))
        assert done.code == 0, done.err
        (tmp_path / name).write_text(done.out)
    node = processes.ServerProcess(
        "serve", f"lmdb://{tmp_path / 'a'}", *files, "--tokens", str(tokens), log=tmp_path / "log"
    )
    try:
        node.start()
        words = ["backup", node.url, str(tmp_path / "backups"), "--ca", str(tls / "ca.pem")]
        assert "UNAUTHENTICATED" in run_here(*words).err
        assert "PERMISSION_DENIED" in run_here(*words, "--token-file", str(tmp_path / "reader")).err
        done = run_here(*words, "--token-file", str(tmp_path / "operator"))
        assert done.code == 0, done.err
    finally:
        node.stop()
