"""Every documented method may be overridden under either of its names, and the library calls the override."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from datastore import aio, core
from datastore.aio.lift import lift
from datastore.engine.placement import SlotMap
from datastore.engine.serializers import NonSerializer, Stack, map_serializer, prettyjson
from datastore.filesystem import FileSystemDatastore
from datastore.lmdb import LMDBDatastore
from datastore.model.entries import Position, Write
from datastore.model.fields import Filter, Order
from datastore.model.key import Key
from datastore.model.operations import ReadResult, WriteResult
from datastore.model.query import Query
from datastore_client.aio import connect
from tests.support import clusters
from tests.support.documented import MEMBERS, TWINS

C = Key("/c")
A, B = Key("/c/a"), Key("/c/b")


@pytest.fixture(params=[core, aio], ids=["threads", "tasks"])
def library(request: pytest.FixtureRequest) -> Any:
    return request.param


async def done(answer: Any) -> Any:
    """The answer of a call of either colour."""
    return await answer if inspect.isawaitable(answer) else answer


async def read(cursor: Any) -> list[Any]:
    """The values of a cursor, or of an iterable, of either colour."""
    return [value async for value in cursor] if hasattr(cursor, "__aiter__") else list(cursor)


async def entries(cursor: Any) -> list[Any]:
    return await read(cursor.entries())


def both_names(name: str) -> list[str]:
    return [name, TWINS[name]] if name in TWINS else [name]


def overriding(base: type, name: str, via: str, called: list[str]) -> type:
    """A subclass that records the calls of one method, and calls `super()` under the name `via`."""
    found = inspect.getattr_static(base, name)
    if isinstance(found, staticmethod):

        def method(*arguments: Any, **named: Any) -> Any:
            called.append(name)
            return getattr(base, via)(*arguments, **named)

        return type(base.__name__, (base,), {name: staticmethod(method)})

    def member(self: Any, *arguments: Any, **named: Any) -> Any:
        called.append(name)
        found_above = getattr(super(sub, self), via)
        return found_above if isinstance(found, property) else found_above(*arguments, **named)

    kind = type(found) if isinstance(found, (classmethod, property)) else lambda function: function
    sub: type = type(base.__name__, (base,), {name: kind(member)})
    return sub


# Stores: each method, and the operations that have to go through it.

OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "get": lambda store: store.get(A),
    "put": lambda store: store.put(B, "b"),
    "put none": lambda store: store.put(A, None),
    "delete": lambda store: store.delete(A),
    "contains": lambda store: store.contains(A),
    "query": lambda store: read(store.query(Query(C).order("n"))),
    "batch_get": lambda store: store.batch_get([A, B]),
    "batch_write": lambda store: store.batch_write([Write(A, "a"), Write(B, None)]),
}
BY_KEY = [name for name in OPERATIONS if name != "query"]
THROUGH = {
    "get": ["get", "batch_get"],
    "put": ["put", "batch_write"],
    "delete": ["delete", "put none", "batch_write"],
    "contains": ["contains"],
    "query": ["query"],
    "namespaceKey": list(OPERATIONS),
    "lowercaseKey": list(OPERATIONS),
    "nestKey": BY_KEY,
    "nestedPath": BY_KEY,
    "shard": BY_KEY,
    "shardDatastore": BY_KEY,
    "shard_query_generator": ["query"],
    "datastore": list(OPERATIONS),
    "directory": ["query"],
    "directory_values_generator": ["query"],
    "serializedValue": ["put", "batch_write"],
    "deserializedValue": ["get", "contains", "query", "batch_get"],
    "object_path": list(OPERATIONS),
    "relative_object_path": list(OPERATIONS),
    "path": ["query"],
    "relative_path": ["query"],
}
#: Methods that only callers call, and data; they have separate tests below.
OTHERS = "appendDatastore insertDatastore removeDatastore link sentinel serializer ignore_list object_extension".split()
MAKE: dict[str, Callable[[Any, Any, Path], Any]] = {
    "InterfaceMappingDatastore": lambda library, cls, _: cls(Service()),
    "ShimDatastore": lambda library, cls, _: cls(library.DictDatastore()),
    "CacheShimDatastore": lambda library, cls, _: cls(library.DictDatastore(), cache=library.DictDatastore()),
    "LoggingDatastore": lambda library, cls, _: cls(library.DictDatastore()),
    "KeyTransformDatastore": lambda library, cls, _: cls(library.DictDatastore()),
    "LowercaseKeyDatastore": lambda library, cls, _: cls(library.DictDatastore()),
    "NamespaceDatastore": lambda library, cls, _: cls("/n", library.DictDatastore()),
    "NestedPathDatastore": lambda library, cls, _: cls(library.DictDatastore()),
    "SymlinkDatastore": lambda library, cls, _: cls(library.DictDatastore()),
    "DirectoryDatastore": lambda library, cls, _: cls(library.DictDatastore()),
    "TieredDatastore": lambda library, cls, _: cls([library.DictDatastore(), library.DictDatastore()]),
    "ShardedDatastore": lambda library, cls, _: cls([library.DictDatastore(), library.DictDatastore()]),
    "SerializerShimDatastore": lambda library, cls, _: cls(library.DictDatastore()),
    "FileSystemDatastore": lambda library, cls, path: cls(path) if library is core else lift(cls(path)),
    "NullDatastore": lambda library, cls, _: cls(),
    "DictDatastore": lambda library, cls, _: cls(),
}
NO_QUERIES = ("InterfaceMappingDatastore", "NestedPathDatastore")


class Service(dict):
    """The service that InterfaceMappingDatastore wraps."""

    put = dict.__setitem__
    delete = dict.__delitem__


def class_of(library: Any, name: str) -> Any:
    return FileSystemDatastore if name == "FileSystemDatastore" else getattr(library, name)


CASES = [
    (cls, own, via)
    for cls in MAKE
    # The common methods of collections are tested in the two that keep entries.
    for name in {*MEMBERS[cls].split(), *(["datastore"] if cls in ("TieredDatastore", "ShardedDatastore") else [])}
    if name in THROUGH
    for own in both_names(name)
    for via in both_names(name)
]


@pytest.mark.parametrize(("cls", "own", "via"), sorted(CASES))
async def test_operations_go_through_the_overrides_of_a_subclass(
    library: Any, cls: str, own: str, via: str, tmp_path: Path
) -> None:
    base, called = class_of(library, cls), []
    name = next(name for name in THROUGH if own in both_names(name))
    for number, operation in enumerate(THROUGH[name]):
        if operation == "query" and cls in NO_QUERIES and name != "query":
            continue
        stores = [
            MAKE[cls](library, each, tmp_path / str(number) / str(each is base))
            for each in (overriding(base, own, via, called), base)
        ]
        for store in stores:
            await done(store.put(A, "a"))
        called.clear()
        answers = [await answer_of(OPERATIONS[operation], store) for store in stores]
        assert own in called, operation
        # An override that changes nothing changes no answer.
        assert answers[0] == answers[1], operation
        for store in stores:
            await done(store.close() if library is core else store.aclose())


async def answer_of(operation: Callable[[Any], Any], store: Any) -> Any:
    try:
        return await done(operation(store))
    except NotImplementedError as error:
        return type(error)


def test_every_documented_method_of_a_store_is_tested() -> None:
    for cls, names in MEMBERS.items():
        if cls.endswith("Datastore") or cls == "DatastoreCollection":
            assert set(names.split()) <= {*THROUGH, *OTHERS}, cls
    assert set(MAKE) == {cls for cls in MEMBERS if cls.endswith("Datastore")} - {"Datastore"}


@pytest.mark.parametrize("own", both_names("appendDatastore"))
def test_a_collection_is_created_with_the_method_that_appends(library: Any, own: str) -> None:
    called: list[str] = []
    collection = overriding(library.DatastoreCollection, own, "append_datastore", called)([library.NullDatastore()] * 2)
    assert called == [own] * 2
    assert isinstance(collection.datastore(1), library.NullDatastore)


# Both names, in every class.


@pytest.mark.parametrize("name", TWINS)
def test_an_override_under_one_name_works_under_both(library: Any, name: str) -> None:
    (cls,) = {cls for cls, names in MEMBERS.items() if name in names.split()}
    base = getattr(library if hasattr(library, cls) else core, cls)
    for own, other in (name, TWINS[name]), (TWINS[name], name):
        for form in (lambda function: function, staticmethod, classmethod):
            member = form(lambda *_: "overridden")
            sub = type("Sub", (base,), {own: member})
            assert vars(sub)[other] is member
            assert vars(type("Below", (sub,), {}))
        # A base that does not know the library, on either side.
        mixin = type("Mixin", (), {own: "mixed in"})
        assert getattr(type("First", (mixin, base), {}), other) == "mixed in"
        assert getattr(type("Last", (base, mixin), {}), other) != "mixed in"


def encrypting(step: int, own: str, above: str) -> type:
    """A user's class that shifts text, and calls the next base under the name `above`."""

    def serialized(self: Any, value: Any) -> Any:
        text = getattr(super(mixin, self), above)(value)
        return "".join(chr(ord(letter) + step) for letter in text)

    mixin: type = type("Mixin", (), {own: serialized})
    return mixin


