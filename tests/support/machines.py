"""The model machine on stores that several test modules reach."""

from __future__ import annotations

from typing import Any

from datastore.model.entries import Write
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.testing.machine import DatastoreMachine
from datastore_client import connect


class RemoteMachine(DatastoreMachine):
    """On a server that is kept from one run to the next, and emptied when a run begins."""

    url: str

    def open_store(self) -> Any:
        store = connect(self.url)
        left = store.query(Query(Key("/"), recursive=True, keys_only=True)).entries()
        outcomes = store.batch_write([Write(entry.key, None) for entry in left])
        assert all(outcome.error is None for outcome in outcomes)
        return store

    def reopen_store(self, store: Any) -> Any:
        store.close()
        return connect(self.url)
