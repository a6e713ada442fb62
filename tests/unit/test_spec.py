"""Compositions as data: what a table describes, the errors of invalid ones, and that nothing is left half open."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import datastore
from datastore import aio, spec
from datastore.filesystem import FileConfig
from datastore.lmdb import LMDBConfig, LMDBDatastore
from datastore.model.config import Config
from datastore.model.errors import (
    ConfigError,
    DatastoreError,
    InvalidError,
    QueryNotSupportedError,
    StoreFormatError,
    StoreLockedError,
)
from datastore.model.key import Key
from datastore.model.options import COUNT, DURATION, KEY, SIZE
from datastore.model.query import Query
from datastore.redis import RedisConfig
from datastore.spec.checks import MAX_DEPTH
from datastore.spec.collections import LRUConfig, MemoryConfig, ShardedConfig, TieredConfig
from datastore.spec.shims import KeyTransformConfig, NamespaceConfig, SerializerConfig
from tests.support.stacks import placed, trees

DOCUMENT = """
[store.hot]
kind = "lru"
max_entries = 1000

[store.files]
kind = "namespace"
namespace = "/archive"
child = { kind = "serializer", child = "file:archive" }

[store.main]
kind = "sharded"
by = "collection"
children = { a = "memory:", b = "files" }

[store.served]
kind = "tiered"
children = ["hot", "main"]