@pytest.mark.parametrize("names", [(a, b, c, d) for a in "sS" for b in "sS" for c in "sS" for d in "sS"])
async def test_cooperating_bases_call_each_other_under_either_name(library: Any, names: Any) -> None:
    first, second, third, fourth = ({"s": "serialized_value", "S": "serializedValue"}[name] for name in names)
    bases = (encrypting(1, first, second), encrypting(10, third, fourth), library.SerializerShimDatastore)
    store = type("Store", bases, {})(library.DictDatastore())
    await done(store.put(A, "a"))
    assert await done(store.child_datastore.get(A)) == "".join(chr(ord(letter) + 11) for letter in '"a"')


@pytest.mark.parametrize("own", both_names("serializedValue"))
async def test_a_method_assigned_to_an_instance_is_used_under_both_names(library: Any, own: str) -> None:
    store = library.SerializerShimDatastore(library.DictDatastore())
    setattr(store, own, lambda value: '"secret"')
    await done(store.put(A, "text"))
    assert await done(store.child_datastore.get(A)) == '"secret"'


# Nothing bypasses an override: not a whole query, not a batch, not a server.


class Swapped:
    """A custom form of maps: names and values exchanged."""

    @staticmethod
    def swap(value: Any) -> Any:
        return {str(item): name for name, item in value.items()}


