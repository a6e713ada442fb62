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


class DictMachine(InMemory, DatastoreMachine):
    def open_store(self) -> Any:
        return core.DictDatastore()


class TieredMachine(InMemory, DatastoreMachine):
    def open_store(self) -> Any:
        return core.TieredDatastore([core.DictDatastore(), core.DictDatastore(), core.DictDatastore()])


class NamespaceMachine(InMemory, DatastoreMachine):
    def open_store(self) -> Any:
        child = core.DictDatastore()
        child.put(core.Key("/n:s:foreign"), 1)
        return core.NamespaceDatastore("n:s", child)


class IdentityMachine(InMemory, DatastoreMachine):
    def open_store(self) -> Any:
        return core.KeyTransformDatastore(core.DictDatastore())


class ReversedMachine(InMemory, DatastoreMachine):
    queries = False

    def open_store(self) -> Any:
        return core.KeyTransformDatastore(core.DictDatastore(), lambda key: key.reverse)


class NestedPathMachine(InMemory, DatastoreMachine):
    queries = False

    def open_store(self) -> Any:
        return core.NestedPathDatastore(core.DictDatastore())


class MappingMachine(InMemory, DatastoreMachine):
    queries = False

    def open_store(self) -> Any:
        return core.InterfaceMappingDatastore({}, put="__setitem__", delete="__delitem__")


class JsonMachine(AsJson, DatastoreMachine):
    values = cases.json_values()

    def open_store(self) -> Any:
        return core.SerializerShimDatastore(core.DictDatastore())


class ShardedMachine(InMemory, DatastoreMachine):
    def open_store(self) -> Any:
        inner = [core.ShardedDatastore([core.DictDatastore(), core.DictDatastore()]) for _ in range(2)]
        return core.ShardedDatastore([*inner, core.DictDatastore()], lambda key: len(str(key)))


class LMDBMachine(DatastoreMachine):
    def open_store(self) -> Any:
        self.directory = tempfile.mkdtemp()
        return self.on_lmdb()

    def on_lmdb(self) -> Any:
        return core.SerializerShimDatastore(LMDBDatastore(self.directory, durability="async"), wire.codec)

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
