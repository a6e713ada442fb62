"""Rights where more than one key is meant: batches, resume tokens and pages of others, streams that are under way."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from datastore.model.errors import PermissionDeniedError, UnauthenticatedError, UnavailableError
from datastore.model.key import Key
from datastore.v1 import query_pb2, service_pb2, service_pb2_grpc, value_pb2
from datastore.wire import encode_value, rpc_error_to_error, status_to_error
from datastore_client.reloading import reload_all
from datastore_server.auth.editing import edit, removed
from datastore_server.auth.rights import Right
from datastore_server.tokens import End, Token, encode_page_token, encode_token, query_hash
from tests.support.guarded import KEYS, Guarded, bearer
from tests.support.serving import entry

EVERYTHING = query_pb2.Query(scope=query_pb2.QUERY_SCOPE_RECURSIVE)
BELOW_A = query_pb2.Query(key=value_pb2.Key(text="/a"), scope=query_pb2.QUERY_SCOPE_RECURSIVE)
IN_A = {key for key in KEYS if key.startswith(("/a/", "/a:"))}
_Write = service_pb2.BatchWriteRequest.Write


@pytest.fixture
async def stub(guarded: Guarded) -> Any:
    """The service, of a store with entries. `metadata=` says who calls."""
    await guarded.fill()
    return service_pb2_grpc.DatastoreServiceStub(guarded.channel)


async def refusal(call: Any) -> Exception:
    """The error with which a call ends."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        if hasattr(call, "read"):
            while await call.read() is not grpc.aio.EOF:
                pass
        await call
    return rpc_error_to_error(caught.value)


def keys(*texts: str) -> list[value_pb2.Key]:
    return [value_pb2.Key(text=text) for text in texts]


async def test_each_item_of_a_batch_is_allowed_or_refused_by_itself(guarded: Guarded, stub: Any) -> None:
    guarded.grant([Right.READ, Right.WRITE], "/a")
    me = bearer(guarded.token)
    texts = ["/a", "/b", "/a/b", "/ab", "/a:none"]
    read = await stub.BatchGet(service_pb2.BatchGetRequest(keys=keys(*texts)), metadata=me)
    assert [result.HasField("value") for result in read.results] == [True, False, True, False, False]
    assert [result.HasField("status") for result in read.results] == [False, True, False, True, False]
    writes = [_Write(put=entry("/a/new", 1)), _Write(put=entry("/ab", 1)), _Write(delete=keys("/a")[0])]
    written = await stub.BatchWrite(service_pb2.BatchWriteRequest(writes=writes), metadata=me)
    assert [result.HasField("status") for result in written.results] == [False, True, True]
    errors = [status_to_error(result.status) for result in written.results[1:]]
    assert [(type(error), error.right) for error in errors] == [  # type: ignore[attr-defined]
        (PermissionDeniedError, "write"),
        (PermissionDeniedError, "delete"),
    ]
    assert {"/a/new", "/a"} <= set(await guarded.contents())


async def test_an_atomic_batch_with_one_refused_item_changes_nothing(guarded: Guarded, stub: Any) -> None:
    guarded.grant([Right.WRITE], "/a")
    before = await guarded.contents()
    writes = [_Write(put=entry("/a/new", 1)), _Write(put=entry("/b", 1))]
    request = service_pb2.BatchWriteRequest(writes=writes, atomic=True)
    written = await stub.BatchWrite(request, metadata=bearer(guarded.token))
    assert [status_to_error(result.status).__class__.__name__ for result in written.results] == [
        "BatchAbortedError",
        "PermissionDeniedError",
    ]
    assert await guarded.contents() == before