@pytest.mark.parametrize("names", ["serializedValue deserializedValue", "serialized_value deserialized_value"])
@pytest.mark.parametrize("serializer", [NonSerializer, map_serializer, Stack([map_serializer])])
async def test_no_query_is_pushed_down_past_a_custom_form_of_values(library: Any, names: str, serializer: Any) -> None:
    def form(*arguments: Any) -> Any:
        return None if arguments[-1] is None else Swapped.swap(arguments[-1])

    by_class = type("Own", (library.SerializerShimDatastore,), dict.fromkeys(names.split(), form))
    by_itself = library.SerializerShimDatastore(library.DictDatastore(), serializer)
    for name in names.split():
        setattr(by_itself, name, form)
    for store in (by_class(library.DictDatastore(), serializer), by_itself):
        await done(store.batch_write([Write(A, {"n": "1"}), Write(B, {"n": "2"})]))
        assert await done(store.child_datastore.get(A)) == {"1": "n"}
        assert await read(store.query(Query(C).filter("n", "=", "2"))) == [{"n": "2"}]
        assert await read(store.query(Query(C, limit=1).order("-n"))) == [{"n": "2"}]


@pytest.mark.parametrize("base", [NonSerializer, map_serializer, Stack])
async def test_a_serializer_that_changes_its_base_does_not_inherit_its_declarations(library: Any, base: Any) -> None:
    swap = lambda self, value: Swapped.swap(value)
    store = library.SerializerShimDatastore(
        library.DictDatastore(), type("Own", (base,), {"dumps": swap, "loads": swap})()
    )
    await done(store.put(A, {"n": "1"}))
    assert await read(store.query(Query(C).filter("n", "=", "1"))) == [{"n": "1"}]


