"""Foreign stores below ours: whatever their queries return, nothing is lost and the results are exact."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from datastore import aio, core
from datastore.aio.lift import lift
from datastore.filesystem import FileSystemDatastore
from datastore.model import errors
from datastore.model.entries import Entry, Position
from datastore.model.fields import Filter
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.sync.serialize import NonSerializer
from datastore.testing import model
from tests.support.colours import Tasks
from tests.support.spies import spy

ROOT, SCOPE = Key("/"), Key("/c")
CONTENTS = {Key(f"/c/{number}"): {"n": number * 7 % 10, "s": f"text {number}"} for number in range(10)}
#: The values that some of the stores drop.
DROPPED = Key("/c/2")
KEPT = {key: value for key, value in CONTENTS.items() if key != DROPPED}
QUERIES = [
    Query(SCOPE),
    Query(SCOPE, recursive=True),
    Query(SCOPE, limit=4),
    Query(SCOPE, limit=3, offset=3),
    Query(SCOPE, offset=20),
    Query(SCOPE, limit=0),
    Query(SCOPE, limit=4).filter("n", ">", 2).filter("s", "!=", "text 3"),
    Query(SCOPE).order("-n"),
    Query(SCOPE, limit=3, offset=1).order("n").filter("n", "<", 7),
]


def as_list(_: Any, query: Query, entries: list[Entry]) -> Any:
    return [value for _, value in entries]


def as_generator(_: Any, query: Query, entries: list[Entry]) -> Any:
    return (value for _, value in entries)


def as_generator_of_the_colour(library: Any, query: Query, entries: list[Entry]) -> Any:
    if library is core:
        return as_generator(library, query, entries)

    async def values() -> Any:
        for _, value in entries:
            yield value

    return values()


def as_unsorted_cursor(library: Any, query: Query, entries: list[Entry]) -> Any:
    return library.Cursor.from_entries(query, entries[::-1])


def foreign(answer: Callable[..., Any], library: Any) -> Any:
    """A store that answers a query with only its scope, in a custom form."""

    class Foreign(library.DictDatastore):
        ordered_queries = False

        def query(self, query: Query) -> Any:
            held = [Entry(*pair) for entries in self._items.values() for pair in entries.items()]
            return answer(library, query, sorted(entry for entry in held if query.covers(entry.key)))

    return Foreign()


def dropping(library: Any) -> Any:
    """A shim in the documented style, over a dict: it drops some values of every answer."""

    class Dropping(library.ShimDatastore):
        def query(self, query: Query) -> Any:
            cursor = self.child_datastore.query(query)
            cursor._iterable = self._kept(cursor._iterable)
            return cursor

        if library is core:

            def _kept(self, values: Any) -> Any:
                return (value for value in values if "text 2" not in str(value))
        else:

            async def _kept(self, values: Any) -> Any:
                async for value in values:
                    if "text 2" not in str(value):
                        yield value

    return Dropping(library.DictDatastore())


FOREIGN: dict[str, tuple[Callable[[Any], Any], dict[Key, Any]]] = {
    "a list": (partial(foreign, as_list), CONTENTS),
    "a generator": (partial(foreign, as_generator), CONTENTS),
    "a generator of its colour": (partial(foreign, as_generator_of_the_colour), CONTENTS),
    "an unsorted cursor": (partial(foreign, as_unsorted_cursor), CONTENTS),
    "a shim that drops values": (dropping, KEPT),
}


def below_p(key: Key) -> Key:
    return Key("/p").child(key)


def out_of_p(key: Key) -> Key | None:
    text = str(key)
    return Key(text.removeprefix("/p")) if text.startswith("/p/") else None


OURS: dict[str, Callable[[Any, Any], Any]] = {
    "shim": lambda library, child: library.ShimDatastore(child),
    "logging": lambda library, child: library.LoggingDatastore(child),
    "cache": lambda library, child: library.CacheShimDatastore(child, cache=library.DictDatastore()),
    "namespace": lambda library, child: library.NamespaceDatastore("/n", child),
    "namespace of the root": lambda library, child: library.NamespaceDatastore("/", child),
    "lowercase": lambda library, child: library.LowercaseKeyDatastore(child),
    "identity": lambda library, child: library.KeyTransformDatastore(child),
    "transform": lambda library, child: library.KeyTransformDatastore(
        child, below_p, prefix_preserving=True, inverse=out_of_p
    ),
    "transform without inverse": lambda library, child: library.KeyTransformDatastore(
        child, below_p, prefix_preserving=True
    ),
    "symlink": lambda library, child: library.SymlinkDatastore(child),
    "json": lambda library, child: library.SerializerShimDatastore(child),
    "no serializer": lambda library, child: library.SerializerShimDatastore(child, NonSerializer),
    "tiered": lambda library, child: library.TieredDatastore([library.DictDatastore(), child]),
    "sharded": lambda library, child: library.ShardedDatastore([child]),
    "one of two shards": lambda library, child: library.ShardedDatastore(
        [library.DictDatastore(), child], shardingfn=lambda _: 1
    ),
    "shards of shards": lambda library, child: library.ShardedDatastore([library.ShardedDatastore([child])]),
}


async def check(colour: Any, library: Any, store: Any, query: Query, held: dict[Key, Any]) -> None:
    """A store answers a query like a dict that holds these; keys are right if they are known."""
    cursor = store.query(query)
    assert isinstance(cursor, library.Cursor)
    assert cursor.query is query
    entries = await colour.read(cursor)
    expected = model.answer(query, held)
    assert [value for _, value in entries] == [value for _, value in expected.entries], query
    assert (cursor.returned, cursor.skipped) == (len(entries), expected.skipped)
    for key, value in entries:
        assert key is None or CONTENTS[out_of_p(key) or key] == value


@pytest.mark.parametrize("answers_with", FOREIGN)
@pytest.mark.parametrize("name", OURS)
async def test_the_answer_over_a_foreign_store_is_exact(name: str, answers_with: str, colour: Any, library: Any):
    make, held = FOREIGN[answers_with]
    store = OURS[name](library, make(library))
    for key, value in CONTENTS.items():
        await colour.call(store.put, key, value)
    for query in QUERIES:
        await check(colour, library, store, query, held)


@pytest.mark.parametrize("answers_with", FOREIGN)
async def test_a_lifted_foreign_store_answers_exactly(answers_with: str):
    make, held = FOREIGN[answers_with]
    lifted = lift(make(core))
    for key, value in CONTENTS.items():
        await lifted.put(key, value)
    for query in QUERIES:
        await check(Tasks(), aio, lifted, query, held)


@pytest.mark.parametrize("answers_with", FOREIGN)
async def test_recursive_queries_of_directories_lose_nothing(answers_with: str, colour: Any, library: Any):
    make, held = FOREIGN[answers_with]
    child = make(library)
    for key, value in CONTENTS.items():
        await colour.call(child.put, key, value)
    for query in QUERIES:
        below = query.copy()
        below.recursive = True
        await check(colour, library, library.DirectoryDatastore(child), below, held)


@pytest.mark.parametrize("name", [name for name in OURS if "transform" not in name and "json" not in name])
async def test_an_entry_without_a_key_stays_after_its_predecessor(name: str, colour: Any, library: Any):
    prefix = "/n" if name == "namespace" else ""

    def some_without_keys(library: Any, query: Query, entries: list[Entry]) -> Any:
        texts = ["", "/c/b", "", "", "/c/a", ""]
        found = [Entry(Key(prefix + text) if text else None, place) for place, text in enumerate(texts)]
        return library.Cursor.from_entries(query, found)

    store = OURS[name](library, foreign(some_without_keys, library))
    found = await colour.read(store.query(Query(SCOPE)))
    a, b = Key("/c/a"), Key("/c/b")
    assert found == [(None, 0), (a, 4), (None, 5), (b, 1), (None, 2), (None, 3)]


@pytest.mark.parametrize("answers_with", FOREIGN)
async def test_the_query_generator_reads_shard_after_shard_of_any_kind(answers_with: str, colour: Any, library: Any):
    make, held = FOREIGN[answers_with]
    first, second = make(library), library.DictDatastore()
    for key, value in CONTENTS.items():
        await colour.call(first.put, key, value)
    await colour.call(second.put, Key("/c/0"), "of the second")
    generator = library.ShardedDatastore([first, second]).shard_query_generator(Query(SCOPE))
    values = list(generator) if library is core else [value async for value in generator]
    assert values[-1] == "of the second"
    assert sorted(value["n"] for value in values[:-1]) == sorted(value["n"] for value in held.values())


# Trust


@pytest.mark.parametrize(
    ("library", "base"),
    [(core, FileSystemDatastore)]
    + [
        (library, getattr(library, f"{name}Datastore"))
        for library in (core, aio)
        for name in ("Dict", "Null", "LRUCache")
    ],
)
async def test_a_custom_query_is_not_trusted(library: Any, base: Any, tmp_path: Path):
    arguments = {"LRUCacheDatastore": (100,), "FileSystemDatastore": (tmp_path,)}.get(base.__name__, ())

    class Backwards(base):
        def query(self, query: Query) -> Any:
            return ["c", "b", "a"]

    class Declared(Backwards):
        ordered_queries = True

    class Further(Declared):
        """Changes nothing."""

    class Again(Declared):
        def query(self, query: Query) -> Any:
            return super().query(query)

    trusted = [kind.ordered_queries for kind in (Backwards, Declared, Further, Again)]
    assert trusted == [False, True, True, False]
    cursor = library.ShardedDatastore([Backwards(*arguments)]).query(Query(SCOPE, limit=1, offset=1))
    assert (list(cursor) if library is core else [value async for value in cursor]) == ["b"]


async def test_shards_push_filters_and_limit_down_through_a_namespace(colour: Any, library: Any):
    child = spy(library)
    store = library.ShardedDatastore([library.NamespaceDatastore("/n", child)])
    for key, value in CONTENTS.items():
        await colour.call(store.put, key, value)
    query = Query(SCOPE, limit=2, offset=1).filter("n", ">", 2).filter("__key__", "<", Key("/c/7")).order("-n")
    await check(colour, library, store, query, CONTENTS)
    (asked,) = child.asked
    assert (asked.key, asked.limit, asked.offset) == (Key("/n/c"), 3, 0)
    assert asked.filters == [Filter("n", ">", 2), Filter("__key__", "<", Key("/n/c/7"))]
    assert asked.orders == query.orders


# Keys of the child's own


FOLDING: dict[str, Callable[[Any, Path], Any]] = {
    "lowercase": lambda library, _: library.LowercaseKeyDatastore(library.DictDatastore()),
    "transform without inverse": lambda library, _: library.KeyTransformDatastore(
        library.DictDatastore(), below_p, prefix_preserving=True
    ),
    "transform": lambda library, _: library.KeyTransformDatastore(
        library.DictDatastore(), below_p, prefix_preserving=True, inverse=out_of_p
    ),
    "files without case": lambda library, path: (
        FileSystemDatastore(path, case_sensitive=False)
        if library is core
        else lift(FileSystemDatastore(path, case_sensitive=False))
    ),
    "a shim over lowercase": lambda library, _: library.LoggingDatastore(
        library.ShimDatastore(library.LowercaseKeyDatastore(library.DictDatastore()))
    ),
    "tiers over lowercase": lambda library, _: library.TieredDatastore(
        [library.DictDatastore(), library.LowercaseKeyDatastore(library.DictDatastore())]
    ),
}


@pytest.fixture(params=FOLDING)
async def below_users(request: pytest.FixtureRequest, colour: Any, library: Any, tmp_path: Path) -> Any:
    """A namespace with capitals, over a store that keeps entries under other keys, among foreign entries."""
    child = FOLDING[request.param](library, tmp_path)
    store = library.NamespaceDatastore("Users", child)
    for text in ("/", "/ann", "/g/bob", "/g/eve", "/g:x"):
        await colour.call(store.put, Key(text), text)
    for text in ("/Users:x", "/Usersx", "/x"):
        await colour.call(child.put, Key(text), "foreign")
    return store


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query(ROOT), ["/", "/ann"]),
        (Query(ROOT, recursive=True), ["/", "/ann", "/g/bob", "/g/eve", "/g:x"]),
        (Query(ROOT, limit=1, offset=1), ["/ann"]),
        (Query(Key("/g")), ["/g/bob", "/g/eve", "/g:x"]),
        (Query(Key("/g"), limit=1, offset=1), ["/g/eve"]),
        (Query(Key("/g")).filter("__key__", "=", Key("/g/bob")), ["/g/bob"]),
        (Query(Key("/g")).filter("__key__", ">", Key("/g/bob")), ["/g/eve", "/g:x"]),
        (Query(ROOT, recursive=True).filter("__key__", "<=", Key("/g/bob")), ["/", "/ann", "/g/bob"]),
        (Query(Key("/g")).order("-__key__"), ["/g:x", "/g/eve", "/g/bob"]),
        (Query(Key("/g"), start_after=Position(b"", Key("/g/bob"))), ["/g/eve", "/g:x"]),
        (Query(ROOT, start_after=Position(b"", ROOT)), ["/ann"]),
        (Query(ROOT, recursive=True, start_after=Position(b"", Key("/ann"))), ["/g/bob", "/g/eve", "/g:x"]),
    ],
    ids=str,
)
async def test_a_namespace_finds_its_entries_over_a_store_that_renames_them(
    query: Query, expected: list[str], below_users: Any, colour: Any
):
    found = await colour.read(below_users.query(query))
    assert found == [(Key(text), text) for text in expected]


async def test_keys_too_long_for_the_child_may_be_compared_with(colour: Any, library: Any):
    store = library.NamespaceDatastore("/abcdefgh", library.DictDatastore())
    await colour.call(store.put, Key("/x"), 1)
    low, high = Key("/" + "a" * 1020), Key("/" + "z" * 1020)
    for query, expected in [
        (Query(ROOT).filter("__key__", "<", high), [1]),
        (Query(ROOT).filter("__key__", ">", high), []),
        (Query(ROOT).filter("__key__", "!=", high), [1]),
        (Query(ROOT, start_after=Position(b"", low)), [1]),
        (Query(ROOT, start_after=Position(b"", high)), []),
    ]:
        assert [value for _, value in await colour.read(store.query(query))] == expected


@pytest.mark.parametrize("after", ["/a/B", "/a/b", "/A", "/a/a", "/b"])
async def test_a_position_in_any_case_is_where_the_filter_on_it_is(after: str, colour: Any, library: Any):
    store = library.LowercaseKeyDatastore(library.DictDatastore())
    for name in "ABC":
        await colour.call(store.put, Key("/a").child(name), name)
    by_place = await colour.read(store.query(Query(Key("/a"), start_after=Position(b"", Key(after)))))
    by_filter = await colour.read(store.query(Query(Key("/a")).filter("__key__", ">", Key(after))))
    assert by_place == by_filter
    assert by_place == [(Key("/a").child(name.lower()), name) for name in "ABC" if f"/a/{name.lower()}" > after]


# Stores without queries


class Service:
    """Stores that keep nothing."""

    def get(self, key: str) -> None:
        raise KeyError(key)

    delete = get

    def put(self, key: str, value: Any) -> None:
        raise KeyError(key)


@pytest.mark.parametrize("name", [*OURS, "directory", "lifted"])
def test_a_query_that_the_store_below_does_not_support_is_refused_at_the_call(name: str, library: Any):
    if name == "directory":
        store = library.DirectoryDatastore(library.InterfaceMappingDatastore(Service()))
    elif name == "lifted":
        store = lift(core.InterfaceMappingDatastore(Service()))
    else:
        store = OURS[name](library, library.InterfaceMappingDatastore(Service()))
    for query in QUERIES:
        recursive = query.copy()
        recursive.recursive = True
        recursive.limit = 1
        with pytest.raises(errors.QueryNotSupportedError, match="its service cannot list its keys"):
            store.query(recursive)
