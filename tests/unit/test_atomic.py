"""Atomic batches through compositions: what passes them on, what refuses them, and what they leave."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from datastore import core
from datastore.model.entries import Write
from datastore.model.errors import (
    BatchAbortedError,
    ConditionFailedError,
    InvalidKeyError,
    UnavailableError,
    UnsupportedError,
    WrongShardError,
)
from datastore.model.expiry import Expiry
from datastore.model.key import Key
from datastore.model.metadata import ABSENT, EXISTS
from datastore.model.operations import Delete, Patch, Put
from datastore.model.patches import PatchRoom, changes_of

A, B, C = Key("/c/a"), Key("/c/b"), Key("/c/c")
BOTH = [Write(A, 1), Write(B, 2)]


async def made(colour: Any, store: Any, writes: Any) -> list[Any]:
    """The errors of an atomic batch."""
    return [result.error for result in await colour.call(store.batch_write, writes, atomic=True)]


async def values(colour: Any, store: Any, *keys: Key) -> list[Any]:
    return [await colour.call(store.get, key) for key in keys]


# What refuses them


@pytest.mark.parametrize("name", ["write", "put", "delete", "batch_write"])
async def test_a_class_with_its_own_writes_refuses_them_also_under_other_stores(colour, library, name):
    child = library.DictDatastore()
    for base in (library.ShimDatastore, library.NamespaceDatastore, library.DictDatastore):
        own = type("Own", (base,), {name: getattr(base, name)})
        arguments = {library.ShimDatastore: [child], library.NamespaceDatastore: ["/n", child]}
        store = own(*arguments.get(base, []))
        assert store.capability.atomic is False
        for above in (store, library.ShimDatastore(store), library.TieredDatastore([library.DictDatastore(), store])):
            assert above.capability.atomic is False
            with pytest.raises(UnsupportedError, match="cannot make atomic batches"):
                await colour.call(above.batch_write, BOTH, atomic=True)
            with pytest.raises(UnsupportedError, match="no `write_atomic`"):
                await colour.call(library.ShimDatastore(store).write_atomic, [Put(A, 1)])
        assert await values(colour, store, A, B) == [None, None]


async def test_a_method_assigned_to_an_object_counts_as_its_own(colour, library):
    store = library.ShimDatastore(library.DictDatastore())
    assert store.capability.atomic is True
    store.put = lambda key, value: None
    assert store.capability.atomic is False
    with pytest.raises(UnsupportedError):
        await colour.call(store.batch_write, BOTH, atomic=True)


async def test_a_class_with_its_own_writes_and_write_atomic_is_asked(colour, library):
    seen = []

    class Own(library.ShimDatastore):
        def write(self, operations):
            return self.child_datastore.write(operations)

        def write_atomic(self, operations):
            seen.append(len(operations))
            return self.child_datastore.write_atomic(operations)

    store = library.ShimDatastore(Own(library.DictDatastore()))
    assert store.capability.atomic is True
    assert await made(colour, store, BOTH) == [None, None]
    assert seen == [2]


async def test_a_store_over_one_that_cannot_refuses_before_anything_is_written(colour, library):
    cache = library.LRUCacheDatastore(9)
    for store in (
        library.ShimDatastore(cache),
        library.ShardedDatastore([cache]),
        library.MountDatastore({"/": cache}),
        library.TieredDatastore([library.DictDatastore(), cache]),
        library.DirectoryDatastore(cache),
        library.SymlinkDatastore(cache),
        library.SerializerShimDatastore(cache),
        library.ShardedDatastore([library.DictDatastore(), cache]),
    ):
        assert store.capability.atomic is False
        with pytest.raises(UnsupportedError):
            await colour.call(store.batch_write, BOTH, atomic=True)
        with pytest.raises(UnsupportedError):
            await colour.call(store.write_atomic, [Put(A, 1), Put(B, 2)])
    assert len(cache) == 0


# Shards and mounts


async def test_keys_on_several_shards_are_refused_naming_the_first_of_them(colour, library):
    stores = [library.DictDatastore() for _ in range(5)]
    names = ["zero", "one", "two", "three", "four"]
    store = library.ShardedDatastore(stores, shardingfn=lambda key: int(key.name), names=names)
    writes = [Write(Key(f"/n/{number}"), number) for number in (3, 3, 1, 0, 4, 1)]
    with pytest.raises(UnsupportedError) as raised:
        await colour.call(store.batch_write, writes, atomic=True)
    assert str(raised.value).endswith("these are on 4: /n/3 on three, /n/1 on one, /n/0 on zero, and 1 more")
    assert list(map(len, stores)) == [0] * 5
    assert await made(colour, store, [Write(Key("/n/3"), 1), Write(Key("/m/3"), 2)]) == [None, None]
    assert list(map(len, stores)) == [0, 0, 0, 2, 0]


async def test_an_error_of_a_shard_has_its_name(colour, library):
    store = library.ShardedDatastore([library.DictDatastore()], names=["one"])
    errors = await made(colour, store, [Write(A, 1), Put(B, 2, EXISTS)])
    assert [(type(error), error.shard) for error in errors] == [
        (BatchAbortedError, "one"),
        (ConditionFailedError, "one"),
    ]


async def test_a_key_that_has_no_shard_fails_its_batch(colour, library):
    store = library.ShardedDatastore([library.DictDatastore()], shardingfn=lambda key: "x" if key == B else 0)
    errors = await made(colour, store, [Write(A, 1), Write(B, 2), Write(C, 3)])
    assert [type(error).__name__ for error in errors] == [
        "BatchAbortedError",
        "UnsupportedTypeError",
        "BatchAbortedError",
    ]
    assert await values(colour, store, A, C) == [None, None]


async def test_a_batch_within_one_mount_is_atomic_and_over_two_refused(colour, library):
    files, main = library.DictDatastore(), library.DictDatastore()
    store = library.MountDatastore({"/archive": files, "/": main})
    assert await made(colour, store, [Write(Key("/archive/a"), 1), Write(Key("/archive/b"), 2)]) == [None, None]
    assert await values(colour, files, Key("/a"), Key("/b")) == [1, 2]
    with pytest.raises(UnsupportedError, match=r"/archive/a on /archive, /a on /$"):
        await colour.call(store.batch_write, [Write(Key("/archive/a"), 9), Write(Key("/a"), 9)], atomic=True)
    assert (await colour.call(files.get, Key("/a")), len(main)) == (1, 0)


async def test_a_key_that_is_not_mounted_fails_its_batch(colour, library):
    store = library.MountDatastore({"/archive": library.DictDatastore()})
    errors = await made(colour, store, [Write(A, 1), Write(B, 2)])
    assert [type(error) for error in errors] == [InvalidKeyError, InvalidKeyError]
    with pytest.raises(UnsupportedError):
        await colour.call(store.batch_write, [Write(A, 1), Write(Key("/archive/a"), 1)], atomic=True)
    assert await values(colour, store, Key("/archive/a")) == [None]


# Stores that turn one write into several, or into others


async def test_directories_change_with_their_values(colour, library):
    child = library.DictDatastore()
    store = library.DirectoryDatastore(child)
    assert await made(colour, store, [Write(A, 1), Write(B, 2), Write(A, 3), Write(Key("/d"), 4)]) == [None] * 4
    assert await colour.call(store.directory, Key("/c")) == ["/c/a", "/c/b"]
    assert await colour.call(store.directory, Key("/")) == ["/d"]
    failing = [Write(C, 1), Delete(A), Put(B, 9, ABSENT)]
    assert [type(error) for error in await made(colour, store, failing)][2] is ConditionFailedError
    assert await colour.call(store.directory, Key("/c")) == ["/c/a", "/c/b"]
    assert await made(colour, store, [Delete(A), Write(C, 1), Delete(B), Delete(Key("/c:directory"))]) == [None] * 4
    assert await colour.call(store.directory, Key("/c")) == ["/c/c"]
    assert await made(colour, store, [Delete(C, EXISTS), Delete(Key("/d"))]) == [None] * 2
    assert len(child) == 0


async def test_a_refused_name_fails_its_batch_in_a_directory(colour, library):
    store = library.DirectoryDatastore(library.DictDatastore())
    writes = [Delete(Key("/c:directory")), Write(A, 1), Put(B, 1, EXISTS)]
    errors = await made(colour, store, writes)
    assert [type(error) for error in errors] == [BatchAbortedError, BatchAbortedError, ConditionFailedError]
    assert [error.index for error in errors[:2]] == [2, 2]
    errors = await made(colour, store, [Write(A, 1), Write(Key("/c:directory"), 1)])
    assert [type(error) for error in errors] == [BatchAbortedError, InvalidKeyError]
    errors = await made(colour, store, [Write(A, 1), Delete(Key("/c:directory"), EXISTS)])
    assert [type(error) for error in errors] == [BatchAbortedError, ConditionFailedError]
    assert await colour.call(store.directory, Key("/c")) == []


async def test_links_are_followed_as_they_are_after_the_writes_before(colour, library):
    child = library.DictDatastore()
    store = library.SymlinkDatastore(child)
    await colour.call(store.link, A, B)
    await colour.call(store.link, B, C)
    assert await made(colour, store, [Write(C, 1), Patch(A, changes_of({"n": 1}), create=True)]) != [None, None]
    assert await values(colour, store, A, C) == [None, None]
    assert await made(colour, store, [Write(C, "1"), Delete(B), Write(B, "/c/a/datastore_link")]) == [None] * 3
    assert await values(colour, store, A, B, C) == ["1", "/c/a/datastore_link", "/c/a/datastore_link"]
    errors = await made(colour, store, [Write(A, "2"), Delete(C, EXISTS)])
    assert [type(error) for error in errors] == [BatchAbortedError, UnsupportedError]
    assert await values(colour, store, A) == ["1"]


async def test_a_circle_of_links_fails_its_batch(colour, library):
    child = library.DictDatastore()
    store = library.SymlinkDatastore(child)
    await colour.call(child.put, A, "/c/b/datastore_link")
    await colour.call(child.put, B, "/c/a/datastore_link")
    errors = await made(colour, store, [Write(C, 1), Write(A, 2)])
    assert [type(error).__name__ for error in errors] == ["BatchAbortedError", "CircularLinkError"]
    assert await values(colour, child, C) == [None]


async def test_a_serializer_that_refuses_a_value_fails_the_batch(colour, library):
    child = library.DictDatastore()
    store = library.SerializerShimDatastore(child)
    errors = await made(colour, store, [Write(A, 1), Write(B, object())])
    assert [type(error).__name__ for error in errors] == ["BatchAbortedError", "UnsupportedTypeError"]
    assert len(child) == 0
    results = await colour.call(
        store.batch_write, [Write(A, {"n": 1}), Patch(A, changes_of(increment={"n": 1}))], atomic=True
    )
    assert results[1].value == {"n": 2}
    assert await values(colour, store, A) == [{"n": 2}]


async def test_caches_are_corrected_after_a_batch(colour, library):
    cache, last = library.LRUCacheDatastore(9), library.DictDatastore()
    store = library.TieredDatastore([cache, last])
    assert await made(colour, store, [Write(A, 1), Write(B, 2), Write(C, 3)]) == [None] * 3
    assert await values(colour, cache, A, B, C) == [1, 2, 3]
    assert await made(colour, store, [Write(A, 4), Delete(B), Put(C, 5, expiry=Expiry.after(seconds=60))]) == [None] * 3
    assert await values(colour, cache, A, B, C) == [4, None, None]
    await colour.call(last.put, A, 6)
    errors = await made(colour, store, [Write(C, 9), Put(A, 9, ABSENT)])
    assert [type(error) for error in errors] == [BatchAbortedError, ConditionFailedError]
    # The cached value was proved to be old.
    assert await values(colour, cache, A) == [None]
    assert await values(colour, store, A, C) == [6, 5]


async def test_a_batch_of_unknown_outcome_leaves_nothing_of_it_in_the_caches(colour, library):
    cache, last = library.LRUCacheDatastore(9), library.DictDatastore()
    store = library.TieredDatastore([cache, last])
    await colour.call(store.put, A, "old")
    committed = last.write_atomic

    def lost(operations):
        raise UnavailableError("cut off")

    last.write_atomic = lost
    with pytest.raises(UnavailableError):
        await colour.call(store.batch_write, [Write(A, "new"), Write(B, 1)], atomic=True)
    last.write_atomic = committed
    assert await values(colour, cache, A) == [None]


# In memory


def test_no_thread_reads_a_part_of_a_batch_by_one_get_after_another():
    store = core.DictDatastore()
    store.batch_write([Write(A, 0), Write(B, 0)], atomic=True)

    def write() -> None:
        for number in range(1, 3000):
            refused = [Put(A, number, ABSENT)] if number % 2 else []
            store.batch_write([Write(A, number), Write(B, number), *refused], atomic=True)

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        # After a batch has been seen by its first key, it is also seen by the other; a refused one never is.
        first, second = store.get(A), store.get(B)
        assert first <= second
        assert (first % 2, second % 2) == (0, 0)
        later, same = [result.value for result in store.batch_get([B, A])]
        assert later == same
        assert later >= second
    writer.join()
    assert [store.get(A), store.get(B)] == [2998, 2998]


async def test_a_query_that_has_begun_does_not_see_a_later_batch(colour, library):
    store = library.DictDatastore()
    await made(colour, store, BOTH)
    cursor = store.query(core.Query(Key("/c")))
    first = await colour.next_values(cursor, 1)
    await made(colour, store, [Write(A, 7), Write(B, 7), Write(C, 7)])
    assert first + await colour.next_values(cursor, 5) == [1, 2]


async def test_an_error_that_nobody_foresaw_makes_nothing(colour, library):
    def fail(stored: Any) -> Any:
        raise ZeroDivisionError

    store = library.DictDatastore()
    patch = Patch(B, changes_of({"n": 1}), create=True, encode=fail)
    with pytest.raises(ZeroDivisionError):
        await colour.call(store.batch_write, [Write(A, 1), patch], atomic=True)
    assert await values(colour, store, A, B) == [None, None]
    assert await made(colour, store, BOTH) == [None, None]


async def test_the_patches_of_an_atomic_batch_cannot_be_sent_in_parts(colour, library):
    store = library.DictDatastore()
    room = PatchRoom(is_atomic=True)
    room._left = 0
    errors = await made(colour, store, [Write(A, 1), Patch(B, changes_of({"n": 1}), create=True, room=room)])
    assert (type(errors[1]).__name__, errors[1].limit) == ("LimitExceededError", "patched_bytes")
    assert await values(colour, store, A) == [None]


def test_the_error_is_found_by_its_index():
    error = BatchAbortedError("why", index=3)
    assert (error.index, BatchAbortedError().index, isinstance(error, RuntimeError)) == (3, 0, True)
    assert not isinstance(error, WrongShardError)