STACKS: dict[str, Callable[[Any], Any]] = {
    "dict": lambda library: library.DictDatastore(),
    "lru": lambda library: library.LRUCacheDatastore(9),
    "namespace": lambda library: library.NamespaceDatastore("/n", library.DictDatastore()),
    "lowercase": lambda library: library.LowercaseKeyDatastore(library.DictDatastore()),
    "sharded": lambda library: library.ShardedDatastore([library.DictDatastore() for _ in range(3)]),
    "tiered": lambda library: library.TieredDatastore([library.DictDatastore(), library.DictDatastore()]),
    "json": lambda library: library.SerializerShimDatastore(library.DictDatastore()),
    "maps": lambda library: library.SerializerShimDatastore(library.DictDatastore(), map_serializer),
    "symlink": lambda library: library.SymlinkDatastore(library.DictDatastore()),
    "directory": lambda library: library.DirectoryDatastore(library.DictDatastore()),
}
NUMBERS = {Key("/c/1"): 1, Key("/c/2"): 2, Key("/c/3"): 3, Key("/c/4"): 4}


def generator(self: Any, iterable: Any) -> Any:
    return (obj for obj in iterable if obj["n"] % 2)


PARTS: dict[str, tuple[dict[str, Any], list[int]]] = {
    "valuePasses": ({"valuePasses": lambda self, value: value % 2 == 1}, [1, 3]),
    "value_passes": ({"value_passes": lambda self, value: value % 2 == 1}, [1, 3]),
    "generator": ({"generator": generator}, [1, 3]),
    "filter getter": ({"object_getattr": staticmethod(lambda obj, field: obj["n"] % 2)}, [1, 3]),
    "isAscending": ({"isAscending": lambda self: False}, [4, 3, 2, 1]),
    "is_ascending": ({"is_ascending": lambda self: False}, [4, 3, 2, 1]),
    "isDescending": ({"isDescending": lambda self: True}, [4, 3, 2, 1]),
    "is_descending": ({"is_descending": lambda self: True}, [4, 3, 2, 1]),
    "keyfn": ({"keyfn": lambda self, obj: (obj["n"] % 2, obj["n"])}, [2, 4, 1, 3]),
    "order getter": ({"object_getattr": staticmethod(lambda obj, field: -obj["n"])}, [4, 3, 2, 1]),
}


def part_of(name: str, *, instance: bool) -> Any:
    """A filter or an order with one custom method, of its class or of the instance."""
    own, _ = PARTS[name]
    is_filter = name in ("valuePasses", "value_passes", "generator", "filter getter")
    base, arguments = (Filter, ("n", "=", 1)) if is_filter else (Order, ("n",))
    if not instance:
        return type("Own", (base,), own)(*arguments)
    part = base(*arguments)
    for method, found in own.items():
        function = found.__func__ if isinstance(found, staticmethod) else found.__get__(part)
        setattr(part, method, function)
    return part


@pytest.mark.parametrize("instance", [False, pytest.param(True, marks=pytest.mark.long)], ids=["class", "instance"])
@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("stack", STACKS)
async def test_custom_filters_and_orders_are_used_by_every_store(
    library: Any, stack: str, name: str, instance: bool
) -> None:
    store = STACKS[stack](library)
    for key, number in NUMBERS.items():
        await done(store.put(key, {"n": number}))
    part = part_of(name, instance=instance)
    query = Query(C).filter(part) if isinstance(part, Filter) else Query(C).order(part)
    assert [value["n"] for value in await read(store.query(query))] == PARTS[name][1]
    query.limit, query.offset = 1, 1
    assert [value["n"] for value in await read(store.query(query))] == PARTS[name][1][1:2]


async def test_custom_filters_and_orders_are_used_with_a_proxy() -> None:
    async with clusters.proxy() as proxy, connect(proxy.url) as store:
        await store.batch_write([Write(key, {"n": number}) for key, number in NUMBERS.items()])
        for name, (_, expected) in PARTS.items():
            for instance in (False, True):
                part = part_of(name, instance=instance)
                query = Query(C).filter(part) if isinstance(part, Filter) else Query(C).order(part)
                assert [value["n"] async for value in store.query(query)] == expected, name


