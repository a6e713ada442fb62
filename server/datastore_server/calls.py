"""What a server records of its calls: counts and times by method, and log lines for slow and failed calls.

Logs the key of a request, but never a value. Knows requests and statuses, but no stores.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from google.rpc import code_pb2, error_details_pb2, status_pb2

from datastore.model.histogram import Histogram
from datastore.v1 import maintenance_pb2, placement_pb2, service_pb2
from datastore_server.call import Call
from datastore_server.logs import kind, shown

__all__ = ["SLOW_CALL_S", "STREAMS", "STREAM_FACTOR", "CallLog", "Recorder", "Totals"]

_log = logging.getLogger("datastore.server")

#: Calls that take longer are logged, e.g. a write that waits for a slow disk. In seconds.
SLOW_CALL_S = 1.0
#: How many times longer a stream may take before it is slow: its time includes that of its reader.
STREAM_FACTOR = 10
#: Requests up to this size are parsed again for their key; a larger one would block other calls.
SHOWN_REQUEST_BYTES = 16 * 1024

_METHODS = {
    method.name: method
    for service in (
        service_pb2.DESCRIPTOR.services_by_name["DatastoreService"],
        placement_pb2.DESCRIPTOR.services_by_name["PlacementService"],
        maintenance_pb2.DESCRIPTOR.services_by_name["MaintenanceService"],
    )
    for method in service.methods
}
#: The methods that answer with a stream.
STREAMS = frozenset(name for name, method in _METHODS.items() if method.server_streaming)
#: The methods whose requests name one entry: each call that succeeds counts as one.
_OF_ONE_ENTRY = frozenset({"Get", "Put", "Delete", "Patch", "Touch", "Contains"})
#: The reason of unary calls whose client disconnected, or whose deadline passed.
_CANCELLED = "CANCELLED"
_CODES = {number: name for name, number in code_pb2.Code.items()}


class CallLog:
    """The calls of one server, by method. Logs failed ones, and those that take `slow_call_s` or longer."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, slow_call_s: float = SLOW_CALL_S) -> None:
        self.now = clock
        self._slow_call_s = slow_call_s
        self._recorders: defaultdict[str, list[Recorder]] = defaultdict(list)

    def recorder(self, method: str) -> Recorder:
        """A new recorder for calls of a method, which one thread at a time may use."""
        is_stream = method in STREAMS
        slow_s = self._slow_call_s * (STREAM_FACTOR if is_stream else 1)
        recorder = (_StreamRecorder if is_stream else Recorder)(method, slow_s, self.now)
        self._recorders[method].append(recorder)
        return recorder

    def totals(self) -> dict[str, Totals]:
        """The totals since the start, of each method that was called."""
        found = {}
        for method, recorders in sorted(self._recorders.items()):
            total = _total(method, recorders, self.now())
            if total.calls or total.open_streams:
                found[method] = total
        return found

    def summary(self) -> str:
        """The number of calls by method, e.g. `Get 1,234, Put 17 (2 failed)`."""
        return ", ".join(
            f"{method} {total.calls:,}" + (f" ({failed:,} failed)" if (failed := total.failed) else "")
            for method, total in self.totals().items()
            if total.calls
        )


class Totals(NamedTuple):
    """The calls of one method since the server started. `oldest_stream_s` is the age of the oldest open stream."""

    #: Those that have ended.
    calls: int
    #: Of these, those that failed, by reason.
    errors: Counter[str]
    #: How long they took, in seconds, without those that were refused before their requests were read.
    seconds: Histogram
    received_bytes: int
    sent_bytes: int
    entries: int
    open_streams: int
    oldest_stream_s: float
    is_stream: bool

    @property
    def failed(self) -> int:
        """How many calls failed."""
        return self.errors.total()


