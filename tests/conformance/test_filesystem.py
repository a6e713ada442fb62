"""Files, below serializers that convert values to text or bytes."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from datastore import aio, core, wire
from datastore.aio.lift import lift
from datastore.aio.testing.conformance import DatastoreConformance as AsyncConformance
from datastore.filesystem import FileSystemDatastore
from datastore.model.key import Key
from datastore.testing import cases
from datastore.testing.conformance import DatastoreConformance
from datastore.testing.machine import DatastoreMachine
from tests.support.capabilities import AsJson, OnTheWire


@pytest.mark.long
class TestFilesOfJson(AsJson, DatastoreConformance):
    persistent = True

    @pytest.fixture
    def store(self, tmp_path: Path) -> Any:
        return core.SerializerShimDatastore(FileSystemDatastore(tmp_path))

    def reopen(self, store: Any) -> Any:
        return core.SerializerShimDatastore(FileSystemDatastore(store.child_datastore.root))


@pytest.mark.long
class TestFilesOnTheWire(OnTheWire, DatastoreConformance):
    persistent = True

    @pytest.fixture
    def store(self, tmp_path: Path) -> Any:
        return core.SerializerShimDatastore(FileSystemDatastore(tmp_path, fsync=True), wire.codec)

    def reopen(self, store: Any) -> Any:
        return core.SerializerShimDatastore(FileSystemDatastore(store.child_datastore.root), wire.codec)

    def inspect(self, store: Any, key: Key) -> Any:
        path = Path(store.child_datastore.object_path(key))
        return wire.codec.loads(path.read_bytes().split(b"\n", 1)[1]) if path.exists() else None


class TestAsyncFiles(OnTheWire, AsyncConformance):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> Any:
        return aio.SerializerShimDatastore(lift(FileSystemDatastore(tmp_path)), wire.codec)


class FilesMachine(AsJson, DatastoreMachine):
    values = cases.json_values()

    def open_store(self) -> Any:
        self.directory = tempfile.mkdtemp()
        return core.SerializerShimDatastore(FileSystemDatastore(self.directory))

    def reopen_store(self, store: Any) -> Any:
        return core.SerializerShimDatastore(FileSystemDatastore(self.directory))

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "directory"):
            shutil.rmtree(self.directory)


TestFilesMachine = FilesMachine.TestCase