@pytest.mark.parametrize("name", PARTS)
def test_custom_filters_and_orders_are_used_over_bare_values(name: str) -> None:
    part = part_of(name, instance=False)
    objects = [{"n": number} for number in NUMBERS.values()]
    if isinstance(part, Filter):
        found = [list(Filter.filter(part, objects)), list(Query(C).filter(part)(objects))]
    else:
        found = [Order.sorted(objects, [part]), list(Query(C).order(part)(objects))]
        found.append(sorted(objects, key=functools.cmp_to_key(Order.multiple_order_comparison([part]))))
    assert [[obj["n"] for obj in objects] for objects in found] == [PARTS[name][1]] * len(found)


@pytest.mark.parametrize("own", both_names("multipleOrderComparison"))
def test_sorting_uses_a_custom_comparison(own: str) -> None:
    comparison = classmethod(lambda cls, orders: lambda a, b: b - a)
    assert type("Own", (Order,), {own: comparison}).sorted([1, 3, 2], [Order("n")]) == [3, 2, 1]


# How a collection routes a key.


@pytest.mark.parametrize("own", both_names("shardDatastore"))
async def test_a_store_pinned_by_shard_datastore_gets_every_call(library: Any, own: str) -> None:
    pinned = type("Pinned", (library.ShardedDatastore,), {own: lambda self, key: self.datastore(-1)})
    store = pinned([library.DictDatastore() for _ in range(3)], names=["a", "b", "c"])
    await done(store.batch_write([Write(key, number) for key, number in NUMBERS.items()]))
    assert [len(store.datastore(index)) for index in range(3)] == [0, 0, 4]
    assert await read(store.query(Query(C))) == [1, 2, 3, 4]


async def test_a_key_pinned_by_shard_is_found_by_queries_despite_the_slot_map(library: Any) -> None:
    slots = SlotMap(["a", "b", "c"], shard_by="collection")
    other = next(index for index in range(3) if index != slots(A))
    store = type("Pinned", (library.ShardedDatastore,), {"shard": lambda self, key: other - 3})(
        [library.DictDatastore() for _ in range(3)], slots
    )
    await done(store.put(A, 1))
    assert await done(store.shard_datastore(A).get(A)) == 1
    assert await read(store.query(Query(C))) == [1]


@pytest.mark.parametrize(
    ("answer", "error"), [(3, "numbered from 0"), (-4, "numbered from 0"), ("1", "int"), (True, "int")]
)
async def test_an_invalid_shard_is_refused(library: Any, answer: Any, error: str) -> None:
    store = type("Own", (library.ShardedDatastore,), {"shard": lambda self, key: answer})([library.DictDatastore()] * 3)
    with pytest.raises((ValueError, TypeError), match=error):
        await done(store.put(A, 1))
    (outcome,) = await done(store.batch_get([A]))
    assert error in str(outcome.error)


async def test_values_of_a_custom_generator_are_sorted_and_cut(library: Any) -> None:
    class Own(library.ShardedDatastore):
        def shard_query_generator(self, query: Query) -> Any:
            return super().shard_query_generator(query)

    store = Own([library.DictDatastore() for _ in range(3)])
    await done(store.batch_write([Write(key, {"n": number}) for key, number in NUMBERS.items()]))
    found = await read(store.query(Query(C, offset=1, limit=2).filter("n", ">", 1).order("-n")))
    assert found == [{"n": 3}, {"n": 2}]
    assert Own.ordered_queries is False


async def test_a_directory_returns_the_values_of_its_generator(library: Any) -> None:
    values = lambda self, key: iter([{"n": 2}, {"n": 1}])
    cls = type("Own", (library.DirectoryDatastore,), {"directory_values_generator": values})
    store = cls(library.DictDatastore())
    assert await read(store.query(Query(C).order("n"))) == [{"n": 1}, {"n": 2}]
    with pytest.raises(NotImplementedError, match="directory_values_generator"):
        store.query(Query(C, start_after=Position(b"", A)))


# Custom keys.


TRANSFORMS: dict[str, tuple[str, Callable[..., Any]]] = {
    "namespace, below another": ("NamespaceDatastore", lambda self, key: Key("/tenant").child("x").child(key)),
    "namespace, above": ("NamespaceDatastore", lambda self, key: Key("/n/v2").child(key)),
    "lowercase, without accents": ("LowercaseKeyDatastore", lambda cls, key: Key(str(key).lower().replace("é", "e"))),
    "lowercase, below": ("LowercaseKeyDatastore", lambda cls, key: Key("/low").child(str(key).lower())),
}