async def test_a_resume_token_of_another_gives_no_rights(guarded: Guarded, stub: Any) -> None:
    guarded.grant([Right.READ], "/")
    me = bearer(guarded.token)
    first = await stub.Query(service_pb2.QueryRequest(query=EVERYTHING), metadata=me).read()
    ended = Token(query_hash=query_hash(EVERYTHING.SerializeToString(deterministic=True)), end=End.EXHAUSTED)
    guarded.grant([Right.READ], "/a")
    for token in (first.resume_token, encode_token(ended)):
        request = service_pb2.QueryRequest(query=EVERYTHING, resume_token=token)
        assert isinstance(await refusal(stub.Query(request, metadata=me)), PermissionDeniedError)
    # With the own query it is not valid, and one that was forged for that only selects what the query does.
    request = service_pb2.QueryRequest(query=BELOW_A, resume_token=first.resume_token)
    assert "another query" in str(await refusal(stub.Query(request, metadata=me)))
    bound_to = query_hash(BELOW_A.SerializeToString(deterministic=True))
    for start in ("/", "/A", "/aa", "/b"):
        forged = encode_token(Token(query_hash=bound_to, key=start))
        call = stub.Query(service_pb2.QueryRequest(query=BELOW_A, resume_token=forged), metadata=me)
        assert {found.key.text async for message in call for found in message.entries} <= IN_A


async def test_a_page_token_of_another_gives_no_rights(guarded: Guarded, stub: Any) -> None:
    guarded.grant([Right.READ], "/")
    me = bearer(guarded.token)
    page = await stub.ListEntries(service_pb2.ListEntriesRequest(query=EVERYTHING, page_size=2), metadata=me)
    ended = Token(query_hash=query_hash(EVERYTHING.SerializeToString(deterministic=True)), end=End.LIMIT)
    guarded.grant([Right.READ], "/a")
    for token in (page.next_page_token, encode_page_token(ended)):
        request = service_pb2.ListEntriesRequest(query=EVERYTHING, page_token=token)
        assert isinstance(await refusal(stub.ListEntries(request, metadata=me)), PermissionDeniedError)
    request = service_pb2.ListEntriesRequest(query=BELOW_A, page_token=page.next_page_token)
    assert "another query" in str(await refusal(stub.ListEntries(request, metadata=me)))


async def test_the_token_of_a_watch_or_a_change_of_another_gives_no_rights(guarded: Guarded, stub: Any) -> None:
    guarded.grant([Right.ADMIN], "/")
    me = bearer(guarded.token)
    watch = stub.Watch(service_pb2.WatchRequest(query=EVERYTHING), metadata=me)
    watched = (await watch.read()).resume_token
    watch.cancel()
    change = stub.DeleteMatching(service_pb2.DeleteMatchingRequest(query=EVERYTHING), metadata=me)
    begun = (await change.read()).resume_token
    change.cancel()
    await guarded.fill()
    guarded.grant([Right.READ, Right.DELETE], "/a")
    before = await guarded.contents()
    request = service_pb2.WatchRequest(query=EVERYTHING, resume_token=watched)
    assert isinstance(await refusal(stub.Watch(request, metadata=me)), PermissionDeniedError)
    deletion = service_pb2.DeleteMatchingRequest(query=EVERYTHING, resume_token=begun)
    assert isinstance(await refusal(stub.DeleteMatching(deletion, metadata=me)), PermissionDeniedError)
    deletion = service_pb2.DeleteMatchingRequest(query=BELOW_A, resume_token=begun)
    assert "another change" in str(await refusal(stub.DeleteMatching(deletion, metadata=me)))
    assert await guarded.contents() == before
    request = service_pb2.WatchRequest(query=BELOW_A, resume_token=watched)
    assert "another key" in str(await refusal(stub.Watch(request, metadata=me)))


async def test_a_watch_whose_token_is_revoked_ends_and_continues_with_another_only(guarded: Guarded, stub: Any) -> None:
    guarded.grant([Right.READ], "/")
    other = guarded.other("other", [Right.READ], "/")
    watch = stub.Watch(service_pb2.WatchRequest(query=EVERYTHING), metadata=bearer(guarded.token))
    begun = (await watch.read()).resume_token
    edit(guarded.path, lambda text: removed(text, "probe", "tokens"))
    reload_all()
    await guarded.store.put(Key("/a/secret"), encode_value(1))
    end = await refusal(watch)
    assert isinstance(end, UnavailableError)
    assert end.retry_after_s
    request = service_pb2.WatchRequest(query=EVERYTHING, resume_token=begun)
    assert isinstance(await refusal(stub.Watch(request, metadata=bearer(guarded.token))), UnauthenticatedError)
    continued = stub.Watch(request, metadata=bearer(other))
    await continued.read()
    assert [one.key.text for one in (await continued.read()).changes] == ["/a/secret"]


