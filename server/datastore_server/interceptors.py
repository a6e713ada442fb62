"""The outermost wrapper of every method: converts whatever a handler raises to a status.

Knows errors and statuses, but no transports, requests or stores. Errors of the library are converted by the table in
`datastore.wire`. Any other exception is a bug: it is logged with its traceback under an incident ID, and the client
gets only that ID.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable

from google.rpc import status_pb2

from datastore import wire
from datastore.model.deadline import set_time_left
from datastore.model.errors import DatastoreError, InternalError, QueryNotSupportedError, StoreError
from datastore.model.forwarding import set_forwarded
from datastore_server import logs
from datastore_server.call import Answer, Call, ClientGoneError, Handler, Serve
from datastore_server.calls import CallLog
from datastore_server.checks import check_request
from datastore_server.limits import RequestLimit

__all__ = ["check_expected", "expecting", "guard", "item_status", "status_of"]

_log = logging.getLogger("datastore.server")

#: The longest text in a status, in bytes. Statuses travel as metadata, percent-encoded and in base64, which together
#: must stay under 8 KiB.
STATUS_TEXT_BYTES = 700
#: The same for each item of a batch, whose statuses share one message.
ITEM_STATUS_TEXT_BYTES = 256
_STATUS_BYTES = 3500


def check_expected(call: Call, require_expected: Callable[[str], None]) -> None:
    """Raise what `require_expected` raises for the server that the caller expects, if it names one."""
    for name, value in call.metadata:
        if name == wire.EXPECTATION:
            require_expected(str(value))


def expecting(handler: Handler, require_expected: Callable[[str], None]) -> Handler:
    """The handler for callers that expect this server: see `check_expected`."""

    async def handle(request: bytes, call: Call) -> bytes | None:
        check_expected(call, require_expected)
        return await handler(request, call)

    return handle


def guard(method: str, handler: Handler, limit: RequestLimit, calls: CallLog | None = None) -> Serve:
    """Wrap the handler of `method` so that its errors become statuses, and refuse requests above `limit`.

    Each call is recorded in `calls`.
    """
    record = (calls or CallLog()).recorder(method)

    async def guarded(request: bytes, call: Call) -> Answer:
        began = record.began(call)
        set_time_left(call.time_left_s)
        set_forwarded(call.forwarded)
        try:
            check_request(len(request), limit)
            answer = await handler(request, call)
        except ClientGoneError:
            # Ends like a call that the client has cancelled.
            record.cancelled(request, call, began)
            raise asyncio.CancelledError from None
        except asyncio.CancelledError as error:
            if _is_cancelled():
                record.cancelled(request, call, began)
                raise
            # Something that the store awaits was cancelled, not this call: the client is waiting for an answer.
            status = status_of(error, method, call)
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - the client must get an answer in any case
            status = status_of(error, method, call)
        else:
            record.answered(request, answer, call, began)
            return answer
        record.failed(request, call, status, began)
        return status

    return guarded


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def status_of(error: BaseException, method: str, call: Call | None = None) -> status_pb2.Status:
    """The status for an error, with the request id of its call. Logs the server's own failures."""
    if call is not None and isinstance(error, DatastoreError) and error.request_id is not None:
        call.join(error.request_id)
    status = wire.error_to_status(_public(error, method, call), text_bytes=STATUS_TEXT_BYTES)
    if status.ByteSize() > _STATUS_BYTES:
        del status.details[1:]
    if call is not None:
        wire.set_request_id(status, call.request_id)
    return status


def item_status(error: BaseException, method: str) -> status_pb2.Status:
    """The status for one item of a batch: like `status_of`, with less text."""
    return wire.error_to_status(_public(error, method), text_bytes=ITEM_STATUS_TEXT_BYTES)


def _public(error: BaseException, method: str, call: Call | None = None) -> BaseException:
    """The error that the client gets: the same one, or for an unexpected one an InternalError with an incident ID."""
    if isinstance(error, InternalError) and error.incident:
        return error
    if isinstance(error, DatastoreError) and not isinstance(error, InternalError):
        if isinstance(error, StoreError):
            _log.warning("%s failed: %s", method, error, extra=_facts(method, call))
        return error
    if isinstance(error, NotImplementedError):
        return QueryNotSupportedError(f"this store does not support {method}")
    incident = secrets.token_hex(8)
    _log.error("incident %s in %s", incident, method, exc_info=error, extra=_facts(method, call))
    return InternalError(f"unexpected error; see incident {incident} in the server's log", incident=incident)


def _facts(method: str, call: Call | None) -> dict[str, object]:
    return logs.facts(method=method, request_id=None if call is None else call.request_id)