@pytest.mark.parametrize("own", [0, 1])
@pytest.mark.parametrize("transform", TRANSFORMS)
async def test_entries_under_custom_keys_are_found_by_queries(library: Any, transform: str, own: int) -> None:
    cls, function = TRANSFORMS[transform]
    name = {"NamespaceDatastore": "namespaceKey", "LowercaseKeyDatastore": "lowercaseKey"}[cls]
    base = getattr(library, cls)
    form = classmethod(function) if cls == "LowercaseKeyDatastore" else function
    sub = type("Own", (base,), {both_names(name)[own]: form})
    child = library.DictDatastore()
    store = sub(child) if cls == "LowercaseKeyDatastore" else sub("/n", child)
    await done(store.batch_write([Write(A, 1), Write(B, 2)]))
    await done(child.put(Key("/other/x"), 3))
    assert await done(store.batch_get([A, B])) == [ReadResult(1), ReadResult(2)]
    found = await entries(store.query(Query(C, limit=2)))
    assert [value for _, value in found] == [1, 2]
    if "below" not in transform or cls == "NamespaceDatastore":
        assert [key for key, _ in found] == [A, B]
    assert await read(store.query(Query(C).filter("__key__", ">=", found[1].key))) == [2]
    assert await read(store.query(Query(C, start_after=Position(b"", found[0].key)))) == [2]


async def test_a_transform_may_be_defined_by_a_class(library: Any) -> None:
    class Reversed(library.KeyTransformDatastore):
        def keytransform(self, key: Key) -> Key:
            return key.reverse

    store = Reversed(library.DictDatastore())
    await done(store.put(A, 1))
    assert await done(store.child_datastore.get(Key("/a/c"))) == 1
    with pytest.raises(NotImplementedError, match="prefix_preserving"):
        store.query(Query(C))


# Keys and cursors.


@pytest.mark.parametrize("own", both_names("isAncestorOf"))
def test_a_key_uses_its_overridden_methods_for_ancestry(own: str) -> None:
    odd = type("Odd", (Key,), {own: lambda self, other: True})
    assert A.isDescendantOf(odd("/x"))
    assert A.is_descendant_of(odd("/x"))


@pytest.mark.parametrize("own", both_names("removeDuplicateSlashes"))
def test_a_key_subclass_may_override_normalization(own: str) -> None:
    upper = classmethod(lambda cls, path: Key.remove_duplicate_slashes(path).upper())
    assert str(type("Upper", (Key,), {own: upper})("/a")) == "/A"


@pytest.mark.parametrize("reading", ["for", "next", "entries", "batches"])
async def test_all_reading_of_a_cursor_goes_through_its_own_next(library: Any, reading: str) -> None:
    class Doubled(core.Cursor):
        def next(self) -> Any:
            return 2 * super().__next__()

    class AsyncDoubled(aio.Cursor):
        async def next(self) -> Any:
            return 2 * await super().__anext__()

    cursor = {core: Doubled, aio: AsyncDoubled}[library](Query(C), [1, 2])
    if reading == "for":
        assert await read(cursor) == [2, 4]
    elif reading == "next":
        assert await done(cursor.next()) == 2
        assert await read(cursor) == [4]
    elif reading == "entries":
        assert [tuple(entry) for entry in await entries(cursor)] == [(None, 2), (None, 4)]
    else:
        assert [batch.values for batch in await read(cursor.batches())] == [[2], [4]]
    assert cursor.returned == 2


async def test_values_of_a_custom_next_keep_their_keys(library: Any) -> None:
    class Doubled(core.Cursor):
        def next(self) -> Any:
            return 2 * super().next()

    class AsyncDoubled(aio.Cursor):
        async def next(self) -> Any:
            return 2 * await super().next()

    cls = {core: Doubled, aio: AsyncDoubled}[library]
    cursor = cls.applied(Query(C), [core.query.Entry(A, 1), core.query.Entry(B, 2)])
    assert [tuple(entry) for entry in await entries(cursor)] == [(A, 2), (B, 4)]


