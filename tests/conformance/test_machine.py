"""The model machine on stores for threads: random operations, compared with a dict."""

from __future__ import annotations

import shutil
import tempfile
from typing import Any

from datastore import core, wire
from datastore.lmdb import LMDBDatastore
from datastore.testing import cases
from datastore.testing.machine import DatastoreMachine
from tests.support.capabilities import AsJson, InMemory


class OnDicts(DatastoreMachine):
    """Machines on stores over dicts, whose entries expire by the machine's clock."""

    moves_clock = True

    def a_dict(self) -> Any:
        return core.DictDatastore(clock=self.clock)


class DictMachine(InMemory, OnDicts):
    def open_store(self) -> Any:
        return self.a_dict()


class TieredMachine(InMemory, OnDicts):
    def open_store(self) -> Any:
        return core.TieredDatastore([self.a_dict(), self.a_dict(), self.a_dict()])


class NamespaceMachine(InMemory, OnDicts):
    def open_store(self) -> Any:
        child = self.a_dict()
        child.put(core.Key("/n:s:foreign"), 1)
        return core.NamespaceDatastore("n:s", child)


class IdentityMachine(InMemory, OnDicts):
    def open_store(self) -> Any:
        return core.KeyTransformDatastore(self.a_dict())


class ReversedMachine(InMemory, OnDicts):
    queries = False

    def open_store(self) -> Any:
        return core.KeyTransformDatastore(self.a_dict(), lambda key: key.reverse)


class NestedPathMachine(InMemory, OnDicts):
    queries = False

    def open_store(self) -> Any:
        return core.NestedPathDatastore(self.a_dict())


class MappingMachine(InMemory, DatastoreMachine):
    queries = False

    def open_store(self) -> Any:
        return core.InterfaceMappingDatastore({}, put="__setitem__", delete="__delitem__")


class JsonMachine(AsJson, OnDicts):
    values = cases.json_values()

    def open_store(self) -> Any:
        return core.SerializerShimDatastore(self.a_dict())


class ShardedMachine(InMemory, OnDicts):
    def open_store(self) -> Any:
        inner = [core.ShardedDatastore([self.a_dict(), self.a_dict()]) for _ in range(2)]
        return core.ShardedDatastore([*inner, self.a_dict()], lambda key: len(str(key)))


class LMDBMachine(DatastoreMachine):
    moves_clock = True

    def open_store(self) -> Any:
        self.directory = tempfile.mkdtemp()
        return self.on_lmdb()

    def on_lmdb(self) -> Any:
        pages = LMDBDatastore(self.directory, durability="async", clock=self.clock)
        return core.SerializerShimDatastore(pages, wire.codec)

    def reopen_store(self, store: Any) -> Any:
        store.close()
        return self.on_lmdb()

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "directory"):
            shutil.rmtree(self.directory)


TestDictMachine = DictMachine.TestCase
TestTieredMachine = TieredMachine.TestCase
TestNamespaceMachine = NamespaceMachine.TestCase
TestIdentityMachine = IdentityMachine.TestCase
TestReversedMachine = ReversedMachine.TestCase
TestNestedPathMachine = NestedPathMachine.TestCase
TestMappingMachine = MappingMachine.TestCase
TestJsonMachine = JsonMachine.TestCase
TestShardedMachine = ShardedMachine.TestCase
TestLMDBMachine = LMDBMachine.TestCase
