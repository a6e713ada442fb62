"""The service of a reader: reads are answered here; watches, changes of many entries and the state are the writer's."""

from __future__ import annotations

from typing import Any

from datastore.v1 import service_pb2
from datastore_server.auth.authorized import require_matching
from datastore_server.auth.callers import caller
from datastore_server.auth.rights import Right
from datastore_server.call import Call
from datastore_server.interceptors import check_expected
from datastore_server.rpc import checked
from datastore_server.service import SERVICE, DatastoreService
from datastore_server.workers.passing import WriterLink

__all__ = ["ReaderService"]


class ReaderService(DatastoreService):
    """Serves a PassingDatastore, and passes other streams on as they are: their tokens are those of the writer."""

    def __init__(self, writer: WriterLink, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._writer = writer

    async def watch(self, request: bytes, call: Call) -> None:
        """Watch: the writer's changes."""
        query, asked = await checked(self._requests.watch, request, self._checks)
        if not asked.resume_token and self._require_expected is not None:
            check_expected(call, self._require_expected)
        if self._gate is not None:
            caller().require_scope(Right.READ, query.key)
        await self._pass_on("Watch", request, call)

    async def delete_matching(self, request: bytes, call: Call) -> None:
        """DeleteMatching: the writer's progress."""
        asked, _ = await checked(self._requests.delete_matching, request, self._checks)
        if self._gate is not None:
            require_matching(asked)
        await self._pass_on("DeleteMatching", request, call)

    async def patch_matching(self, request: bytes, call: Call) -> None:
        """PatchMatching: the writer's progress."""
        asked, _ = await checked(self._requests.patch_matching, request, self._checks)
        if self._gate is not None:
            require_matching(asked)
        await self._pass_on("PatchMatching", request, call)

    async def _pass_on(self, name: str, request: bytes, call: Call) -> None:
        self._check_continues()
        with self._open_streams.one_more(call.peer()):
            stream = self._writer.stream(f"/{SERVICE}/{name}", request, call.send)
            with self._interruptible(stream):
                await stream.run()

    async def _described(self) -> service_pb2.DescribeStoreResponse:
        """What the writer says of the store, and of all processes."""
        return await self._writer.store.describe_store()
