"""What stores declare that they can do, and that this is what they do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datastore import core, spec, wire
from datastore.core.key import Key
from datastore.filesystem import FileSystemDatastore
from datastore.lmdb import LMDBDatastore
from datastore.model.capability import Capability, Durability, Support
from datastore.model.errors import QueryNotSupportedError
from datastore.model.query import Query
from datastore.serialize import map_serializer
from datastore_client import RemoteDatastore

NONE, INEXACT, EXACT = Support


def upper(key: Key) -> Key:
    return key


STORES: dict[str, Callable[[Path], Any]] = {
    "memory": lambda _: core.DictDatastore(),
    "null": lambda _: core.NullDatastore(),
    "lmdb": LMDBDatastore,
    "file": lambda path: FileSystemDatastore(str(path)),
    "remote": lambda _: RemoteDatastore("grpc://127.0.0.1:1"),
    "logging over null": lambda _: core.LoggingDatastore(core.NullDatastore()),
    "namespace over null": lambda _: core.NamespaceDatastore("/n", core.NullDatastore()),
    "lowercase over null": lambda _: core.LowercaseKeyDatastore(core.NullDatastore()),
    "nested path over null": lambda _: core.NestedPathDatastore(core.NullDatastore()),
    "unordered transform over null": lambda _: core.KeyTransformDatastore(core.NullDatastore(), upper),
    "symlink over null": lambda _: core.SymlinkDatastore(core.NullDatastore()),
    "directory over null": lambda _: core.DirectoryDatastore(core.NullDatastore()),
    "json over null": lambda _: core.SerializerShimDatastore(core.NullDatastore()),
    "maps over null": lambda _: core.SerializerShimDatastore(core.NullDatastore(), map_serializer),
    "wire over lmdb": lambda path: core.SerializerShimDatastore(LMDBDatastore(path), wire.lazy),
    "tiers over null": lambda _: core.TieredDatastore([core.DictDatastore(), core.NullDatastore()]),
    "cache over null": lambda _: core.CacheShimDatastore(core.NullDatastore(), cache=core.DictDatastore()),
    "mapping": lambda _: core.InterfaceMappingDatastore({}, "get", "__setitem__", "__delitem__"),
}


@pytest.mark.parametrize("name", STORES)
def test_a_store_applies_the_query_parts_that_it_declares(name: str, tmp_path: Path) -> None:
    with STORES[name](tmp_path / "data") as store:
        declared = store.capability
        scope = Query(Key("/a"))
        if not declared.queries:
            with pytest.raises(QueryNotSupportedError):
                store.scan(scope)
            return
        by_key = store.scan(scope.copy().filter("__key__", ">", Key("/a/b"))).applied
        by_field = store.scan(scope.copy().filter("n", ">", 1)).applied
        ordered = store.scan(scope.copy().order("n")).applied
        limited = store.scan(Query(Key("/a"), limit=1)).applied
        assert by_key.filter_support(0) is declared.key_filters
        assert by_field.filter_support(0) is declared.field_filters
        assert ordered.orders is declared.orders
        assert (EXACT if limited.is_complete else limited.limit) is declared.limit


def test_a_store_over_several_can_do_what_all_of_them_can() -> None:
    able = Capability(scope=True, key_filters=EXACT, durability=Durability.SYNC, reads_at_once=True)
    partly = Capability(scope=True, key_filters=INEXACT, durability=Durability.MEMORY, reads_at_once=True)
    both = Capability.common([able, partly])
    assert both == Capability(scope=True, key_filters=INEXACT, durability=Durability.MEMORY)
    assert Capability.common([able, Capability(queries=False)]) == Capability(queries=False)
    assert Capability.common([]) == Capability()
    sharded = core.ShardedDatastore([core.NullDatastore(), core.DictDatastore()])
    assert sharded.capability == Capability(scope=True, durability=Durability.MEMORY)
    assert sharded.describe().capability == sharded.capability


def test_a_class_that_declares_nothing_answers_queries_if_it_defines_them() -> None:
    class KeepsNothing(core.Datastore):
        def get(self, key: Key) -> Any:
            return None

    class Searched(KeepsNothing):
        def query(self, query: Query) -> Any:
            return query([])

    assert KeepsNothing().capability == Capability(queries=False)
    assert Searched().capability == Capability()


@pytest.mark.parametrize(
    "table",
    [
        {"kind": "memory"},
        {"kind": "null"},
        {"kind": "memcached", "url": "memcached://127.0.0.1:1"},
        {"kind": "redis", "url": "redis://127.0.0.1:1/0"},
        {"kind": "nested-path", "child": {"kind": "memory"}},
        {"kind": "key-transform", "transform": f"{__name__}:upper", "child": {"kind": "memory"}},
    ],
    ids=lambda table: table["kind"],
)
def test_a_config_knows_whether_its_store_will_answer_queries(table: dict[str, Any]) -> None:
    child = table.pop("child", None)
    stores = {"it": table} | ({"below": child} if child else {})
    if child:
        table["child"] = "below"
    tree = spec.parse_tree({"store": stores}, "it", source="here")
    with spec.build(tree) as store:
        assert store.capability.queries is tree.can_query()
