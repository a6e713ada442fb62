"""The driver of Python's own client, for threads and for asyncio: `python -m tests.clients.python_driver sync|aio`.

Written once, over the two Colours below. It decides nothing: it does what a request says through the public API, and
writes down what it got.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import psutil
from google.rpc import status_pb2

import datastore_client
import datastore_client.aio
from datastore import wire
from datastore.engine.placement import slot_of
from datastore.model import fasthash
from datastore.model.aggregates import Aggregation, Avg, Count, Max, Min, Sum
from datastore.model.entries import Entry, Position, StoredEntry
from datastore.model.errors import DatastoreError, UnavailableError
from datastore.model.expiry import NEVER, Expiry
from datastore.model.key import Key
from datastore.model.metadata import Metadata, Precondition
from datastore.model.operations import Delete, Operation, Patch, Put, ReadOptions, WriteResult
from datastore.model.patches import FieldChange, checked_changes
from datastore.model.query import Query
from datastore.model.trees import Condition, Tree
from datastore.v1 import query_pb2, service_pb2, service_pb2_grpc, value_pb2
from tests.clients.notation import Inexpressible, instant_us, plain, written

#: The details of errors that are reported.
DETAILS = "shard field path limit maximum version index owner epoch right incident request_id".split()
FUNCTIONS: dict[str, Callable[..., Aggregation]] = {"COUNT": Count, "SUM": Sum, "AVG": Avg, "MIN": Min, "MAX": Max}
END = object()


class Threads:
    """The client for threads: what it returns are results."""

    connect: Any = staticmethod(datastore_client.connect)
    channel: Any = staticmethod(grpc.insecure_channel)
    iterator: Any = staticmethod(iter)

    async def result(self, of: Any) -> Any:
        """The result of a method."""
        return of

    async def next(self, iterator: Any) -> Any:
        """The next item, END after the last."""
        return next(iterator, END)

    async def together(self, calls: list[Callable[[], Any]]) -> list[Any]:
        """The results, or errors, of calls that are made at once."""
        with ThreadPoolExecutor(max(1, len(calls))) as pool:
            done = [pool.submit(call) for call in calls]
        return [each.exception() or each.result() for each in done]

    async def repeat(self, call: Callable[[], Any], times: int, in_flight: int) -> None:
        """Make a call so many times, and so many of them at once."""
        with ThreadPoolExecutor(in_flight) as pool:
            for _ in pool.map(lambda _: call(), range(times)):
                pass

    async def begin(self, watcher: Any) -> None:
        """Begin a watch."""
        watcher.__enter__()

    async def close(self, closes: Any) -> None:
        """Close a store, a cursor or a watcher."""
        closes.close()


class Tasks:
    """The client for asyncio: what it returns is awaited."""

    connect: Any = staticmethod(datastore_client.aio.connect)
    channel: Any = staticmethod(grpc.aio.insecure_channel)
    iterator: Any = staticmethod(aiter)

    async def result(self, of: Any) -> Any:
        """The result of a method."""
        return await of

    async def next(self, iterator: Any) -> Any:
        """The next item, END after the last."""
        return await anext(iterator, END)

    async def together(self, calls: list[Callable[[], Any]]) -> list[Any]:
        """The results, or errors, of calls that are made at once."""
        return await asyncio.gather(*(call() for call in calls), return_exceptions=True)

    async def repeat(self, call: Callable[[], Any], times: int, in_flight: int) -> None:
        """Make a call so many times, and so many of them at once."""
        left = iter(range(times))

        async def some() -> None:
            for _ in left:
                await call()

        await asyncio.gather(*(some() for _ in range(in_flight)))

    async def begin(self, watcher: Any) -> None:
        """Begin a watch."""
        await watcher.__aenter__()

    async def close(self, closes: Any) -> None:
        """Close a store, a cursor or a watcher."""
        await closes.aclose()


class Reading:
    """A query that is being read."""

    def __init__(self, cursor: Any, *, keys_only: bool) -> None:
        self.cursor = cursor
        self.entries = cursor.entries()
        self.keys_only = keys_only
        #: The error that ended it after the entries that the last `next` has given.
        self.error: DatastoreError | None = None


class Driver:
    """The clients, cursors and watches of one process, each under its number."""

    def __init__(self, colour: Any, files: Path) -> None:
        self._colour = colour
        self._files = files
        self._held: dict[int, Any] = {}
        self._numbers = count(1)

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The response to a request."""
        try:
            return {"result": await getattr(self, f"_{request['op']}")(request)}
        except Inexpressible as reason:
            return {"unsupported": str(reason)}
        except DatastoreError as error:
            return {"error": reported(error)}

    async def end(self) -> None:
        """Close everything, streams first."""
        for held in reversed(self._held.values()):
            await self._colour.close(held.cursor if isinstance(held, Reading) else held)

    def _hold(self, held: Any) -> int:
        number = next(self._numbers)
        self._held[number] = held
        return number

    def _store(self, request: dict[str, Any]) -> Any:
        return self._held[request["client"]]

    # Without a server

    async def _key(self, request: dict[str, Any]) -> Any:
        key = Key(request["text"])
        return {
            "text": str(key),
            "collection": str(key.path),
            "hash": str(fasthash.hash(str(key).encode())),
            "slot": slot_of(key),
            "collection_slot": slot_of(key, "collection"),
        }

    async def _compare_keys(self, request: dict[str, Any]) -> Any:
        first, second = Key(request["a"]), Key(request["b"])
        return {"order": (first > second) - (first < second)}

    async def _encode(self, request: dict[str, Any]) -> Any:
        return {"wire": wire.encode_value(plain(request["value"])).data.hex()}

    async def _decode(self, request: dict[str, Any]) -> Any:
        return {"value": written(wire.decode_value(bytes.fromhex(request["wire"])))}

    async def _sort_key(self, request: dict[str, Any]) -> Any:
        order = "-__value__" if request.get("descending") else "__value__"
        query = Query(Key("/")).order(order)
        return {"sort_key": query.sort_keys_of([[plain(request["value"])]])[0].hex()}

    async def _query(self, request: dict[str, Any]) -> Any:
        return {"wire": wire.encode_query(query_of(request["query"])).SerializeToString().hex()}

    async def _error(self, request: dict[str, Any]) -> Any:
        return {"error": reported(wire.status_to_error(status_pb2.Status.FromString(bytes.fromhex(request["status"]))))}

    # Connections

    async def _connect(self, request: dict[str, Any]) -> Any:
        scheme = "grpcs" if request.get("tls") else "grpc"
        options = {name: request[given] for given, name in _FILES.items() if given in request}
        options |= {name: request[name] for name in ("retry", "retry_writes") if name in request}
        for name in ("timeout", "query_timeout"):
            if f"{name}_ms" in request:
                options[f"{name}_s"] = request[f"{name}_ms"] / 1000
        url = f"{scheme}://{','.join(request['addresses'])}"
        if "token" in request:
            options["token_file"] = self._token_file(request["token"])
        return {"client": self._hold(self._colour.connect(url, **options))}

    def _token_file(self, token: str) -> Path:
        path = self._files / f"{next(self._numbers)}.token"
        path.touch(0o600)
        path.write_text(token, encoding="utf-8")
        return path

    async def _close(self, request: dict[str, Any]) -> Any:
        await self._colour.close(self._held.pop(request["client"]))
        return {}

    async def _describe(self, request: dict[str, Any]) -> Any:
        found = await self._colour.result(self._store(request).describe_store())
        limits = {field.name: str(value) for field, value in found.limits.ListFields()}
        features = [service_pb2.Feature.Name(feature).removeprefix("FEATURE_") for feature in found.features]
        return {"features": features, "limits": limits, "server_version": found.server_version}

    # Single entries

    async def _get(self, request: dict[str, Any]) -> Any:
        store, key = self._store(request), Key(request["key"])
        if request.get("metadata"):
            entry = await self._colour.result(store.entry(key))
            return {} if entry is None else _found(entry.value, entry.metadata)
        return _found(await self._colour.result(store.get(key)))

    async def _put(self, request: dict[str, Any]) -> Any:
        return await self._make(request, _write_of({"put": request, **request}))

    async def _delete(self, request: dict[str, Any]) -> Any:
        await self._make(request, _write_of({"delete": request["key"], **request}))
        return {}

    async def _touch(self, request: dict[str, Any]) -> Any:
        return await self._make(request, _write_of({"touch": request["key"], **request}))

    async def _patch(self, request: dict[str, Any]) -> Any:
        wants_value = request.get("return_value", False)
        return await self._make(request, _write_of({"patch": request, **request}), value=wants_value)

    async def _make(self, request: dict[str, Any], operation: Operation, *, value: bool = False) -> Any:
        [result] = await self._colour.result(self._store(request).batch_write([operation]))
        if result.error is not None:
            raise result.error
        return _made(result) | ({"value": written(result.value)} if value and result.value is not None else {})

    async def _contains(self, request: dict[str, Any]) -> Any:
        return {"contains": await self._colour.result(self._store(request).contains(Key(request["key"])))}

    async def _update(self, request: dict[str, Any]) -> Any:
        field, added = request["add"]

        def increased(value: Any) -> Any:
            value = value or {}
            return {**value, field: value.get(field, 0) + int(added)}

        return {
            "value": written(await self._colour.result(self._store(request).update(Key(request["key"]), increased)))
        }

    # Batches

    async def _batch_get(self, request: dict[str, Any]) -> Any:
        options = ReadOptions(metadata=request.get("metadata", False))
        results = await self._colour.result(self._store(request).read([*map(Key, request["keys"])], options))
        return {
            "results": [
                _found(each.value, each.metadata) if each.error is None else {"error": reported(each.error)}
                for each in results
            ]
        }

    async def _batch_write(self, request: dict[str, Any]) -> Any:
        writes = [_write_of(write) for write in request["writes"]]
        atomic = request.get("atomic", False)
        results = await self._colour.result(self._store(request).batch_write(writes, atomic=atomic))
        return {"results": [_made(each) if each.error is None else {"error": reported(each.error)} for each in results]}

    async def _lone_gets(self, request: dict[str, Any]) -> Any:
        get = self._store(request).get
        results = await self._colour.together([lambda key=key: get(Key(key)) for key in request["keys"]])
        return {
            "results": [
                {"error": reported(each)} if isinstance(each, DatastoreError) else _found(each) for each in results
            ]
        }

    async def _write(self, request: dict[str, Any]) -> Any:
        value, prefix = b"x" * request["value_bytes"], request["prefix"]
        writes = [Put(Key(f"{prefix}/{number:08}"), value) for number in range(request["count"])]
        for result in await self._colour.result(self._store(request).batch_write(writes)):
            if result.error is not None:
                raise result.error
        return {}

    # Queries

    async def _open_query(self, request: dict[str, Any]) -> Any:
        query = query_of(request["query"])
        query.allow_partial = request.get("allow_partial", False)
        query.explain = request.get("explain", False)
        cursor = self._store(request).query(query)
        return {"cursor": self._hold(Reading(cursor, keys_only=query.keys_only))}

    async def _read(self, request: dict[str, Any]) -> Any:
        cursor = (await self._open_query(request))["cursor"]
        try:
            found = await self._next({"cursor": cursor, "count": sys.maxsize})
            return found if "summary" in found else await self._next({"cursor": cursor, "count": 1})
        finally:
            await self._leave({"cursor": cursor})

    async def _next(self, request: dict[str, Any]) -> Any:
        reading: Reading = self._held[request["cursor"]]
        entries: list[Any] = []
        if reading.error is not None:
            raise reading.error
        try:
            async for entry in self._some(reading.entries, request["count"]):
                entries.append(_entry(entry, keys_only=reading.keys_only))
        except DatastoreError as error:
            if not entries:
                raise
            reading.error = error
            return {"entries": entries}
        if len(entries) == request["count"]:
            return {"entries": entries}
        return {"entries": entries, "summary": _summary(reading.cursor.summary)}

    async def _some(self, iterator: Any, most: int) -> AsyncIterator[Any]:
        for _ in range(most):
            item = await self._colour.next(iterator)
            if item is END:
                return
            yield item

    async def _leave(self, request: dict[str, Any]) -> Any:
        held = self._held.pop(request.get("cursor", request.get("watch")))
        await self._colour.close(held.cursor if isinstance(held, Reading) else held)
        return {}

    async def _list_entries(self, request: dict[str, Any]) -> Any:
        query = query_of(request["query"])
        query.allow_partial = request.get("allow_partial", False)
        # A token of this client has the last entry in it.
        token = bytes.fromhex(request.get("page_token", ""))
        size = request.get("page_size", 100)
        page = await self._colour.result(self._store(request).list_entries(query, page_size=size, page_token=token))
        entries = [_entry(entry, keys_only=query.keys_only) for entry in page.entries]
        shown = {"entries": entries, "unreachable": [report.shard for report in page.unreachable]}
        return shown | ({"next_page_token": page.next_page_token.hex()} if page.next_page_token else {})

    async def _aggregate(self, request: dict[str, Any]) -> Any:
        named = {part["as"]: _aggregation(part) for part in request["aggregations"]}
        group_by = request.get("group_by", [])
        rows = await self._colour.result(
            self._store(request).aggregate(
                query_of(request["query"]),
                named,
                group_by=group_by,
                orders=request.get("orders", []),
                limit=request.get("limit"),
            )
        )
        return {
            "groups": [
                {
                    "group": [written(row[path]) for path in group_by],
                    "values": [written(row[name]) for name in named],
                }
                for row in rows
            ]
        }

    # Watches

    async def _open_watch(self, request: dict[str, Any]) -> Any:
        query = query_of(request["query"])
        token = bytes.fromhex(request["token"]) if "token" in request else None
        values, query.keys_only = not query.keys_only, False
        initial = request.get("initial", False)
        watcher = self._store(request).watch(query, values=values, initial=initial, resume_token=token)
        await self._colour.begin(watcher)
        return {"watch": self._hold(watcher)}

    async def _changes(self, request: dict[str, Any]) -> Any:
        watcher = self._held[request["watch"]]
        changes = [_change(change) async for change in self._some(watcher, request["count"])]
        return {"changes": changes, "token": watcher.token.hex(), "caught_up": watcher.caught_up}

    # Measurements

    async def _bench_query(self, request: dict[str, Any]) -> Any:
        began, entries = time.perf_counter(), 0
        async with self._opened(request) as opened:
            if request["through"] == "stub":
                query = query_pb2.Query(key=value_pb2.Key(text=request["key"]), scope=query_pb2.QUERY_SCOPE_RECURSIVE)
                answers = self._colour.iterator(opened.Query(service_pb2.QueryRequest(query=query)))
                async for answer in self._some(answers, sys.maxsize):
                    entries += len(answer.entries)
            else:
                cursor = opened.query(Query(Key(request["key"]), recursive=True))
                async for _ in self._some(cursor.entries(), sys.maxsize):
                    entries += 1
        return {"entries": str(entries), "seconds": time.perf_counter() - began}

    async def _bench_get(self, request: dict[str, Any]) -> Any:
        async with self._opened(request) as opened:
            if request["through"] == "stub":
                call = partial(opened.Get, service_pb2.GetRequest(key=value_pb2.Key(text=request["key"])))
            else:
                call = partial(opened.get, Key(request["key"]))
            await self._colour.repeat(call, request["in_flight"], request["in_flight"])
            began = time.perf_counter()
            await self._colour.repeat(call, request["calls"], request["in_flight"])
            return {"seconds": time.perf_counter() - began}

    @asynccontextmanager
    async def _opened(self, request: dict[str, Any]) -> AsyncIterator[Any]:
        """A stub, or a store."""
        if request["through"] == "stub":
            channel = self._colour.channel(request["address"])
            yield service_pb2_grpc.DatastoreServiceStub(channel)
            closing = channel.close()
            if closing is not None:
                await closing
        else:
            store = self._colour.connect(f"grpc://{request['address']}")
            yield store
            await self._colour.close(store)

    async def _memory(self, request: dict[str, Any]) -> Any:
        return {"rss_bytes": str(psutil.Process().memory_info().rss)}