# Data attributes.


async def test_a_custom_sentinel_marks_links(library: Any) -> None:
    store = type("Own", (library.SymlinkDatastore,), {"sentinel": "see"})(library.DictDatastore())
    await done(store.put(A, 1))
    await done(store.link(A, B))
    assert await done(store.child_datastore.get(B)) == "/c/a/see"
    assert await done(store.get(B)) == 1
    assert await read(store.query(Query(C))) == [1, 1]


@pytest.mark.parametrize("instance", [False, True])
async def test_a_custom_serializer_is_used(library: Any, instance: bool) -> None:
    store = type("Own", (library.SerializerShimDatastore,), {} if instance else {"serializer": prettyjson})(
        library.DictDatastore()
    )
    if instance:
        store.serializer = prettyjson
    await done(store.put(A, {"a": 1}))
    assert await done(store.child_datastore.get(A)) == '{\n "a": 1\n}'


async def test_custom_operators_are_used(library: Any) -> None:
    class In(Filter):
        conditional_operators = [*Filter.conditional_operators, "in"]

        def valuePasses(self, value: Any) -> bool:  # noqa: N802 - the documented name
            return value in self.value if self.op == "in" else super().valuePasses(value)

    store = library.DictDatastore()
    for key, number in NUMBERS.items():
        await done(store.put(key, {"n": number}))
    query = Query(C).filter(In("n", "in", (1, 4))).filter(In("n", ">", 1))
    assert await read(store.query(query)) == [{"n": 4}]


async def test_a_cache_shim_uses_its_current_stores(library: Any) -> None:
    store = library.CacheShimDatastore(library.DictDatastore(), cache=library.DictDatastore())
    store.child_datastore, store.cache_datastore = library.DictDatastore(), library.DictDatastore()
    await done(store.put(A, 1))
    assert (await done(store.child_datastore.get(A)), await done(store.cache_datastore.get(A))) == (1, 1)


# Backends with shortcuts.


async def test_no_shortcut_of_a_backend_bypasses_an_override(tmp_path: Path) -> None:
    class Noting(LMDBDatastore):
        def put(self, key: Key, value: Any) -> None:
            super().put(key, None if value is None else b"noted " + value)

        def get(self, key: Key) -> Any:
            return super().get(key) if key != B else b"always"

    async with lift(Noting(tmp_path)) as store:
        await store.put(A, b"a")
        assert await store.get(A) == b"noted a"
        assert await store.batch_write([Write(A, b"b")]) == [WriteResult()]
        assert await store.batch_get([A, B]) == [ReadResult(b"noted b"), ReadResult(b"always")]
        assert await store.contains(B)


# The verbs and the waist of cooperating classes


def called_through(base: Any, names: Sequence[str], called: list[str]) -> type:
    """A shim that records the calls of some methods, and passes them to `super()`."""

    def noting(name: str) -> Any:
        def member(self: Any, *arguments: Any) -> Any:
            called.append(name)
            return getattr(super(kind, self), name)(*arguments)

        return member

    kind = type("_".join(names), (base,), {name: noting(name) for name in names})
    return kind


@pytest.mark.parametrize(
    "below", [(), ("get",), ("put", "delete"), ("put",), ("query",), ("contains",), ("batch_write",)]
)
@pytest.mark.parametrize(
    "above", ["read write scan", "contains", "batch_get", "batch_write", "delete", "contains batch_get get"]
)
async def test_cooperating_shims_all_see_the_calls(library: Any, above: str, below: Sequence[str]) -> None:
    called: list[str] = []
    beside = [called_through(library.ShimDatastore, names, called) for names in (above.split(), below) if names]
    for bases in (beside, beside[::-1]):
        store = type("Both", tuple(bases), {})(library.DictDatastore())
        for asked in (store, library.ShimDatastore(store)):
            for verb, waist, arguments in (
                ("get", "read", (A,)),
                ("put", "write", (A, 1)),
                ("delete", "write", (A,)),
                ("query", "scan", (Query(C),)),
            ):
                called.clear()
                answer = getattr(asked, verb)(*arguments)
                await (read(answer) if verb == "query" else done(answer))
                assert {verb, waist} & {*above.split(), *below} <= set(called), verb


