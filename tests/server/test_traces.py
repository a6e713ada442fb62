"""Traces: a span for each call, which continues its caller's trace through proxies, at a real collector."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import pytest

from datastore import aio
from datastore.model.errors import ConditionFailedError, ConfigError, InternalError
from datastore.model.forwarding import set_forwarded
from datastore.model.key import Key
from datastore.model.query import Query
from datastore_client.aio import connect
from datastore_server.app import serve
from datastore_server.tracing import Tracing, tracing_of
from tests.support.clusters import proxy
from tests.support.collector import Collector, Span, collector
from tests.support.commands import COMMAND, server_process
from tests.support.serving import Failing

SERVICE = "datastore.v1.DatastoreService"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@pytest.fixture
def collected() -> Iterator[Collector]:
    with collector() as found:
        yield found


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


def tracing(collected: Collector, monkeypatch: pytest.MonkeyPatch, service: str = "") -> Tracing:
    """The traces of a server whose environment names the collector."""
    environment = collected.environment(service)
    for name, value in environment.items():
        # Read by OpenTelemetry.
        monkeypatch.setenv(name, value)
    found = tracing_of(environment)
    assert found is not None
    return found


def by_method(spans: list[Span]) -> dict[str, Span]:
    return {span.name.removeprefix(f"{SERVICE}/"): span for span in spans}


async def test_each_call_is_a_span_with_its_method_and_outcome(
    collected: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced = tracing(collected, monkeypatch)
    async with serve(Failing(), tracing=traced) as server, connect(server.url) as remote:
        await remote.put(Key("/secret:1"), "secret")
        with suppress(ConditionFailedError):
            await remote.delete(Key("/secret:1"), if_version=7)
        with suppress(InternalError):
            await remote.get(Key("/secret:1"))
        assert [value async for value in remote.query(Query(Key("/secret")))] == ["secret"]
    spans = by_method(collected.spans)
    # The server's end sends what is left.
    assert len(collected.spans) == 4
    assert {method: span.attributes["rpc.grpc.status_code"] for method, span in spans.items() if method != "Query"} == {
        "Put": 0,
        "Delete": 10,
        "Get": 13,
    }
    assert spans["Delete"].attributes["error.type"] == "CONDITION_FAILED"
    assert spans["Get"].attributes["error.type"] == "INTERNAL"
    # That a condition did not hold is not the server's fault.
    assert {method: span.is_error for method, span in spans.items()} == {
        "Put": False,
        "Delete": False,
        "Get": True,
        "Query": False,
    }
    assert {span.service for span in collected.spans} == {"datastore"}
    assert spans["Put"].attributes["rpc.system"] == "grpc"
    assert (spans["Put"].attributes["rpc.service"], spans["Put"].attributes["rpc.method"]) == (SERVICE, "Put")
    assert "secret" not in repr(collected.spans)
    assert "127.0.0.1" not in repr(collected.spans)


@pytest.mark.parametrize("read_at_once", [True, False])
async def test_a_call_that_is_answered_at_once_is_one_span(
    collected: Collector, monkeypatch: pytest.MonkeyPatch, read_at_once: bool
) -> None:
    class Shelf(aio.DictDatastore):
        @property
        def capability(self) -> Any:
            return super().capability._replace(reads_at_once=read_at_once)

    traced = tracing(collected, monkeypatch)
    async with serve(Shelf(), tracing=traced) as server, connect(server.url) as remote:
        await remote.get(Key("/a:1"))
    assert [span.name for span in collected.spans] == [f"{SERVICE}/Get"]


async def test_a_trace_continues_from_the_caller_through_a_proxy_to_the_node(
    collected: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = {name: tracing(collected, monkeypatch, name) for name in ("node", "proxy")}
    async with proxy(tracing=traces["proxy"], node_tracing=traces["node"]) as running, connect(running.url) as remote:
        set_forwarded(lambda: (("traceparent", f"00-{TRACE}-{PARENT}-01"), ("tracestate", "a=b")))
        await remote.put(Key("/a:1"), 1)
    ours = [span for span in collected.spans if span.trace_id == TRACE]
    (at_proxy,) = [span for span in ours if span.service == "proxy"]
    (at_node,) = [span for span in ours if span.service == "node"]
    assert at_proxy.parent_id == PARENT
    assert at_node.parent_id == at_proxy.span_id


async def test_a_proxy_without_traces_passes_the_trace_on(
    collected: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        proxy(node_tracing=tracing(collected, monkeypatch)) as running,
        connect(running.url) as remote,
    ):
        set_forwarded(lambda: (("traceparent", f"00-{TRACE}-{PARENT}-01"),))
        await remote.put(Key("/a:1"), 1)
    (at_node,) = [span for span in collected.spans if span.trace_id == TRACE]
    assert at_node.parent_id == PARENT


async def test_a_caller_that_does_not_sample_is_not_traced(
    collected: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced = tracing(collected, monkeypatch)
    async with serve(aio.DictDatastore(), tracing=traced) as server, connect(server.url) as remote:
        set_forwarded(lambda: (("traceparent", f"00-{TRACE}-{PARENT}-00"),))
        await remote.put(Key("/a:1"), 1)
    assert collected.spans == []


async def test_a_malformed_trace_begins_a_new_one(collected: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    traced = tracing(collected, monkeypatch)
    async with serve(aio.DictDatastore(), tracing=traced) as server, connect(server.url) as remote:
        set_forwarded(lambda: (("traceparent", "00-nothing"),))
        await remote.put(Key("/a:1"), 1)
    (span,) = collected.spans
    assert (span.parent_id, span.trace_id == TRACE) == ("", False)


@pytest.mark.parametrize(
    ("environment", "is_on"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "a"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, False),
    ],
)
async def test_the_environment_turns_traces_on(environment: Mapping[str, str], is_on: bool) -> None:
    found = tracing_of(environment)
    assert (found is not None) == is_on
    if found is not None:
        await found.aclose()


@pytest.mark.parametrize(
    ("environment", "reported"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER=zipkin is not supported: say otlp, or none"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL=grpc is not supported: say http/protobuf",
        ),
    ],
)
def test_what_is_not_supported_is_refused_by_its_name(environment: Mapping[str, str], reported: str) -> None:
    with pytest.raises(ConfigError, match=reported):
        tracing_of(environment)


def test_a_server_without_opentelemetry_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ImportError, match=r"need OpenTelemetry; in the checkout: pip install '\.\[traces\]'"):
        tracing_of({"OTEL_TRACES_EXPORTER": "otlp"})


def test_the_command_reads_the_environment(collected: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in collected.environment("shelf").items():
        monkeypatch.setenv(name, value)
    with server_process("serve", "memory:", "--listen", "127.0.0.1:0") as ready:
        subprocess.run([*COMMAND, "--server", ready["url"], "put", "/a:1", "1"], check=True)
    assert [(span.service, span.name) for span in collected.spans] == [("shelf", f"{SERVICE}/Put")]


def test_without_traces_nothing_of_opentelemetry_is_loaded() -> None:
    code = "import datastore_server.cli.serving, sys; print([name for name in sys.modules if 'opentelemetry' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