_FILES = {"ca": "ca", "cert": "cert", "key_file": "key"}


# Requests


def query_of(request: dict[str, Any]) -> Query:
    """The query of a request."""
    query = Query(
        Key(request["key"]),
        request.get("limit"),
        request.get("offset", 0),
        recursive=request.get("recursive", False),
        keys_only=request.get("keys_only", False),
        fields=request.get("fields"),
        metadata=request.get("metadata", False),
    )
    for part in request.get("filters", ()):
        query.filter(_condition(part))
    for order in request.get("orders", ()):
        query.order(order)
    if (after := request.get("start_after")) is not None:
        key, value = Key(after["key"]), plain(after["value"]) if "value" in after else None
        query.start_after = Position(query.order_sort_key(key, value), key, value)
    return query


def _condition(part: Any) -> Condition:
    if isinstance(part, dict):
        [(joint, parts)] = part.items()
        return Tree(joint, [_condition(each) for each in ([parts] if joint == "not" else parts)])
    field, operator, value = part
    return Query(Key("/")).filter(field, operator.replace("not_in", "not in"), plain(value)).filters[0]


def _write_of(write: dict[str, Any]) -> Operation:
    condition = _precondition(write.get("condition"))
    expiry = _expiry(write.get("expiry"))
    if "delete" in write:
        return Delete(Key(write["delete"]), condition)
    if "touch" in write:
        return Patch(Key(write["touch"]), (), condition, expiry=expiry or NEVER)
    if "patch" in write:
        patch = write["patch"]
        changes = checked_changes([_field_change(change) for change in patch["changes"]])
        return Patch(Key(patch["key"]), changes, condition, create=patch.get("create", False), expiry=expiry)
    put = write["put"]
    return Put(Key(put["key"]), None, condition, expiry).of(plain(put["value"]))