class Recorder:
    """Records calls of one method. Without a lock, so each is used in one thread."""

    def __init__(self, method: str, slow_s: float, now: Callable[[], float]) -> None:
        self.method = method
        self._slow_s = slow_s
        self.now = now
        self.seconds = Histogram()
        self.errors: Counter[str] = Counter()
        self.refused_calls = 0
        self.received_bytes = 0
        self.sent_bytes = 0
        self.entries = 0

    def began(self, call: Call) -> float:
        """Note that a call begins. One of the methods below must follow, with what this returns."""
        return self.now()

    def answered(self, request: bytes, answer: bytes | None, call: Call, began: float) -> None:
        """Record a call that succeeded."""
        if answer:
            self.sent_bytes += len(answer)
        self._ended(request, call, began)

    def failed(self, request: bytes, call: Call, status: status_pb2.Status, began: float) -> None:
        """Record a call that failed, and log it."""
        reason = reason_of(status)
        self.errors[reason] += 1
        self._ended(request, call, began)
        _log.info(
            "%s from %s failed: %s",
            _Subject(self.method, request),
            call.peer(),
            reason,
            extra=kind(f"calls that failed with {reason}", **self._facts(request, call), reason=reason),
        )

    def cancelled(self, request: bytes, call: Call, began: float) -> None:
        """Record a call that ended because its client disconnected or its deadline passed."""
        self.errors[_CANCELLED] += 1
        self._ended(request, call, began)

    def refused(self, reason: str) -> None:
        """Record a call that was refused before its request was read."""
        self.refused_calls += 1
        self.errors[reason] += 1

    def _ended(self, request: bytes, call: Call, began: float) -> None:
        seconds = self.now() - began
        self.seconds.add(seconds)
        self.received_bytes += len(request)
        self.entries += call.entries
        if seconds >= self._slow_s:
            _log.warning(
                "slow: %s from %s took %.1f s",
                _Subject(self.method, request),
                call.peer(),
                seconds,
                extra=kind(
                    f"slow {self.method} calls",
                    **self._facts(request, call),
                    duration_ms=round(seconds * 1000),
                ),
            )

    def _facts(self, request: bytes, call: Call) -> dict[str, object]:
        return {
            "method": self.method,
            "peer": call.peer(),
            "request_id": call.request_id,
            "request_bytes": len(request),
        }


class _StreamRecorder(Recorder):
    """Records streams, also while they are open."""

    def __init__(self, method: str, slow_s: float, now: Callable[[], float]) -> None:
        super().__init__(method, slow_s, now)
        #: When each open stream began.
        self.open: dict[Call, float] = {}

    def began(self, call: Call) -> float:
        began = self.open[call] = self.now()
        send = call.send

        async def counted(message: bytes) -> None:
            self.sent_bytes += len(message)
            self.entries += call.entries
            call.entries = 0
            await send(message)

        call.send = counted
        return began

    def cancelled(self, request: bytes, call: Call, began: float) -> None:
        # Most streams end like that: a watch always, and a query when its client has what it needs.
        self._ended(request, call, began)

    def _ended(self, request: bytes, call: Call, began: float) -> None:
        self.open.pop(call, None)
        super()._ended(request, call, began)


def _total(method: str, recorders: list[Recorder], now: float) -> Totals:
    """The combined totals of the recorders of one method."""
    began = [
        began for recorder in recorders if isinstance(recorder, _StreamRecorder) for began in [*recorder.open.values()]
    ]
    seconds = Histogram.sum(recorder.seconds for recorder in recorders)
    errors: Counter[str] = Counter()
    for recorder in recorders:
        # A copy is made at once, while another thread may add to it.
        errors += recorder.errors.copy()
    calls = seconds.count + sum(recorder.refused_calls for recorder in recorders)
    entries = sum(recorder.entries for recorder in recorders)
    if method in _OF_ONE_ENTRY:
        entries = max(0, calls - errors.total())
    return Totals(
        calls,
        errors,
        seconds,
        sum(recorder.received_bytes for recorder in recorders),
        sum(recorder.sent_bytes for recorder in recorders),
        entries,
        len(began),
        now - min(began, default=now),
        method in STREAMS,
    )


def reason_of(status: status_pb2.Status) -> str:
    """The reason in a status's ErrorInfo, e.g. INVALID_KEY; if it has none, the name of its code."""
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            return str(info.reason)
    return str(_CODES.get(status.code, "UNKNOWN"))


class _Subject(NamedTuple):
    """A call's method and key. The request is only parsed if the line is written."""

    method: str
    request: bytes

    def __str__(self) -> str:
        if len(self.request) > SHOWN_REQUEST_BYTES:
            return f"{self.method} of {len(self.request):,} bytes"
        try:
            message = GetMessageClass(_METHODS[self.method].input_type).FromString(self.request)
        except DecodeError:
            return f"{self.method} (unreadable)"
        return f"{self.method}{_key_text(message)}"


def _key_text(message: Any) -> str:
    fields = message.DESCRIPTOR.fields_by_name
    if "keys" in fields or "writes" in fields:
        return f" of {len(message.keys if 'keys' in fields else message.writes):,} items"
    for holder in ("entry", "query"):
        if holder in fields:
            message, fields = getattr(message, holder), fields[holder].message_type.fields_by_name
    return f" {shown(message.key.text)}" if "key" in fields else ""
