"""Every serializer of the documentation, over every store that keeps bytes or text."""

from __future__ import annotations

import datetime
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import datastore
from datastore import core, serialize
from datastore.lmdb import LMDBDatastore
from datastore.model.entries import Write
from datastore.model.errors import DatastoreError
from datastore.model.key import Key
from datastore.model.operations import ReadResult, WriteResult
from datastore.model.query import Query
from tests.support import clusters
from tests.support.engines import Engine

A, B = Key("/c/a"), Key("/c/b")
DOCUMENT = {"x": 1, "text": "é \U0001f600", "list": [1.5, None, True], "empty": ""}


class TextOnly:
    """A user's serializer, which accepts only text."""

    @staticmethod
    def dumps(value: Any) -> str:
        return repr(value)

    @staticmethod
    def loads(text: str) -> Any:
        assert type(text) is str
        return eval(text)


def _bson() -> Any:
    bson = pytest.importorskip("bson")
    patched = SimpleNamespace(BSON=bson.BSON)
    serialize.monkey_patch_bson(patched)
    return patched


SERIALIZERS: dict[str, Callable[[], Any]] = {
    "json": lambda: json,
    "pickle": lambda: pickle,
    "prettyjson": lambda: serialize.prettyjson,
    "bson": _bson,
    "stack": lambda: serialize.Stack([serialize.map_serializer, json]),
    "stack that ends in text": lambda: serialize.Stack([serialize.prettyjson, serialize.NonSerializer]),
    "text only": lambda: TextOnly,
}
STORES = ["lmdb", "file", "memcached", "redis", "mongodb", "dict", "node", "proxy", "shards of lmdb", "tiers of both"]


@pytest.fixture(scope="module")
def node_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    running = clusters.node(tmp_path_factory.mktemp("node"))
    with clusters.background() as background, background.running(running) as node:
        yield node.url


@pytest.fixture(scope="module")
def proxy_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    running = clusters.proxy(tmp_path_factory.mktemp("proxy"))
    with clusters.background() as background, background.running(running) as proxy:
        yield proxy.url


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    kind = request.param
    if kind in ("redis", "memcached", "mongodb"):
        server: Engine = request.getfixturevalue(f"{kind}_server")
        url = f"{kind}://127.0.0.1:{server.port}" + {"redis": "/0", "mongodb": "/texts"}.get(kind, "")
        with datastore.open(url) as store:
            yield store
    elif kind in ("node", "proxy"):
        with datastore.open(request.getfixturevalue(f"{kind}_url")) as store:
            yield store
    else:
        made = {
            "lmdb": lambda: datastore.open(f"lmdb:{tmp_path}"),
            "file": lambda: datastore.open(f"file:{tmp_path}"),
            "dict": core.DictDatastore,
            "shards of lmdb": lambda: core.ShardedDatastore([LMDBDatastore(tmp_path / name) for name in "ab"]),
            "tiers of both": lambda: core.TieredDatastore([LMDBDatastore(tmp_path / "a"), datastore.open("memory:")]),
        }
        with made[kind]() as store:
            yield store


@pytest.mark.parametrize("name", SERIALIZERS)
@pytest.mark.parametrize("store", STORES, indirect=True)
def test_a_value_comes_back_through_every_serializer(store: Any, name: str) -> None:
    shim = serialize.shim(store, SERIALIZERS[name]())
    shim.put(A, DOCUMENT)
    assert shim.get(A) == DOCUMENT
    assert shim.batch_write([Write(B, {"x": 2})]) == [WriteResult()]
    assert shim.batch_get([A, B]) == [ReadResult(DOCUMENT), ReadResult({"x": 2})]
    try:
        found = list(shim.query(Query(Key("/c")).filter("x", ">", 0).order("-x")))
    except NotImplementedError:
        return
    assert found == [{"x": 2}, DOCUMENT]


@pytest.mark.parametrize("store", STORES, indirect=True)
@pytest.mark.parametrize("value", ["text é", "", b"bytes \xff", b""], ids=repr)
def test_text_and_bytes_come_back_unchanged(store: Any, value: Any) -> None:
    store.put(A, value)
    assert (store.get(A), type(store.get(A))) == (value, type(value))


@pytest.mark.parametrize("store", ["lmdb", "file", "memcached"], indirect=True)
@pytest.mark.parametrize("value", [1, {"x": 1}, [b"x"], datetime.datetime(2026, 1, 1)], ids=repr)
def test_a_store_of_bytes_refuses_other_values_and_suggests_a_serializer(store: Any, value: Any) -> None:
    store.put(A, b"old")
    with pytest.raises(TypeError, match="serializer") as refused:
        store.put(A, value)
    assert isinstance(refused.value, DatastoreError)
    assert store.get(A) == b"old"


def test_a_scan_returns_text_and_bytes_side_by_side(tmp_path: Path) -> None:
    with LMDBDatastore(tmp_path) as store:
        values = [b"bytes", "text", "", b"", "é"]
        store.batch_write([Write(Key(f"/c/{number}"), value) for number, value in enumerate(values)])
        assert list(store.query(Query(Key("/c")))) == values
    with LMDBDatastore(tmp_path) as store:
        assert [store.get(Key(f"/c/{number}")) for number in range(5)] == values
