"""Every name of the documentation of release 0.3.0, by every path that it was known by."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import datastore
import datastore.filesystem
from datastore import Key, core
from datastore.core import errors
from tests.support.documented import MEMBERS

BASIC = """Datastore NullDatastore DictDatastore InterfaceMappingDatastore ShimDatastore CacheShimDatastore
LoggingDatastore KeyTransformDatastore LowercaseKeyDatastore NamespaceDatastore NestedPathDatastore SymlinkDatastore
DirectoryDatastore DatastoreCollection TieredDatastore ShardedDatastore""".split()
QUERY = "Query Filter Order Cursor chain_gen is_iterable limit_gen offset_gen".split()
SERIALIZE = """Serializer NonSerializer prettyjson Stack map_serializer shim serialized_gen deserialized_gen
monkey_patch_bson default_serializer SerializerShimDatastore""".split()
PATHS = {
    **{name: ["datastore", "datastore.core", "datastore.core.basic", "datastore.basic"] for name in BASIC},
    **{name: ["datastore", "datastore.core", "datastore.core.key", "datastore.key"] for name in ("Key", "Namespace")},
    **{name: ["datastore", "datastore.core", "datastore.core.query", "datastore.query"] for name in QUERY},
    **{name: ["datastore.core.serialize", "datastore.serialize"] for name in SERIALIZE},
    **{name: ["datastore", "datastore.core", "datastore.errors", "datastore.core.errors"] for name in errors.__all__},
}
#: What programs also rely on.
RELIED_ON = {
    "NestedPathDatastore": "nested_path",
    "SymlinkDatastore": "_link_value_for_key _link_for_value _follow_link _follow_link_gen",
    "Cursor": "_iterable _skipped_inc _returned_inc _ensure_modification_is_safe",
}


@pytest.mark.parametrize("name", PATHS)
def test_a_name_is_one_object_by_every_path(name: str) -> None:
    found = {id(getattr(importlib.import_module(path), name)) for path in PATHS[name]}
    assert len(found) == 1


@pytest.mark.parametrize("path", ["datastore", "datastore.core", "datastore.errors", "datastore.core.errors"])
def test_every_error_class_is_exported(path: str) -> None:
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert "NoStoresError" in kinds
    assert kinds <= set(importlib.import_module(path).__all__)


@pytest.mark.parametrize("cls", MEMBERS)
def test_a_class_has_its_documented_members(cls: str) -> None:
    modules = (datastore, datastore.serialize, datastore.filesystem)
    kind = next(getattr(module, cls) for module in modules if hasattr(module, cls))
    # Attributes of instances only.
    of_instances = {"Cursor": {"query", "returned", "skipped"}}.get(cls, set())
    names = f"{MEMBERS[cls]} {RELIED_ON.get(cls, '')}".split()
    assert [name for name in names if name not in of_instances and not hasattr(kind, name)] == []


def test_backends_keep_their_import_paths() -> None:
    for path, name in [
        ("datastore.filesystem", "FileSystemDatastore"),
        ("datastore.filesystem", "ensure_directory_exists"),
        ("datastore.mongo", "MongoDatastore"),
        ("datastore.pylru", "LRUCacheDatastore"),
        ("datastore.redis", "RedisDatastore"),
        ("datastore.memcached", "MemcachedDatastore"),
        ("datastore.core.util.fasthash", "hash"),
    ]:
        assert callable(getattr(importlib.import_module(path), name))


def test_modules_are_attributes_after_one_import() -> None:
    code = """
import datastore
assert set(dir(datastore)) >= {*datastore.__all__, "core", "aio", "open", "__version__"}
import datastore.filesystem
datastore.serialize.shim(datastore.DictDatastore())
assert datastore.core.key.Key is datastore.key.Key is datastore.Key
assert datastore.core.serialize.shim is datastore.serialize.shim
assert datastore.query.Query is datastore.Query
assert datastore.basic.DictDatastore is datastore.DictDatastore
"""
    subprocess.run([sys.executable, "-O", "-c", code], check=True)


def test_the_library_loads_no_driver_and_no_grpc() -> None:
    code = """
import sys
import datastore, datastore.filesystem, datastore.pylru, datastore.redis, datastore.memcached, datastore.mongo
loaded = {name.split(".")[0] for name in sys.modules}
print(*sorted(loaded & {"grpc", "google", "redis", "pymemcache", "pymongo", "bson", "lmdb", "asyncio", "msgspec"}))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_hashes_are_the_same_in_every_process(seed: str) -> None:
    code = "from datastore import Key; print(hash(Key('/a/b c/é')), hash(Key('/hello')))"
    environment = {"PYTHONHASHSEED": seed, "PYTHONUTF8": "1"}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["1129720100621598245", "946184302554483941"]


def test_packages_installed_elsewhere_add_modules(tmp_path: Path) -> None:
    (tmp_path / "datastore").mkdir()
    (tmp_path / "datastore/shelf.py").write_text("from datastore import DictDatastore as Shelf\n")
    code = f"import sys; sys.path.append({str(tmp_path)!r}); import datastore.shelf; datastore.shelf.Shelf()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_shims_keep_their_base_classes() -> None:
    for name in ("LowercaseKeyDatastore", "NamespaceDatastore", "NestedPathDatastore"):
        assert issubclass(getattr(core, name), core.KeyTransformDatastore)
    for name in ("CacheShimDatastore", "SymlinkDatastore", "DirectoryDatastore", "DatastoreCollection"):
        assert issubclass(getattr(core, name), core.ShimDatastore)
    assert isinstance(Key.randomKey(), Key)


@pytest.mark.parametrize(
    ("shown", "text", "representation"),
    [
        (datastore.Filter("key", ">", "/A"), "key > /A", "Filter('key', '>', '/A')"),
        (datastore.Filter("age", "<=", 3), "age <= 3", "Filter('age', '<=', 3)"),
        (datastore.Order("name"), "+name", "Order('+name')"),
        (datastore.Order("-age"), "-age", "Order('-age')"),
        (Key("/a/b:c"), "/a/b:c", "Key('/a/b:c')"),
        (datastore.Namespace("a:b"), "a:b", "Namespace('a:b')"),
        (datastore.Query(Key("/a"), limit=3), "Query(Key('/a'), limit=3)", "Query(Key('/a'), limit=3)"),
    ],
)
def test_printed_forms_are_unchanged(shown: object, text: str, representation: str) -> None:
    assert (str(shown), repr(shown)) == (text, representation)
    assert eval(representation, vars(datastore)) == shown
