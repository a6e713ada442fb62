"""The matrix of rights: every RPC, with every right, below several prefixes, for keys that try to escape.

Requests are sent as bytes, and the store is looked at itself, beside the server: what counts is what was read and
written, and not only what the answers say.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from datastore.engine.placement import SLOTS
from datastore.model.errors import InvalidKeyError
from datastore.model.key import Key
from datastore.v1 import maintenance_pb2, placement_pb2, query_pb2, service_pb2, value_pb2
from datastore_server.auth.rights import Right
from tests.support.guarded import KEYS, METHODS, SERVICES, Answer, Guarded, bearer
from tests.support.serving import entry, value

READ, WRITE, DELETE, ADMIN = Right.READ, Right.WRITE, Right.DELETE, Right.ADMIN

#: What is asked for: keys below the prefixes and beside them, and spellings that could be taken for those below.
SHAPES = [
    *("/", "/a", "/ab", "/a:", "/a:b", "/a:bc", "/a/b", "/a/bc", "/a/b/c", "/a:b/c", "/A", "/b", "/b/a", "/aa/b"),
    *("//a", "/a/", "a", "//a//b", "/a//", "/b//a", "/a:b//c", "///"),
    *("/a/..", "/a/../b", "/./a", "/a/.", "/..", "/a/%2e%2e/b", "/%61", "\\a", "/a\\b", "/a;b"),
    # A Cyrillic letter, a fullwidth slash and colon, a combining accent, a zero-width space and joiner.
    *("/\u0430", "\uff0fa", "/a\uff1ab", "/a\u0301", "/\u00e1", "/a\u200b", "/a\u200d/b", "/\ufeffa", "/a\u2215b"),
    *("/a ", "/ a", "/a\n", "/a\x00", "/a\x00/../b", ""),
]
PREFIXES = ["/", "/a", "/a:b", "/a/b", "/b"]


def may(rights: Iterable[Right], prefix: str, right: Right, text: str) -> bool:
    """Whether rights below a prefix include `right` for a key and all that is below it. Written again, part by part."""
    if right not in rights and ADMIN not in rights:
        return False
    wanted, given = ([part for part in one.split("/") if part] for one in (text, prefix))
    if not given:
        return True
    depth = len(given) - 1
    if len(wanted) <= depth or wanted[:depth] != given[:depth]:
        return False
    return wanted[depth] == given[depth] or wanted[depth].startswith(f"{given[depth]}:")


class Row(NamedTuple):
    """A request about a key, and the rights that it needs for that."""

    request: Callable[[str], Message]
    needs: tuple[Right, ...]
    #: Whether it is about the whole server, and has no key.
    is_of_server: bool = False


def _key(text: str) -> value_pb2.Key:
    return value_pb2.Key(text=text)


def _query(text: str, *, recursive: bool = False) -> query_pb2.Query:
    scope = query_pb2.QUERY_SCOPE_RECURSIVE if recursive else query_pb2.QUERY_SCOPE_COLLECTION
    return query_pb2.Query(key=_key(text), scope=scope)


_CHANGE = value_pb2.FieldChange(field_path="n", increment=value(1))
_EXISTS = value_pb2.Precondition(exists=True)
_Write = service_pb2.BatchWriteRequest.Write


def _writes(**write: Any) -> service_pb2.BatchWriteRequest:
    return service_pb2.BatchWriteRequest(writes=[_Write(**write)])


def _patch(text: str) -> value_pb2.Patch:
    return value_pb2.Patch(key=_key(text), changes=[_CHANGE])


#: By method: its requests. A method without any fails `test_every_rpc_has_a_row`.
ROWS: dict[str, list[Row]] = {
    "Get": [Row(lambda text: service_pb2.GetRequest(key=_key(text), include_metadata=True), (READ,))],
    "Contains": [Row(lambda text: service_pb2.ContainsRequest(key=_key(text)), (READ,))],
    "BatchGet": [Row(lambda text: service_pb2.BatchGetRequest(keys=[_key(text), _key(text)]), (READ,))],
    "Put": [
        Row(lambda text: service_pb2.PutRequest(entry=entry(text, "new")), (WRITE,)),
        Row(lambda text: service_pb2.PutRequest(entry=entry(text, None)), (DELETE,)),
        Row(lambda text: service_pb2.PutRequest(entry=entry(text, "new"), condition=_EXISTS), (WRITE, READ)),
    ],
    "Delete": [
        Row(lambda text: service_pb2.DeleteRequest(key=_key(text)), (DELETE,)),
        Row(lambda text: service_pb2.DeleteRequest(key=_key(text), condition=_EXISTS), (DELETE, READ)),
    ],
    "Patch": [Row(lambda text: service_pb2.PatchRequest(patch=_patch(text), include_value=True), (WRITE, READ))],
    "Touch": [Row(lambda text: service_pb2.TouchRequest(key=_key(text)), (WRITE, READ))],
    "BatchWrite": [
        Row(lambda text: _writes(put=entry(text, "new")), (WRITE,)),
        Row(lambda text: _writes(delete=_key(text)), (DELETE,)),
        Row(lambda text: _writes(patch=_patch(text)), (WRITE, READ)),
        Row(lambda text: _writes(touch=_key(text)), (WRITE, READ)),
        Row(lambda text: _writes(put=entry(text, "new"), condition=_EXISTS), (WRITE, READ)),
    ],
    "Query": [
        Row(lambda text: service_pb2.QueryRequest(query=_query(text)), (READ,)),
        Row(lambda text: service_pb2.QueryRequest(query=_query(text, recursive=True)), (READ,)),
    ],
    "ListEntries": [Row(lambda text: service_pb2.ListEntriesRequest(query=_query(text, recursive=True)), (READ,))],
    "Aggregate": [
        Row(
            lambda text: service_pb2.AggregateRequest(
                query=_query(text, recursive=True),
                aggregations=[service_pb2.Aggregation(name="last", function="FUNCTION_MAX", field_path="marker")],
            ),
            (READ,),
        )
    ],
    "Watch": [Row(lambda text: service_pb2.WatchRequest(query=_query(text, recursive=True), initial=True), (READ,))],
    "DeleteMatching": [
        Row(lambda text: service_pb2.DeleteMatchingRequest(query=_query(text, recursive=True)), (DELETE, READ))
    ],
    "PatchMatching": [
        Row(
            lambda text: service_pb2.PatchMatchingRequest(query=_query(text, recursive=True), changes=[_CHANGE]),
            (WRITE, READ),
        )
    ],
    "DescribeStore": [Row(lambda _: service_pb2.DescribeStoreRequest(), (), is_of_server=True)],
    # Requests that say which slots, or that are refused for something else once the caller is allowed to make them.
    **{
        method.name: [Row(lambda _, method=method: _placement_request(method.name), (ADMIN,), is_of_server=True)]
        for method in placement_pb2.DESCRIPTOR.services_by_name["PlacementService"].methods
    },
    **{
        method.name: [Row(lambda _, method=method: GetMessageClass(method.input_type)(), (ADMIN,), is_of_server=True)]
        for method in maintenance_pb2.DESCRIPTOR.services_by_name["MaintenanceService"].methods
    },
}


def _placement_request(name: str) -> Message:
    fields: dict[str, dict[str, Any]] = {
        "SummarizeSlots": {"shard_by": "SHARD_BY_KEY"},
        "ReadSlots": {"shard_by": "SHARD_BY_KEY", "slots": range(SLOTS)},
        "WriteSlots": {"epoch": 1, "entries": [entry("/b", "moved")]},
        "ClearSlots": {"epoch": 1},
        "GetRecord": {"name": "record"},
        "PutRecord": {"record": placement_pb2.Record(name="record", revision=1, data=b"content")},
    }
    request: Message = getattr(placement_pb2, f"{name}Request")(**fields.get(name, {}))
    return request


async def test_every_rpc_that_is_served_has_a_row(guarded: Guarded) -> None:
    """Those of health and reflection are for everyone."""
    stub = reflection_pb2_grpc.ServerReflectionStub(guarded.channel)
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    served = {
        service.name
        async for answer in stub.ServerReflectionInfo(iter([question]))
        for service in answer.list_services_response.service
    }
    assert {name for name in served if not name.startswith("grpc.")} == {service.full_name for service in SERVICES}
    assert set(ROWS) == set(METHODS)
    health = health_pb2_grpc.HealthStub(guarded.channel)
    assert (await health.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", ""),),
        (("authorization", "Bearer "),),
        (("authorization", "Bearer dst_probe."),),
        (("authorization", "Basic cHJvYmU6cHJvYmU="),),
        bearer("dst_probe." + "A" * 43),
        bearer("dst_nobody." + "A" * 43),
        bearer("A" * 4000),
        (("token", "probe"), ("x-authorization", "Bearer probe")),
    ],
    ids=lambda metadata: str(metadata)[:50],
)
async def test_nobody_else_is_served(guarded: Guarded, metadata: Any) -> None:
    before = await guarded.fill()
    guarded.grant(list(Right), "/")
    for method, rows in ROWS.items():
        for row in rows:
            answer = await guarded.ask(method, row.request("/a"), metadata)
            assert (answer.data, answer.reasons) == (b"", {"UNAUTHENTICATED"}), method
    assert await guarded.contents() == before


ALL_RIGHTS = [rights for size in range(5) for rights in itertools.combinations(Right, size)]
#: A right below a prefix that the others leave out.
QUICK = [((), "/"), ((READ,), "/a"), ((WRITE,), "/a:b"), ((DELETE,), "/a/b"), ((ADMIN,), "/a"), ((WRITE, READ), "/a")]


@pytest.mark.parametrize(
    ("rights", "prefix"),
    [
        *QUICK,
        *(
            pytest.param(rights, prefix, marks=pytest.mark.long("the other rights below the other prefixes"))
            for rights, prefix in itertools.product(ALL_RIGHTS, PREFIXES)
            if (rights, prefix) not in QUICK
        ),
    ],
    ids=lambda given: given if isinstance(given, str) else "+".join(given) or "none",
)
async def test_nobody_reads_or_writes_beyond_its_rights(
    guarded: Guarded, rights: tuple[Right, ...], prefix: str
) -> None:
    before = await guarded.fill()
    guarded.grant(rights, prefix)
    readable = {text for text in KEYS if may(rights, prefix, READ, text)}

    async def check(method: str, row: Row, text: str, *, is_allowed: bool) -> None:
        answer = await guarded.ask(method, row.request(text))
        assert _is_as_expected(answer, text, is_allowed=is_allowed), (method, text, answer)
        assert _markers(answer.data + answer.texts.encode()) <= readable, (method, text)

    for method, rows in ROWS.items():
        for row in rows:
            texts: dict[bool, list[str]] = {False: [], True: []}
            for text in ["/"] if row.is_of_server else SHAPES:
                texts[all(may(rights, prefix, right, text) for right in row.needs)].append(text)
            await asyncio.gather(*(check(method, row, text, is_allowed=False) for text in texts[False]))
            assert await guarded.contents() == before, method
            for text in texts[True]:
                await check(method, row, text, is_allowed=True)
                after = await guarded.contents()
                changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
                for key in changed:
                    assert may(rights, prefix, WRITE if key in after else DELETE, key), (method, text, key)
                if changed:
                    assert await guarded.fill() == before


def _is_as_expected(answer: Answer, text: str, *, is_allowed: bool) -> bool:
    try:
        Key(text)
    except InvalidKeyError:
        return answer.reasons == {"INVALID_KEY"}
    return ("PERMISSION_DENIED" in answer.reasons) is not is_allowed and (is_allowed or len(answer.reasons) == 1)


def _markers(data: bytes) -> set[str]:
    """The keys whose values are in an answer."""
    return {KEYS[int(place)] for place in re.findall(rb"marker-(\d\d)", data)}