def _field_change(change: list[Any]) -> FieldChange:
    kind, path, *operand = change
    return FieldChange(kind, path, *map(plain, operand))


def _precondition(condition: dict[str, Any] | None) -> Precondition | None:
    if condition is None:
        return None
    return Precondition(**{name: int(value) if name == "version" else value for name, value in condition.items()})


def _expiry(expiry: dict[str, str] | None) -> Expiry | None:
    if expiry is None:
        return None
    if "in_ms" in expiry:
        return Expiry.after(int(expiry["in_ms"]) / 1000)
    return Expiry.at(plain({"timestamp": expiry["at"]}))


def _aggregation(part: dict[str, str]) -> Aggregation:
    return FUNCTIONS[part["function"]](*([part["field"]] if "field" in part else []))


# Responses


def reported(error: Exception) -> dict[str, Any]:
    """An error as it is reported: its reason by its class, and the details that it has."""
    if not isinstance(error, DatastoreError):
        raise error
    details = {name: str(fact) for name in DETAILS if (fact := getattr(error, name, None)) not in (None, "")}
    if isinstance(error, UnavailableError) and error.retry_after_s is not None:
        details["retry_after_ms"] = str(round(error.retry_after_s * 1000))
    return {"reason": wire.reason_of(type(error)), "message": str(error), "details": details}


