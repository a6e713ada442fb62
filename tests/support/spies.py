"""Stores that record what they were asked."""

from __future__ import annotations

from typing import Any

from datastore.model.query import Query


def spy(library: Any) -> Any:
    """A dict that keeps the queries that it is asked, in `asked`."""

    class Spy(library.DictDatastore):
        ordered_queries = True

        def __init__(self) -> None:
            super().__init__()
            self.asked: list[Query] = []

        def query(self, query: Query) -> Any:
            self.asked.append(query.copy())
            return super().query(query)

    return Spy()
