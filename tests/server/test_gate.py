"""Who is let in: tokens verified beside other calls, certificates, expiries, quotas, and a file that changes."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from datastore import Key, Query, aio
from datastore.model.errors import (
    ConfigError,
    OverloadedError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
)
from datastore.v1 import service_pb2, value_pb2
from datastore.wire import encode_value, rpc_error_to_error
from datastore_client import connect as connect_blocking
from datastore_client.aio import RemoteDatastore, connect
from datastore_client.reloading import reload_all
from datastore_client.tls import Credentials
from datastore_server.app import serve
from datastore_server.auth import verifying
from datastore_server.auth.access import Grant, Quota
from datastore_server.auth.editing import added, edit, removed
from datastore_server.auth.quotas import BURST_S, Meter
from datastore_server.auth.rights import Right, Rights
from datastore_server.auth.secrets import hash_of, new_token
from datastore_server.auth.verifying import WAITING_OF_ONE, Verifier
from datastore_server.config import AuthConfig, ClusterConfig, Config, ShardConfig
from datastore_server.store_urls import parse_store_url
from datastore_server.topology import build_node, build_proxy
from tests.support.certificates import write_files
from tests.support.clocks import Clock
from tests.support.guarded import Guarded, bearer
from tests.support.serving import Endless, Running, entry

GET = service_pb2.GetRequest(key=value_pb2.Key(text="/a"))
EVERYTHING = Rights(admin=("/",))


def wrong(name: str, number: int = 0) -> str:
    """A token that nobody has."""
    return f"dst_{name}.{number:043}"


async def refused(guarded: Guarded, token: str) -> Exception:
    """The error of a Get with this token."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await guarded.running.stub.Get(GET, metadata=bearer(token))
    return rpc_error_to_error(caught.value)


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The parameters and the threads of the hashes that are compared, with their results."""
    seen: list[tuple[str, str]] = []

    class Spied:
        def __new__(cls, **parameters: Any) -> Any:
            return Argon2id(**parameters)

        @staticmethod
        def verify_phc_encoded(material: bytes, encoded: str) -> None:
            seen.append((encoded.rsplit("$", 2)[0], threading.current_thread().name))
            Argon2id.verify_phc_encoded(material, encoded)

    monkeypatch.setattr("cryptography.hazmat.primitives.kdf.argon2.Argon2id", Spied)
    return seen


async def test_a_wrong_token_costs_the_same_whatever_is_stored(guarded: Guarded, verified: list[Any]) -> None:
    """One hash with the same parameters, in the same thread, for a token of a known name as for one of no name."""
    guarded.grant([], "/")
    for name in ("probe", "nobody"):
        verified.clear()
        assert isinstance(await refused(guarded, wrong(name)), UnauthenticatedError)
        assert verified == [("$argon2id$v=19$m=19456,t=2,p=1", "tokens_0")]


async def test_tokens_are_verified_once_right_or_wrong(guarded: Guarded, verified: list[Any]) -> None:
    guarded.grant([Right.READ], "/")
    for _ in range(5):
        await guarded.running.stub.Get(GET, metadata=bearer(guarded.token))
        assert isinstance(await refused(guarded, wrong("probe")), UnauthenticatedError)
    await asyncio.gather(*(guarded.running.stub.Get(GET, metadata=bearer(guarded.token)) for _ in range(50)))
    assert len(verified) == 2


async def test_a_token_that_was_wrong_is_right_once_the_file_has_it(guarded: Guarded) -> None:
    token = new_token("late")
    assert isinstance(await refused(guarded, token), UnauthenticatedError)
    grant = Grant("late", EVERYTHING, hash=hash_of(token))
    guarded.path.write_text(added(guarded.path.read_text(), grant, "tokens"))
    reload_all()
    await guarded.running.stub.Get(GET, metadata=bearer(token))


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Lets no token be verified before it is set."""
    released = threading.Event()

    def verify(_: str, hashed: str | None) -> bool:
        released.wait()
        return hashed is not None

    monkeypatch.setattr(verifying, "verify", verify)
    yield released
    released.set()


