"""Traces: a span for each call, sent to a collector by OTLP, if OpenTelemetry's environment variables say so.

A span continues the trace of its caller (W3C `traceparent`), and calls to other servers continue it. Without those
variables nothing is wrapped and nothing of OpenTelemetry is loaded. Knows served methods, but no stores.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from google.rpc import code_pb2, status_pb2

from datastore import __version__
from datastore.model.errors import ConfigError
from datastore_server.call import Answer, Call, Serve, ServedMethod
from datastore_server.calls import reason_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

__all__ = ["FLUSH_S", "Tracing", "tracing_of"]

_log = logging.getLogger("datastore.server")

#: How long a stopping server waits for the last spans to be sent, in seconds.
FLUSH_S = 5.0
#: The only protocol of those that the variables can name whose package is in the extra.
_PROTOCOL = "http/protobuf"
#: The codes of failures that are the server's, by OpenTelemetry's conventions for RPCs: the spans of these are errors.
_SERVER_FAULTS = frozenset(
    (
        code_pb2.UNKNOWN,
        code_pb2.DEADLINE_EXCEEDED,
        code_pb2.UNIMPLEMENTED,
        code_pb2.INTERNAL,
        code_pb2.UNAVAILABLE,
        code_pb2.DATA_LOSS,
    )
)


def tracing_of(environment: Mapping[str, str]) -> Tracing | None:
    """The traces that the variables of an environment ask for; None if they ask for none.

    That is, an endpoint (`OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`), or
    `OTEL_TRACES_EXPORTER=otlp`. The other variables are read by OpenTelemetry itself. Raises ConfigError for a value
    that is not supported, ImportError if the packages are not installed.
    """
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip()
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    is_off = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporter == "none"
    if is_off or not (exporter or any(map(environment.get, endpoints))):
        return None
    if exporter not in ("", "otlp"):
        raise ConfigError(f"OTEL_TRACES_EXPORTER={exporter} is not supported: say otlp, or none for no traces")
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if environment.get(name, _PROTOCOL) != _PROTOCOL:
            raise ConfigError(f"{name}={environment[name]} is not supported: say {_PROTOCOL}, or leave it out")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ImportError(
            "the environment asks for traces (OTEL_...), which need OpenTelemetry; in the checkout: pip install"
            " '.[traces]'"
        ) from error
    named = environment.get("OTEL_SERVICE_NAME") or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    described = {"service.version": __version__} | ({} if named else {"service.name": "datastore"})
    provider = TracerProvider(resource=Resource.create(described), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)


class Tracing:
    """Wraps methods so that each call has a span, and sends the spans in a separate thread."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("datastore", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def traced(self, methods: Iterable[ServedMethod]) -> list[ServedMethod]:
        """The methods with a span for each call."""
        return [self._traced(method) for method in methods]

    def _traced(self, method: ServedMethod) -> ServedMethod:
        answer_now = method.answer_now

        def answer_traced(request: bytes, call: Call) -> Answer:
            span = self._begin(method.path, call)
            answer = answer_now(request, call) if answer_now is not None else None
            if answer is not None:
                _end(span, answer)
            # Otherwise the call is served again, with another span; a span that is not ended is not sent.
            return answer

        return replace(
            method,
            serve=self._serve_traced(method.path, method.serve),
            answer_now=None if answer_now is None else answer_traced,
        )

    def _serve_traced(self, path: str, serve: Serve) -> Serve:
        async def serve_traced(request: bytes, call: Call) -> Answer:
            span = self._begin(path, call)
            try:
                answer = await serve(request, call)
            except asyncio.CancelledError:
                _end(span, status_pb2.Status(code=code_pb2.CANCELLED))
                raise
            _end(span, answer)
            return answer

        return serve_traced

    def _begin(self, path: str, call: Call) -> Span:
        from opentelemetry.trace import SpanKind, set_span_in_context

        service, _, method = path[1:].partition("/")
        span = self._tracer.start_span(
            f"{service}/{method}",
            self._propagator.extract(dict(call.forwarded())),
            SpanKind.SERVER,
            {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method},
        )
        continued: dict[str, str] = {}
        self._propagator.inject(continued, set_span_in_context(span))
        call.trace = tuple(continued.items())
        return span

    async def aclose(self) -> None:
        """Send the remaining spans, for at most FLUSH_S."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, FLUSH_S)
        if closing.is_alive():
            _log.warning("the last traces could not be sent within %g s", FLUSH_S)


def _end(span: Span, answer: Answer) -> None:
    from opentelemetry.trace import Status, StatusCode

    code = answer.code if isinstance(answer, status_pb2.Status) else code_pb2.OK
    known: dict[str, Any] = {"rpc.grpc.status_code": code}
    if isinstance(answer, status_pb2.Status):
        known["error.type"] = reason_of(answer)
        if code in _SERVER_FAULTS:
            span.set_status(Status(StatusCode.ERROR, known["error.type"]))
    span.set_attributes(known)
    span.end()
