"""Call counts of a server, and log lines for slow and failed calls.

Logs the key of a request, but never a value. Knows requests and statuses, but no stores.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2

from datastore.v1 import placement_pb2, service_pb2
from datastore_server.call import Call
from datastore_server.logs import kind, shown

__all__ = ["SLOW_CALL_S", "SLOW_STREAM_S", "CallLog"]

_log = logging.getLogger("datastore.server")

#: Calls that take longer are logged, e.g. a write that waits for a slow disk. In seconds.
SLOW_CALL_S = 1.0
#: The same for streams, which include the time that their readers take.
SLOW_STREAM_S = 10.0
#: Requests up to this size are parsed again for their key; a larger one would block other calls.
SHOWN_REQUEST_BYTES = 16 * 1024

#: By method: the type of its request, and when it counts as slow, in seconds.
_METHODS = {
    method.name: (GetMessageClass(method.input_type), SLOW_STREAM_S if method.server_streaming else SLOW_CALL_S)
    for service in (
        service_pb2.DESCRIPTOR.services_by_name["DatastoreService"],
        placement_pb2.DESCRIPTOR.services_by_name["PlacementService"],
    )
    for method in service.methods
}


class CallLog:
    """Counts the calls of one server by method, and logs slow and failed ones."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.now = clock
        self._calls: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()

    def answered(self, method: str, request: bytes, call: Call, began: float) -> None:
        """Record a call and, if it was slow, log it. `began` is what `now()` returned at its start."""
        self._calls[method] += 1
        seconds = self.now() - began
        if seconds >= _METHODS[method][1]:
            _log.warning(
                "slow: %s from %s took %.1f s",
                _Subject(method, request),
                call.peer(),
                seconds,
                extra=kind(f"slow {method} calls"),
            )

    def failed(self, method: str, request: bytes, call: Call, status: status_pb2.Status, began: float) -> None:
        """Record a failed call. `began` is what `now()` returned at its start."""
        self.answered(method, request, call, began)
        self._failed[method] += 1
        reason = reason_of(status)
        _log.info(
            "%s from %s failed: %s",
            _Subject(method, request),
            call.peer(),
            reason,
            extra=kind(f"calls that failed with {reason}"),
        )

    def refused(self, method: str) -> None:
        """Record a call that was refused before its request was read."""
        self._calls[method] += 1
        self._failed[method] += 1

    def summary(self) -> str:
        """The number of calls by method, e.g. `Get 1,234, Put 17 (2 failed)`."""
        return ", ".join(
            f"{method} {number:,}" + (f" ({self._failed[method]:,} failed)" if self._failed[method] else "")
            for method, number in sorted(self._calls.items())
        )


def reason_of(status: status_pb2.Status) -> str:
    """The reason in a status's ErrorInfo, e.g. INVALID_KEY; if it has none, the number of its code."""
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            return str(info.reason)
    return f"code {status.code}"


class _Subject(NamedTuple):
    """A call's method and key. The request is only parsed if the line is written."""

    method: str
    request: bytes

    def __str__(self) -> str:
        if len(self.request) > SHOWN_REQUEST_BYTES:
            return f"{self.method} of {len(self.request):,} bytes"
        try:
            message = _METHODS[self.method][0].FromString(self.request)
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
