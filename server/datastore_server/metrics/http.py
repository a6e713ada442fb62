"""The HTTP port of a server: `/metrics` for Prometheus, `/healthz` and `/readyz` for supervisors without gRPC probes.

Serves in separate threads, and asks the event loop for every answer, so an answer shows that the loop runs. Knows
samples, but not where they come from.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from itertools import accumulate
from socketserver import ThreadingMixIn
from typing import Any, TypeVar
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from datastore.model.errors import ConfigError
from datastore.model.histogram import Histogram
from datastore_client.tls import TlsFiles
from datastore_server.config import Address
from datastore_server.metrics.definitions import METRICS
from datastore_server.metrics.samples import Sample

__all__ = ["ANSWER_S", "CONNECTIONS", "HttpPort"]

_log = logging.getLogger("datastore.server")

#: How long the event loop may take to answer, in seconds. A proxy asks its shards meanwhile, for at most one.
ANSWER_S = 5.0
#: How many connections are served at once; more are closed. Each has a thread.
CONNECTIONS = 32
#: How long a connection may take to send its request, and to take the answer, in seconds.
CONNECTION_S = 10.0
#: How often the thread that accepts connections checks whether it should stop, in seconds.
_POLL_S = 0.05

_T = TypeVar("_T")
_FAMILIES = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}


class HttpPort:
    """Serves at one address from `start` to `stop`, for the running event loop.

    `collect` returns all samples. `why_not_ready` returns why the server should get no calls now; empty if it should.
    """

    def __init__(
        self, collect: Callable[[], Awaitable[Iterable[Sample]]], why_not_ready: Callable[[], Awaitable[str]]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._why_not_ready = why_not_ready
        registry = CollectorRegistry()
        registry.register(_Samples(lambda: self._ask(collect)))
        ProcessCollector(registry=registry)
        self._metrics = make_wsgi_app(registry)
        self._server: _Server | None = None

    def start(self, address: Address, tls: TlsFiles | None = None) -> Address:
        """Listen at an address, whose host is a number; with `tls`, by HTTPS. Returns it with the actual port.

        Raises ConfigError, with the address, if that fails.
        """
        try:
            self._server = _Server(address, self._answer, None if tls is None else _Contexts(tls))
        except OSError as error:
            raise ConfigError(f"cannot listen on {address} for metrics: {error.strerror or error}") from error
        threading.Thread(target=self._server.serve_forever, args=(_POLL_S,), name="http", daemon=True).start()
        return Address(address.host, self._server.server_port)

    async def stop(self) -> None:
        """Stop listening. May be repeated."""
        server, self._server = self._server, None
        if server is not None:
            await asyncio.to_thread(server.shutdown)
            server.server_close()

    # In the threads of connections

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        answers: dict[str, Callable[[], str]] = {"/healthz": self._health, "/readyz": self._readiness}
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        try:
            if path == "/metrics":
                answer: Iterable[bytes] = self._metrics(environ, start_response)
                return answer
            if path not in answers:
                return _text(start_response, "404 Not Found", "here are /metrics, /healthz and /readyz", method)
            if method not in ("GET", "HEAD"):
                return _text(start_response, "405 Method Not Allowed", "use GET", method)
            problem = answers[path]()
        except TimeoutError:
            problem = f"no answer within {ANSWER_S:g} s: the server is too busy"
        except Exception:  # noqa: BLE001 - the caller must get an answer in any case
            _log.exception("%s failed", path)
            problem = "unexpected error; see the server's log"
        return _text(start_response, "503 Service Unavailable" if problem else "200 OK", problem or "ok", method)

    def _health(self) -> str:
        self._ask(partial(asyncio.sleep, 0))
        return ""

    def _readiness(self) -> str:
        return self._ask(self._why_not_ready)

    def _ask(self, question: Callable[[], Awaitable[_T]]) -> _T:
        """What the event loop answers. Raises TimeoutError if it does not."""

        async def answered() -> _T:
            return await question()

        asked: Future[_T] = asyncio.run_coroutine_threadsafe(answered(), self._loop)
        try:
            return asked.result(ANSWER_S)
        except TimeoutError:
            asked.cancel()
            raise


def _text(start_response: StartResponse, status: str, text: str, method: str) -> list[bytes]:
    body = f"{text}\n".encode()
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [] if method == "HEAD" else [body]


class _Server(ThreadingMixIn, WSGIServer):
    """A WSGI server with a thread for each of its connections, which do not outlive the process."""

    daemon_threads = True

    def __init__(self, address: Address, app: Any, contexts: _Contexts | None) -> None:
        self._contexts = contexts
        self.address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__((address.host, address.port), _Handler)
        self.set_app(app)

    def server_bind(self) -> None:
        """Bind. Does not look up the name of the host, as the standard library does, which can take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = self.socket.getsockname()[:2]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection, or close it if there are too many."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection in its thread."""
        try:
            if self._contexts is not None:
                request.settimeout(CONNECTION_S)
                request = self._contexts.current().wrap_socket(request, server_side=True)
            super().process_request_thread(request, client_address)
        except OSError:
            self.handle_error(request, client_address)
            self.shutdown_request(request)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection ended in the middle, or timed out."""
        _log.debug("a connection to the port of metrics failed", exc_info=True)


class _Contexts:
    """The TLS contexts of connections, with the certificate in the files. Clients need no certificate."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._context, self._pem = self._new(), files.current()

    def current(self) -> ssl.SSLContext:
        """The context for a new connection; another one when the files have changed and are valid."""
        with self._lock:
            pem = self._files.current()
            if pem is not self._pem:
                self._context, self._pem = self._new(), pem
            return self._context

    def _new(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._files.load_into(context)
        return context


class _Handler(WSGIRequestHandler):
    timeout = CONNECTION_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the library
        _log.debug("metrics: " + format, *args)


class _Samples(Collector):
    """The samples as the library's families, in the order of their definitions."""

    def __init__(self, collect: Callable[[], Iterable[Sample]]) -> None:
        self._collect = collect

    def collect(self) -> Iterator[Metric]:
        """All metrics that have a value."""
        found: dict[str, list[Sample]] = {name: [] for name in METRICS}
        for sample in self._collect():
            found[sample.name].append(sample)
        for name, given in found.items():
            if given:
                yield _family(name, given)


def _family(name: str, given: Iterable[Sample]) -> Metric:
    defined = METRICS[name]
    family: Any = _FAMILIES[defined.kind](name.removesuffix("_total"), defined.help, labels=defined.labels)
    for sample in given:
        if isinstance(sample.value, Histogram):
            bounds = [*map(floatToGoString, sample.value.bounds), "+Inf"]
            buckets = list(zip(bounds, accumulate(sample.value.counts), strict=True))
            family.add_metric(sample.labels, buckets, sample.value.total)
        else:
            family.add_metric(sample.labels, sample.value)
    metric: Metric = family
    return metric