@pytest.mark.parametrize("name", ["batch_get", "batch_write"])
async def test_the_default_batches_of_a_store_make_its_single_calls(library: Any, name: str) -> None:
    class Own(library.Datastore):
        def __init__(self) -> None:
            self.below = library.DictDatastore()

        def get(self, key: Key) -> Any:
            return self.below.get(key)

        def put(self, key: Key, value: Any) -> Any:
            return self.below.put(key, value)

        def delete(self, key: Key) -> Any:
            return self.below.delete(key)

    store = called_through(Own, ["batch_get", "batch_write"], called := [])()
    items = [A, B] if name == "batch_get" else [(A, 1), (B, None)]
    for asked in (store, library.ShimDatastore(store)):
        called.clear()
        assert [result.error for result in await done(getattr(asked, name)(items))] == [None, None]
        assert called == [name]


async def test_a_method_assigned_to_a_store_is_used_by_the_stores_above_it(library: Any) -> None:
    store = library.DictDatastore()
    called: list[str] = []

    def noting(name: str, found: Any) -> Any:
        return lambda *arguments: (called.append(name), found(*arguments))[1]

    for name in ("get", "put", "delete", "query"):
        setattr(store, name, noting(name, getattr(store, name)))
    above = library.ShimDatastore(store)
    await done(above.put(A, 1))
    assert await done(above.get(A)) == 1
    assert await done(above.contains(A))
    assert [result.value for result in await done(above.batch_get([A, B]))] == [1, None]
    assert await read(above.query(Query(C))) == [1]
    await done(above.batch_write([(B, 2), (A, None)]))
    assert called == ["put", "get", "get", "get", "get", "query", "put", "delete"]


@pytest.mark.parametrize("name", ["read", "write", "scan"])
def test_an_attribute_that_cannot_be_part_of_the_waist_is_refused(library: Any, name: str) -> None:
    def other(self: Any, path: str, mode: str, more: int) -> None:
        """A user's method."""

    beside = type("Beside", (), {name: other})
    for make in (
        lambda: type("Own", (library.Datastore,), {name: other}),
        lambda: type("Own", (library.ShimDatastore,), {name: 3}),
        lambda: type("Own", (beside, library.DictDatastore), {}),
        lambda: setattr(library.DictDatastore(), name, True),
    ):
        with pytest.raises(TypeError, match=rf"\.{name} must be a method {name}\(.*use another name"):
            make()


async def test_a_method_that_wraps_an_inherited_one_counts_as_custom(library: Any) -> None:
    called: list[Key] = []

    def noted(method: Any) -> Any:
        @functools.wraps(method)
        def noting(self: Any, key: Key) -> Any:
            called.append(key)
            return method(self, key)

        return noting

    store = type("Own", (library.DictDatastore,), {"get": noted(library.DictDatastore.get)})()
    await done(library.ShimDatastore(store).get(A))
    assert called == [A]


async def test_a_mock_is_used_as_a_method(library: Any) -> None:
    store = library.DictDatastore()
    store.get = (AsyncMock if library is aio else Mock)(return_value=1)
    assert await done(library.ShimDatastore(store).get(A)) == 1
    store.get.assert_called_once_with(A)


@pytest.mark.parametrize("exact", [False, True])
async def test_a_custom_query_may_change_the_query_that_it_gets(library: Any, exact: bool) -> None:
    class Changing(library.ShimDatastore):
        ordered_queries = exact

        def query(self, query: Query) -> Any:
            query.filters.append(Filter("n", "<", 9))
            query.order("-n").filter("n", ">", 0)
            query.limit = 5
            return self.child_datastore.query(query)

    child = library.DictDatastore()
    for n in range(10):
        await done(child.put(C.child(str(n)), {"n": n, "other": n}))
    asked = Query(C, limit=2, fields=["n"])
    store = library.ShimDatastore(library.ShardedDatastore([Changing(child)]))
    found = await read(store.query(asked))
    # Without `ordered_queries` only what is in the scope counts, and the library sorts and limits it.
    assert found == ([{"n": 8}, {"n": 7}] if exact else [{"n": 4}, {"n": 5}])
    assert asked == Query(C, limit=2, fields=["n"])