async def test_wrong_tokens_cannot_stop_callers_that_are_known(guarded: Guarded, blocked: threading.Event) -> None:
    guarded.grant([Right.READ, Right.WRITE], "/")
    me = bearer(guarded.token)
    verification = asyncio.ensure_future(guarded.running.stub.Get(GET, metadata=me))
    blocked.set()
    await verification
    blocked.clear()
    calls = [asyncio.ensure_future(refused(guarded, wrong("nobody", number))) for number in range(200)]
    done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    # Reads at once, in the thread that polls gRPC, and writes in the event loop.
    put = service_pb2.PutRequest(entry=entry("/a", 1))
    for _ in range(20):
        await guarded.running.stub.Get(GET, metadata=me)
        await guarded.running.stub.Put(put, metadata=me)
    assert {type(task.result()) for task in done} == {OverloadedError}
    blocked.set()
    errors = Counter([type(error) for error in await asyncio.gather(*calls)])
    assert errors == {OverloadedError: 200 - WAITING_OF_ONE, UnauthenticatedError: WAITING_OF_ONE}


async def test_tokens_of_many_addresses_are_verified_up_to_a_limit(blocked: threading.Event) -> None:
    verifier = Verifier()
    calls = [
        asyncio.ensure_future(verifier.verify(wrong("nobody", number), None, f"ipv4:127.0.0.{number}"))
        for number in range(verifying.WAITING + 1)
    ]
    (done,), _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    assert isinstance(done.exception(), OverloadedError)
    assert done.exception().retry_after_s == verifying.RETRY_AFTER_S  # type: ignore[union-attr]
    blocked.set()
    assert [await call for call in calls if call is not done] == [False] * verifying.WAITING
    verifier.close()