async def test_a_watch_ends_when_its_rights_change_and_continues_only_within_them(guarded: Guarded, stub: Any) -> None:
    guarded.grant([Right.READ], "/")
    me = bearer(guarded.token)
    watches = [stub.Watch(service_pb2.WatchRequest(query=query), metadata=me) for query in (EVERYTHING, BELOW_A)]
    begun = [(await watch.read()).resume_token for watch in watches]
    guarded.grant([Right.READ], "/a")
    await guarded.store.put(Key("/a/new"), encode_value(1))
    for watch in watches:
        end = await refusal(watch)
        assert isinstance(end, UnavailableError)
        assert end.retry_after_s
    continued = [
        stub.Watch(service_pb2.WatchRequest(query=query, resume_token=token), metadata=me)
        for query, token in zip((EVERYTHING, BELOW_A), begun, strict=True)
    ]
    assert isinstance(await refusal(continued[0]), PermissionDeniedError)
    assert (await continued[1].read()).resume_token == begun[1]
    assert [one.key.text for one in (await continued[1].read()).changes] == ["/a/new"]


async def test_streams_of_others_go_on_when_the_file_changes(guarded: Guarded, stub: Any) -> None:
    guarded.grant([Right.READ], "/")
    watch = stub.Watch(service_pb2.WatchRequest(query=EVERYTHING), metadata=bearer(guarded.token))
    await watch.read()
    text = guarded.path.read_text()
    guarded.path.write_text(f"{text}\n[identity.other]\nread = ['/a']\n")
    reload_all()
    await guarded.store.put(Key("/a/new"), encode_value(1))
    assert [one.key.text for one in (await watch.read()).changes] == ["/a/new"]


async def test_equal_watches_of_callers_with_other_rights_share_nothing(guarded: Guarded, stub: Any) -> None:
    """Equal watches share one reader: a caller without the right to read must not join it."""
    guarded.grant([Right.READ], "/")
    me = bearer(guarded.token)
    watch = stub.Watch(service_pb2.WatchRequest(query=EVERYTHING), metadata=me)
    token = (await watch.read()).resume_token
    other = guarded.other("other", [Right.READ], "/a")
    for request in (
        service_pb2.WatchRequest(query=EVERYTHING),
        service_pb2.WatchRequest(query=EVERYTHING, resume_token=token),
    ):
        assert isinstance(await refusal(stub.Watch(request, metadata=bearer(other))), PermissionDeniedError)
    await guarded.store.put(Key("/b/new"), encode_value(1))
    assert [one.key.text for one in (await watch.read()).changes] == ["/b/new"]


async def test_describe_store_tells_of_contents_only_to_those_who_may_read_everything(
    guarded: Guarded, stub: Any
) -> None:
    me = bearer(guarded.token)
    guarded.grant([Right.READ, Right.WRITE, Right.DELETE], "/a")
    little = await stub.DescribeStore(service_pb2.DescribeStoreRequest(), metadata=me)
    for right in (Right.READ, Right.ADMIN):
        guarded.grant([right], "/")
        full = await stub.DescribeStore(service_pb2.DescribeStoreRequest(), metadata=me)
        assert (full.entries, full.store.kind) == (len(KEYS), "dict")
    told = {field.name for field, _ in little.ListFields()}
    features = {"durability", "push_down", "answers_queries", "features", "transport_security"}
    assert told == {"server_version", "limits", *features}
    assert (little.limits, little.features) == (full.limits, full.features)


async def test_an_explanation_shows_the_composition_only_to_those_who_may_read_everything(
    guarded: Guarded, stub: Any
) -> None:
    me = bearer(guarded.token)
    request = service_pb2.QueryRequest(query=BELOW_A, explain=True)
    guarded.grant([Right.READ], "/a")
    assert isinstance(await refusal(stub.Query(request, metadata=me)), PermissionDeniedError)
    guarded.grant([Right.READ], "/")
    messages = [message async for message in stub.Query(request, metadata=me)]
    assert messages[-1].summary.HasField("explanation")