def _metadata(metadata: Metadata) -> dict[str, str]:
    times = {
        "create_time": metadata.create_time,
        "update_time": metadata.update_time,
        "expire_time": metadata.expire_time,
    }
    shown = {name: instant_us(time) for name, time in times.items() if time is not None}
    return {"version": str(metadata.version), **shown}


def _found(value: Any, metadata: Metadata | None = None) -> dict[str, Any]:
    if value is None:
        return {}
    return {"value": written(value)} | ({} if metadata is None else {"metadata": _metadata(metadata)})


def _made(result: WriteResult) -> dict[str, Any]:
    return {} if result.metadata is None else {"metadata": _metadata(result.metadata)}


def _entry(entry: Entry, *, keys_only: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {"key": str(entry.key)}
    if not keys_only:
        shown["value"] = written(entry.value)
    if isinstance(entry, StoredEntry):
        shown["metadata"] = _metadata(entry.metadata)
    return shown


def _change(change: Any) -> dict[str, Any]:
    entry = {"key": str(change.key), "metadata": {"version": str(change.version)}}
    if change.value is not None:
        entry["value"] = written(change.value)
    return {"kind": change.kind.name, "entry": entry}


def _summary(summary: Any) -> dict[str, Any]:
    unreachable = [report.shard for report in summary.shards if report.error is not None]
    shown = {"reason": summary.reason.name, "entries": str(summary.entries), "unreachable": unreachable}
    return shown | ({} if summary.explanation is None else {"explained": summary.explanation.kind})


async def main(colour: Any) -> None:
    """Answer every line."""
    with tempfile.TemporaryDirectory() as files:
        driver = Driver(colour, Path(files))
        try:
            for line in iter(sys.stdin.readline, ""):
                request = json.loads(line)
                response = await driver.answer(request)
                sys.stdout.write(json.dumps({"id": request["id"], **response}) + "\n")
                sys.stdout.flush()
        finally:
            await driver.end()


if __name__ == "__main__":
    asyncio.run(main(Tasks() if sys.argv[1] == "aio" else Threads()))