async def test_a_caller_that_leaves_does_not_end_the_verification_for_others(blocked: threading.Event) -> None:
    token = new_token("shared")
    hashed = hash_of(token)
    verifier = Verifier()
    first, second = (asyncio.ensure_future(verifier.verify(token, hashed, "ipv4:127.0.0.1")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    blocked.set()
    assert await second
    verifier.close()


async def test_an_expired_token_is_refused_and_ends_its_streams(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    monkeypatch.setattr("datastore_server.auth.callers.time.time", clock)
    token = new_token("brief")
    expires = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=10)
    grant = Grant("brief", EVERYTHING, hash=hash_of(token), expires=expires)
    guarded.path.write_text(added("", grant, "tokens"))
    reload_all()
    watch = guarded.running.stub.Watch(service_pb2.WatchRequest(query={"scope": 2}), metadata=bearer(token))
    await watch.read()
    clock.now += 9.9
    await guarded.running.stub.Get(GET, metadata=bearer(token))
    clock.now += 0.1
    assert "has expired" in str(await refused(guarded, token))
    await guarded.store.put(Key("/a"), encode_value(1))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await watch.read()
    # To be continued, with another token.
    ended = rpc_error_to_error(caught.value)
    assert isinstance(ended, UnavailableError)
    assert "has expired" in str(ended)


async def test_a_server_does_not_start_with_an_invalid_file_and_later_keeps_what_it_read(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    guarded.grant([Right.READ], "/")
    me = bearer(guarded.token)
    await guarded.running.stub.Get(GET, metadata=me)
    for text in ("[token.probe]\nread = ['/']", "[tokens]", "\x00", "[token.probe]\nhash = 'dst_probe.secret'"):
        guarded.path.write_text(text)
        with pytest.raises(ConfigError, match=r"tokens\.toml"):
            serve(aio.DictDatastore(), tokens=guarded.path)
        reload_all()
        await guarded.running.stub.Get(GET, metadata=me)
    assert "what was read before stays in force" in caplog.text
    assert "secret" not in caplog.text
    guarded.path.unlink()
    reload_all()
    await guarded.running.stub.Get(GET, metadata=me)


async def test_a_certificate_has_the_rights_of_its_first_name_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    token = new_token("shop")
    shop = added("", Grant("shop", Rights(read=("/shop",)), hash=hash_of(token)), "tokens")
    path.write_text(f"{shop}\n[identity.ada]\nwrite = ['/ada']\n")
    (tmp_path / "shop.token").write_text(token)
    files = write_files(tmp_path / "tls")
    async with serve(aio.DictDatastore(), tls=files.server(mutual=True), tokens=path) as server:
        shown = files.client(mutual=True)
        async with connect(server.url, **shown) as store:
            await store.put(Key("/ada/x"), 1)
            with pytest.raises(PermissionDeniedError, match="identity ada may not read /ada/x"):
                await store.get(Key("/ada/x"))
        # A token counts, not the certificate beside it.
        async with connect(server.url, **shown, token_file=tmp_path / "shop.token") as store:
            assert await store.get(Key("/shop/x")) is None
            with pytest.raises(PermissionDeniedError, match="token shop may not write /ada/x"):
                await store.put(Key("/ada/x"), 1)
        path.write_text(shop)
        reload_all()
        async with connect(server.url, **shown) as store:
            with pytest.raises(UnauthenticatedError):
                await store.put(Key("/ada/x"), 1)


# Quotas


async def test_calls_in_hand_of_a_caller_are_limited(start: Any, tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    path.touch()
    store = Endless(stop_after=0)
    guarded = Guarded(store, await start(store, tokens=path), path)  # type: ignore[arg-type]
    guarded.grant([Right.READ], "/", Quota(calls_in_hand=2))
    me = bearer(guarded.token)
    query = service_pb2.QueryRequest(query={"scope": 2})
    streams = [guarded.running.stub.Query(query, metadata=me) for _ in range(2)]
    reads = [asyncio.ensure_future(stream.read()) for stream in streams]
    await store.waiting.wait()
    contains = service_pb2.ContainsRequest(key=GET.key)
    while True:
        try:
            await guarded.running.stub.Contains(contains, metadata=me)
        except grpc.aio.AioRpcError as error:
            refusal = rpc_error_to_error(error)
            break
    assert isinstance(refusal, OverloadedError)
    assert refusal.retry_after_s
    assert "calls_in_hand" in str(refusal)
    other = guarded.other("other", [Right.READ], "/")
    await guarded.running.stub.Contains(contains, metadata=bearer(other))
    for stream, read in zip(streams, reads, strict=True):
        stream.cancel()
        await asyncio.gather(read, return_exceptions=True)


async def test_bytes_of_a_caller_are_limited_and_clients_wait(guarded: Guarded, tmp_path: Path) -> None:
    guarded.grant([Right.ADMIN], "/", Quota(bytes_per_s=10_000))
    (tmp_path / "token").write_text(guarded.token)
    url = guarded.running.server.url
    async with RemoteDatastore(url, retry=False, credentials=Credentials(token_file=tmp_path / "token")) as store:
        await store.put(Key("/large"), b"x" * 15_000)
        with pytest.raises(OverloadedError, match="bytes_per_s") as refused:
            await store.get(Key("/large"))
        assert 0 < (refused.value.retry_after_s or 0) <= 1
    async with connect(url, token_file=tmp_path / "token") as store:
        assert len(await store.get(Key("/large"))) == 15_000


async def test_a_stream_is_slowed_down_and_complete(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        await guarded.store.put(Key(f"/a/{number:02}"), encode_value(b"x" * 10_000))
    guarded.grant([Right.READ], "/", Quota(bytes_per_s=1_000_000))
    paused: list[float] = []
    count = Meter.count

    def counted(meter: Meter, used_bytes: int) -> float:
        paused.append(count(meter, used_bytes * 4))
        return paused[-1]

    monkeypatch.setattr(Meter, "count", counted)
    query = service_pb2.QueryRequest(query={"scope": 2})
    call = guarded.running.stub.Query(query, metadata=bearer(guarded.token))
    assert len([entry async for message in call for entry in message.entries]) == 30
    assert max(paused) > 0


def test_a_meter_pays_off_what_was_used_beyond_the_quota():
    clock = Clock(0.0)
    meter = Meter("token a", Quota(bytes_per_s=100), clock)
    assert meter.count(int(BURST_S * 100)) == 0
    assert meter.count(50) == 0.5
    clock.now = 0.25
    with pytest.raises(OverloadedError) as refused, meter.one_more():
        pass
    assert refused.value.retry_after_s == 0.25
    clock.now = 0.5
    with meter.one_more():
        assert meter.count(25) == 0.25
    clock.now = 1000.0
    assert meter.count(int(BURST_S * 100)) == 0
    assert meter.count(1) == pytest.approx(0.01)


# Clients


async def test_a_client_sends_the_token_that_its_file_has_now(guarded: Guarded, tmp_path: Path, colour: Any) -> None:
    guarded.grant([Right.ADMIN], "/")
    other = guarded.other("other", [Right.READ], "/a")
    path = tmp_path / "token"
    path.write_text(f"{guarded.token}\n")
    credentials = Credentials(token_file=path)
    store = colour.remote(guarded.running.server.url, credentials=credentials)
    await colour.call(store.put, Key("/a/b"), 1)
    await colour.call(store.put, Key("/b"), 1)
    assert len(await colour.read(store.query(Query(Key("/"), recursive=True)))) == 2
    path.write_text(other)
    reload_all()
    with pytest.raises(PermissionDeniedError, match="token other may not write /a/b"):
        await colour.call(store.put, Key("/a/b"), 2)
    assert len(await colour.read(store.query(Query(Key("/a"))))) == 1
    with pytest.raises(PermissionDeniedError):
        await colour.read(store.query(Query(Key("/"))))
    # Half written: the last one is sent.
    path.write_text("")
    reload_all()
    assert await colour.call(store.get, Key("/a/b")) == 1
    await colour.close(store)


@pytest.mark.parametrize("connect", [connect, connect_blocking])
@pytest.mark.parametrize("content", ["", " \n", "two tokens", "é", "a\nb", None])
def test_a_file_without_a_token_is_refused_without_its_content(connect: Any, content: str | None, tmp_path: Path):
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError) as refused:
        connect("grpc://127.0.0.1:1", token_file=path)
    assert str(path) in str(refused.value)
    assert not content or not content.strip() or content.strip() not in str(refused.value)


@pytest.mark.parametrize("host", ["10.0.0.1", "example.org", "[::2]", "128.0.0.1", "127.0.0.1.example.org", "0.0.0.0"])
def test_a_token_is_not_sent_unencrypted_to_another_machine(host: str, tmp_path: Path):
    path = tmp_path / "token"
    path.write_text("token")
    with pytest.raises(ConfigError, match="without encryption"):
        connect(f"grpc://{host}:1", token_file=path)
    with pytest.raises(ConfigError, match="without encryption"):
        RemoteDatastore(f"grpc://{host}:1", credentials=Credentials(token_file=path))
    connect(f"grpc://{host}:1", token_file=path, insecure=True)
    connect(f"grpcs://{host}:1", token_file=path)
    for here in ("127.0.0.1", "127.1.2.3", "localhost", "[::1]"):
        connect(f"grpc://{here}:1", token_file=path)


# Proxies


class Proxied(NamedTuple):
    """A proxy of two nodes, and the tokens with which it is called and calls them."""

    running: Running
    client_token: str
    proxy_token: str
    nodes: Path


@pytest.fixture
async def proxied(start: Any, tmp_path: Path) -> Proxied:
    nodes, clients = tmp_path / "nodes.toml", tmp_path / "clients.toml"
    proxy_token, client_token = new_token("proxy"), new_token("client")
    rights = Rights(read=("/a",), write=("/a",))
    nodes.write_text(added("", Grant("proxy", EVERYTHING, hash=hash_of(proxy_token)), "nodes"))
    clients.write_text(added("", Grant("client", rights, hash=hash_of(client_token)), "clients"))
    (tmp_path / "proxy.token").write_text(proxy_token)
    shards = []
    for name in ("one", "two"):
        node = build_node(parse_store_url("memory:"), cluster="test", shard=name)
        running = await start(node.datastore, cluster=node.cluster, system=node.system, tokens=nodes)
        shards.append(ShardConfig(name=name, url=running.server.url))
    config = Config(
        cluster=ClusterConfig(name="test"),
        shards=shards,
        auth=AuthConfig(token_file=str(tmp_path / "proxy.token")),
    )
    topology = build_proxy(config)
    proxy = await start(topology.datastore, tokens=clients, **topology.settings())
    return Proxied(proxy, client_token, proxy_token, nodes)


async def test_a_proxy_checks_its_callers_and_calls_its_nodes_with_its_own_token(proxied: Proxied) -> None:
    proxy, client_token = proxied.running, proxied.client_token
    await proxy.stub.Get(GET, metadata=bearer(client_token))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await proxy.stub.Get(GET, metadata=bearer(proxied.proxy_token))
    assert isinstance(rpc_error_to_error(caught.value), UnauthenticatedError)
    # It is the proxy that its nodes do not know any more, and not the caller.
    proxied.nodes.write_text("")
    reload_all()
    errors = set()
    for number in range(20):
        request = service_pb2.GetRequest(key=value_pb2.Key(text=f"/a/{number}"))
        try:
            await proxy.stub.Get(request, metadata=bearer(client_token))
        except grpc.aio.AioRpcError as error:
            errors.add(type(rpc_error_to_error(error)))
    assert errors == {UnavailableError}


async def test_a_watch_outlives_the_token_of_its_proxy_if_there_is_another(proxied: Proxied, tmp_path: Path) -> None:
    (tmp_path / "client.token").write_text(proxied.client_token)
    other = new_token("other")
    edit(proxied.nodes, lambda text: added(text, Grant("other", EVERYTHING, hash=hash_of(other)), "nodes"))
    async with connect(proxied.running.server.url, token_file=tmp_path / "client.token") as store:
        await store.put(Key("/a/0"), 0)
        async with store.watch(Query(Key("/a")), initial=True) as changes:
            assert (await anext(changes)).key == Key("/a/0")
            (tmp_path / "proxy.token").write_text(other)
            edit(proxied.nodes, lambda text: removed(text, "proxy", "nodes"))
            reload_all()
            for number in range(20):
                await store.put(Key(f"/a/{number}"), 1)
            assert {(await anext(changes)).key for _ in range(20)} == {Key(f"/a/{number}") for number in range(20)}


async def test_a_watch_does_not_blame_its_caller_if_the_nodes_refuse_its_proxy(proxied: Proxied) -> None:
    request = service_pb2.WatchRequest(query={"key": {"text": "/a"}, "scope": 2})
    watch = proxied.running.stub.Watch(request, metadata=bearer(proxied.client_token))
    await watch.read()
    proxied.nodes.write_text("")
    reload_all()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        while await watch.read() is not grpc.aio.EOF:
            pass
    error = rpc_error_to_error(caught.value)
    assert isinstance(error, UnavailableError)
    assert "refuses this proxy" in str(error)


# Secrets


async def test_no_secret_is_logged_or_answered(guarded: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    guarded.grant([Right.READ], "/a")
    texts = [
        str(await refused(guarded, token))
        for token in (guarded.token[:-1], guarded.token + "x", guarded.token.replace("probe", "other"), wrong("probe"))
    ]
    request = service_pb2.PutRequest(entry={"key": GET.key, "value": {"string_value": "confidential"}})
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await guarded.running.stub.Put(request, metadata=bearer(guarded.token))
    said = " ".join([caplog.text, *texts, str(caught.value), guarded.path.read_text(), repr(Credentials())])
    secret = guarded.token.rpartition(".")[2]
    assert [part for part in (secret, secret[:-1], "confidential", f"{0:043}") if part in said] == []