[server]
listen = "127.0.0.1:7420"
"""


def parsed(text: str, store: str | None = "main", **options: Any) -> Config:
    return spec.parse_tree(tomllib.loads(text), store, source="cluster.toml", **options)


def exclaimed(key: Key) -> Key:
    """A transform of keys, found by its import path."""
    return Key(f"{key}!")


async def closed(store: Any) -> None:
    await store.aclose() if isinstance(store, aio.Datastore) else store.close()


# Descriptions.


def test_a_document_is_a_tree_of_typed_configs(tmp_path: Path):
    tree = parsed(DOCUMENT, "served", base=tmp_path)
    files = FileConfig(directory=str(tmp_path / "archive"))
    assert tree == TieredConfig(
        children=(
            LRUConfig(max_entries=1000),
            ShardedConfig(
                by="collection",
                children={
                    "a": MemoryConfig(),
                    "b": NamespaceConfig(namespace=Key("/archive"), child=SerializerConfig(child=files)),
                },
            ),
        )
    )
    assert not (tmp_path / "archive").exists()


@pytest.mark.parametrize("colour", [datastore, aio], ids=["threads", "tasks"])
async def test_a_document_is_opened_for_either_colour(colour: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    store = colour.open(tomllib.loads(DOCUMENT), "served")
    assert type(store) is colour.TieredDatastore
    assert type(store.datastore(1)) is colour.ShardedDatastore
    for number in range(10):
        put = store.put(Key(f"/a/{number}"), {"number": number})
        await put if colour is aio else None
    read = store.get(Key("/a/7"))
    assert (await read if colour is aio else read) == {"number": 7}
    await closed(store)


def test_one_table_and_one_config_are_opened_too():
    for described in ({"kind": "lru", "max_entries": 2}, LRUConfig(max_entries=2)):
        with datastore.open(described) as store:
            assert isinstance(store, datastore.LRUCacheDatastore)
            assert store.size == 2


@pytest.mark.parametrize(
    "tree",
    [
        LRUConfig(max_entries=1000),
        TieredConfig(children=(LRUConfig(max_entries=1), LRUConfig(max_entries=1))),
        KeyTransformConfig(transform=f"{__name__}:exclaimed", child=MemoryConfig()),
        SerializerConfig(serializer=("datastore.serialize:map_serializer", "json"), child=MemoryConfig()),
        ShardedConfig(children={"a.b": MemoryConfig(), "c": MemoryConfig()}),
        LMDBConfig(directory='/a "b"\\c\x7f\u00e9', max_size=3 * 1024**2 + 512),
        RedisConfig(url="rediss://me:pa%2Fss@h:1/0"),
    ],
    ids=lambda tree: tree.kind,
)
def test_a_tree_is_written_in_toml_and_read_back_equal(tree: Config):
    text = spec.dump_tree(tree, "it")
    assert spec.parse_tree(tomllib.loads(text), "it") == tree


def test_named_stores_keep_their_names_and_a_shared_one_stays_one():
    text = DOCUMENT + '[store.both]\nkind = "sharded"\nchildren = { x = "upper", y = "lower" }\n'
    for name in ("upper", "lower"):
        text += f'[store.{name}]\nkind = "namespace"\nnamespace = "/{name}"\nchild = "main"\n'
    tree = parsed(text, "both")
    upper, lower = (child for _, child in tree.parts())
    assert upper.child is lower.child  # type: ignore[attr-defined]
    written = spec.dump_tree(tree)
    assert tomllib.loads(written)["store"].keys() == {
        "both",
        "upper",
        "lower",
        "main",
        "memory",
        "files",
        "serializer",
        "file",
    }
    assert parsed(written, "both") == tree
    with datastore.open(tree) as store:
        assert store.datastore(0).child_datastore is store.datastore(1).child_datastore  # type: ignore[attr-defined]


def test_stores_of_two_documents_with_one_name_are_written_under_two():
    one, other = (parsed(main("lru", f"max_entries = {size}")) for size in (1, 2))
    tree = TieredConfig(children=(one, other, MemoryConfig(), MemoryConfig()))
    written = spec.dump_tree(tree)
    assert set(tomllib.loads(written)["store"]) == {"main", "lru", "lru-2", "memory", "memory-2"}
    assert parsed(written) == tree


def test_a_directory_that_toml_cannot_write_is_refused():
    with pytest.raises(InvalidError, match="not valid UTF-8"):
        spec.dump_tree(spec.parse_url("lmdb:///a%FF"))


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        (SIZE, "256MiB", 256 * 1024**2),
        (SIZE, "1kB", 1000),
        (SIZE, "7B", 7),
        (SIZE, 7, 7),
        (DURATION, "30s", 30.0),
        (DURATION, "5m", 300.0),
        (DURATION, "1.5h", 5400.0),
        (DURATION, "250ms", 0.25),
        (DURATION, 2, 2.0),
        (COUNT, "12", 12),
        (KEY, "a/b", Key("/a/b")),
    ],
)
def test_sizes_and_durations_are_text(kind: Any, given: Any, value: Any):
    assert kind.read(given) == value
    assert kind.read(kind.dump(value)) == value


@pytest.mark.parametrize("kind", [SIZE, DURATION])
@pytest.mark.parametrize(
    "wrong", ["", "0s", "0B", "5", "-1s", "1 week", "1mB", "inf", "nans", True, 0, -1, None, [], "9" * 30]
)
def test_invalid_sizes_and_durations_are_refused(kind: Any, wrong: Any):
    if (kind, wrong) == (SIZE, "5"):
        assert SIZE.read("5") == 5
        return
    with pytest.raises(InvalidError, match=r"e\.g\. "):
        kind.read(wrong)


def test_all_durations_are_exact():
    for seconds in (0.001, 0.1, 1 / 3, 1e-7, 86400.0, 90.0, 1e20):
        assert DURATION.read(DURATION.dump(seconds)) == seconds


# Refusals.

MAIN = '[store.main]\nkind = "{}"\n{}\n'


def main(kind: str, *lines: str) -> str:
    return MAIN.format(kind, "\n".join(lines))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cluster.toml: store: expected a table for each store, each beginning with [store.NAME]"),
        ("store = 5", "cluster.toml: store: expected a table"),
        ("[store]\nmain = 5", "cluster.toml: store: expected a table"),
        (
            '[store.mian]\nkind = "memory"',
            "cluster.toml: there is no store 'main'; the stores are mian; did you mean mian?",
        ),
        ("[store.main]", "cluster.toml: store.main.kind: missing; expected one of cache, directory, file"),
        ("[store.main]\nkind = 5", "cluster.toml: store.main.kind: not a int; expected one of cache"),
        (main("tierd"), "cluster.toml: store.main.kind: unknown kind 'tierd'; known are cache,"),
        (main("tierd"), "did you mean tiered?"),
        (
            main("lru", "max_entires = 5"),
            "max_entires: unknown key; lru has kind, max_entries, max_bytes, max_age; did you mean max_entries?",
        ),
        (main("lru"), "cluster.toml: store.main.max_bytes: max_entries or max_bytes is missing, e.g. max_bytes ="),
        (main("lru", "max_entries = 0"), "store.main.max_entries: expected a whole number of at least 1, not 0"),
        (main("lru", 'max_entries = "many"'), "expected a whole number of at least 1, not 'many'"),
        (main("lru", "max_entries = true"), "expected a whole number of at least 1, not True"),
        (
            main("lmdb", 'directory = "d"', 'durability = "no"'),
            "store.main.durability: expected sync or async, not 'no'",
        ),
        (main("lmdb", 'directory = ""'), "store.main.directory: expected a directory, not ''"),
        (main("file", 'directory = "d"', "fsync = 1"), "store.main.fsync: expected true or false, not 1"),
        (main("namespace", 'child = "memory:"'), "store.main.namespace: missing; expected a key"),
        (
            main("namespace", 'namespace = "/a"'),
            "store.main.child: missing; expected a store: a name, a URL or a table",
        ),
        (
            main("namespace", 'namespace = "/a"', "child = 5"),
            "store.main.child: expected a store: a name, a URL or a table, not a int",
        ),
        (
            main("lowercase", 'child = "mian"'),
            "store.main.child: there is no store 'mian'; the stores are main; did you mean main?",
        ),
        (
            main("lowercase", 'child = "memory"'),
            "no store 'memory'; the stores are main; did you mean memory:?",
        ),
        (
            main("lowercase", 'child = "null"'),
            "no store 'null'; the stores are main; did you mean { kind = \"null\" }?",
        ),
        (main("LRU", "max_entries = 5"), "sharded, symlink, tiered; did you mean lru?"),
        (
            main("lowercase", 'child = "lmdb:d?Durability=async"'),
            "change_bytes, change_age, requests, request_age; did you mean durab",
        ),
        (main("lowercase", 'child = "lmbd:///d"'), "store.main.child: 'lmbd:///d': unknown scheme 'lmbd'"),
        (
            main("lowercase", 'child = "lru:"'),
            (
                "store.main.child: 'lru:': stores of the kind lru have no URL; describe them in a table:"
                ' { kind = "lru", ... }'
            ),
        ),
        (
            main("lowercase", 'child = { kind = "lru" }'),
            "cluster.toml: store.main.child.max_bytes: max_entries or max_bytes is missing",
        ),
        (main("lowercase", 'child = "main"'), "cluster.toml: store.main.child: main -> main is a cycle"),
        (
            main("lowercase", 'child = "b"', "[store.b]", 'kind = "tiered"', 'children = ["main"]'),
            "store.b.children[0]: main -> b -> main is a cycle",
        ),
        (
            main("tiered", "children = []"),
            "store.main.children: expected a list of stores, each a name, a URL or a table, not an empty list",
        ),
        (
            main("tiered", 'children = "memory:"'),
            "store.main.children: expected a list of stores, each a name, a URL or a table, not 'memory:'",
        ),
        (main("tiered", 'children = ["memory:", "nosuch"]'), "store.main.children[1]: there is no store 'nosuch'"),
        (
            main("tiered", 'children = ["b", "b"]', "[store.b]", 'kind = "memory"'),
            "store.main.children[1]: this is the same store as children[0], and must differ",
        ),
        (main("sharded", "children = {}"), "store.main.children: expected stores"),
        (
            main("tiered", 'children = ["memory:", { kind = "directory", child = "memory:" }]'),
            "store.main.children[1]: a store of the kind directory must be the outermost, not below one of",
        ),
        (main("sharded", 'children = { "a b" = "memory:" }'), "store.main.children: 'a b' is not a valid name"),
        (
            main("sharded", 'children = { a = "memory:" }', 'by = "value"'),
            "store.main.by: expected key or collection, not 'value'",
        ),
        (
            main("key-transform", 'child = "memory:"', 'transform = "json:nosuch"'),
            "store.main.transform: expected an import path",
        ),
        (main("key-transform", 'child = "memory:"', 'transform = "nosuch.at.all:x"'), "No module named 'nosuch'"),
        (main("key-transform", 'child = "memory:"', 'transform = "json:__name__"'), "it is not callable"),
        (
            main("key-transform", 'child = "memory:"', 'transform = "json"'),
            "expected an import path, e.g. \"package.module:name\", not 'json'",
        ),
        (
            main("serializer", 'child = "memory:"', 'serializer = "os"'),
            "store.main.serializer: expected the import path of a serializer",
        ),
        (
            main("serializer", 'child = "memory:"', "serializer = []"),
            "store.main.serializer: expected the import path of a serializer",
        ),
        (
            '[store.main]\nkind = "lowercase"\nchild = "a b"\n[store."a b"]\nkind = "memory"',
            "store.a b: 'a b' is not a valid name",
        ),
    ],
)
def test_an_error_names_its_place_and_what_is_valid(text: str, said: str):
    with pytest.raises(ConfigError) as refused:
        parsed(text)
    assert said in str(refused.value)
    assert str(refused.value).startswith("cluster.toml: ")


def test_the_place_in_a_table_without_a_document_is_its_path():
    with pytest.raises(ConfigError, match=r"^child\.children\[0\]\.kind: unknown kind 'x'"):
        datastore.open({"kind": "lowercase", "child": {"kind": "tiered", "children": [{"kind": "x"}]}})


def test_one_of_several_stores_must_be_named():
    with pytest.raises(ConfigError, match=r"store: say which store is meant: hot, files, main, served"):
        datastore.open(tomllib.loads(DOCUMENT))
    datastore.open(tomllib.loads('[store.a]\nkind = "memory"')).close()


@pytest.mark.parametrize("described", ["memory:", {"kind": "memory"}, MemoryConfig()])
def test_a_store_can_be_named_only_in_a_document(described: Any):
    with pytest.raises(ConfigError, match=r"store 'main' can be named only in a document, with a table \[store.NAME\]"):
        datastore.open(described, "main")


@pytest.mark.parametrize("child", [Path("/tmp"), "memory:", 5, None])
def test_a_config_created_in_python_is_checked_too(child: Any):
    with pytest.raises(InvalidError, match=r"child is a store: a name, a URL or a table, not") as refused:
        NamespaceConfig(namespace=Key("/a"), child=child)
    assert refused.value.field == "child"
    with pytest.raises(InvalidError, match="max_entries is a whole number of at least 1, not 0"):
        LRUConfig(max_entries=0)


@pytest.mark.parametrize("depth", [MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1])
def test_stores_are_built_on_one_another_up_to_a_limit(depth: int):
    inline: Any = {"kind": "memory"}
    named = {"s0": {"kind": "memory"}}
    tree: Config = MemoryConfig()
    for number in range(1, depth):
        inline = {"kind": "lowercase", "child": inline}
        named[f"s{number}"] = {"kind": "lowercase", "child": f"s{number - 1}"}
        tree = NamespaceConfig(namespace=Key("/a"), child=tree)
    for described, store in ((inline, None), ({"store": named}, f"s{depth - 1}"), (tree, None)):
        if depth <= MAX_DEPTH:
            datastore.open(described, store).close()
        else:
            with pytest.raises(ConfigError, match="at most 50 stores can be built on one another"):
                datastore.open(described, store)


@pytest.mark.parametrize(
    "children",
    [
        '["lmdb:data", "file:x/../data"]',
        '[{ kind = "lowercase", child = "lmdb:data" }, "lmdb:data"]',
        '["lmdb:link", "lmdb:data"]',
    ],
)
def test_two_stores_with_one_directory_are_refused(children: str, tmp_path: Path):
    (tmp_path / "link").symlink_to(tmp_path / "data")
    place = r"cluster.toml: store.main.children\["
    with pytest.raises(ConfigError, match=f"{place}.*directory: .*is also the directory of {place}"):
        parsed(main("tiered", f"children = {children}"), base=tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "link"]


@pytest.mark.parametrize(
    "child",
    [
        "'redis://h'",
        "'memcached://h'",
        "{ kind = 'nested-path', child = 'memory:' }",
        f"{{ kind = 'key-transform', child = 'memory:', transform = '{__name__}:exclaimed' }}",
        "{ kind = 'tiered', children = ['memory:', 'redis://h'] }",
        "{ kind = 'namespace', namespace = '/a', child = 'redis://h' }",
        "{ kind = 'cache', cache = 'memory:', child = 'redis://h' }",
        "{ kind = 'sharded', children = ['redis://h'], queries = false }",
    ],
)
def test_shards_need_queries_unless_none_are_wanted(child: str):
    text = main("sharded", f"children = {{ a = 'memory:', b = {child} }}")
    with pytest.raises(
        ConfigError, match=r"store.main.children.b: a store of the kind [\w-]+ does not support queries"
    ):
        parsed(text)
    assert not parsed(f"{text}\nqueries = false").can_query()


def test_shards_without_queries_refuse_them_with_the_one_error(tmp_path: Path):
    nested = {"kind": "nested-path", "child": "memory:"}
    with datastore.open({"kind": "sharded", "children": [nested], "queries": False}) as store:
        store.put(Key("/a"), 1)
        assert store.get(Key("/a")) == 1
        with pytest.raises(QueryNotSupportedError):
            list(store.query(Query(Key("/"))))


SCALARS = st.one_of(
    st.booleans(),
    st.integers(-2, 2**70),
    st.floats(),
    st.text(max_size=5),
    st.datetimes(),
    st.sampled_from(
        ["memory:", "lmdb:", "lru", "it", "1KiB", "5m", "json", "os:sep", "/", "a:b", "redis://a@b/c", "?"]
    ),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.just("kind"), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(tree=trees(3), data=st.data())
def test_any_change_of_a_document_is_accepted_or_refused_with_its_place(tree: Config, data: st.DataObject):
    document = tomllib.loads(spec.dump_tree(placed(tree), "it"))
    table = document["store"][data.draw(st.sampled_from(sorted(document["store"])))]
    key = data.draw(st.sampled_from([*table, "kind", "child", "nosuch", ""]))
    if data.draw(st.booleans()):
        table.pop(key, None)
    else:
        table[key] = data.draw(ANYTHING)
    try:
        read = spec.parse_tree(document, "it", source="cluster.toml")
    except ConfigError as error:
        assert str(error).startswith("cluster.toml: ")
    else:
        assert spec.parse_tree(tomllib.loads(spec.dump_tree(read)), "it") == read


# Secrets.

SECRET = "hunter2"


@pytest.mark.parametrize("opening", [datastore.open, aio.open])
@pytest.mark.parametrize(
    "url",
    [
        f"redis://me:{SECRET}@h/abc",
        f"redis://:{SECRET}@h:x/0",
        f"redis://me:{SECRET}/@h:1/0",
        f"redis://{SECRET}@h/0?nosuch=1",
        f"redis://h:1/0?password={SECRET}&nosuch=1",
        f"redis:me:{SECRET}@h/0",
        f"rediss://me:{SECRET}@[::1/0",
        f"redis://me:{SECRET}@h\u2100/0",
        f"lmdb://me:{SECRET}@h\u2100/d",
        f"redis://me:{SECRET}@h/0\n",
        f"mongodb://me:{SECRET}@h",
        f"mongodb://me:{SECRET}@h:99999/db",
        f"mongodb://me:a/{SECRET}@h/db",
        f"mongodb://me:{SECRET}@h/db?collection=$x",
        f"mongodb://h/db?tlsCertificateKeyFilePassword={SECRET}&maxPoolSize=x",
        f"memcached://me:{SECRET}@h",
        f"grpc://me:{SECRET}@h",
        f"grpc://me:{SECRET}@h?nosuch=1",
        f"lmdb://me:{SECRET}@h/d",
        f"nosuch://me:{SECRET}@h",
        f"://me:{SECRET}@h",
        f"me:{SECRET}@h",
        f"memory:me:{SECRET}@h",
    ],
)
def test_no_error_about_a_url_shows_a_secret(opening, url: str):
    for described in (url, {"kind": "lowercase", "child": url}, {"kind": "redis", "url": url}):
        with pytest.raises(ValueError) as refused:
            opening(described)
        error: BaseException | None = refused.value
        while error is not None:
            assert SECRET not in str(error) + repr(error)
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_a_tree_is_shown_without_its_secrets():
    tree = TieredConfig(
        children=(RedisConfig(url=f"redis://me:{SECRET}@h:1/0?password={SECRET}"), LRUConfig(max_entries=2))
    )
    assert SECRET not in repr(tree) + spec.show_tree(tree)
    assert 'url = "redis://***@h:1/0?password=***"' in spec.show_tree(tree)
    assert SECRET in spec.dump_tree(tree)


# Nothing half started.


@pytest.mark.parametrize("colour", [datastore, aio], ids=["threads", "tasks"])
async def test_opened_stores_are_closed_when_a_later_one_fails(colour: Any, tmp_path: Path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/data.mdb").write_text("not LMDB")
    text = main("tiered", 'children = ["memory:", "lmdb:good", { kind = "lowercase", child = "lmdb:other" }]')
    tree = parsed(text, base=tmp_path)
    with pytest.raises(StoreFormatError, match=r"^cluster.toml: store.main.children\[2\].child: ") as refused:
        colour.open(tree)
    assert isinstance(refused.value, DatastoreError)
    # Otherwise it would still be locked.
    LMDBDatastore(tmp_path / "good").close()


async def test_a_store_that_is_served_elsewhere_is_named(tmp_path: Path):
    with LMDBDatastore(tmp_path / "data"):
        with pytest.raises(StoreLockedError, match=r"^cluster.toml: store.main: "):
            aio.open(parsed(main("lmdb", 'directory = "data"'), base=tmp_path))


def test_a_driver_that_is_not_installed_is_named_with_the_place_before_anything_is_opened(tmp_path: Path):
    code = f"""
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "redis" else found(name, *rest)
from datastore import spec
tables = {{"main": {{"kind": "tiered", "children": ["lmdb://{tmp_path}/data", "redis://h"]}}}}
try:
    spec.parse_tree({{"store": tables}}, "main", source="cluster.toml")
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "cluster.toml: store.main.children[1]: this needs redis, which is not installed; in the checkout:"
        " pip install '.[redis]'\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_named_shards_keep_their_keys_in_any_order():
    def shards(names: list[str]) -> Any:
        rooms = {name: NamespaceConfig(namespace=Key(name), child=MemoryConfig()) for name in names}
        return spec.build(ShardedConfig(children=dict(rooms)))

    one, other = shards(["a", "b", "c"]), shards(["c", "a", "b"])
    keys = [Key(f"/{number}") for number in range(50)]
    homes = [one.shard_datastore(key).namespace for key in keys]
    assert homes == [other.shard_datastore(key).namespace for key in keys]
    assert set(homes) == {Key("a"), Key("b"), Key("c")}


@pytest.mark.parametrize("names", [None, ["a", "b", "c"]], ids=["list", "names"])
@pytest.mark.parametrize("by", ["key", "collection"])
def test_shards_are_by_key_or_by_collection(by: Any, names: list[str] | None):
    memories = [MemoryConfig() for _ in range(3)]
    children: Any = memories if names is None else dict(zip(names, memories, strict=True))
    store: Any = spec.build(ShardedConfig(children=children, by=by))
    used = {store.shard(Key(f"/collection/{number}")) for number in range(50)}
    assert len(used) == (3 if by == "key" else 1)


def test_the_number_of_children_is_not_limited_by_the_depth():
    children = [{"kind": "lowercase", "child": "memory:"} for _ in range(2 * MAX_DEPTH)]
    datastore.open({"kind": "tiered", "children": children}).close()
