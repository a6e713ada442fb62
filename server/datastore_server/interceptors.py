"""The outermost wrapper of every method: what a handler raises becomes a status, and nothing else leaves.

Built once for each method. Knows errors and gRPC; knows no request and no store. Errors of the library go out
as the one table in `datastore.wire` says. Anything else is a fault: it is logged with its traceback under an
incident id, and the id is all that the client gets.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status

from datastore import wire
from datastore.model.deadline import set_time_left
from datastore.model.errors import DatastoreError, InternalError, QueryNotSupportedError, StoreError
from datastore_server.calls import CallLog

__all__ = ["ClientGoneError", "Handler", "abort", "guard", "item_status", "status_of"]

_log = logging.getLogger("datastore.server")

#: The handler of one method: the request's bytes in, the answer's bytes out, or None after writing a stream.
Handler = Callable[[bytes, "grpc.aio.ServicerContext[Any, Any]"], Awaitable[Any]]

#: Statuses travel as metadata, where all together must stay under 8 KiB, percent-encoded and in base64.
STATUS_TEXT_BYTES = 700
#: A batch answers with many statuses in one message.
ITEM_STATUS_TEXT_BYTES = 256
_STATUS_BYTES = 3500


class ClientGoneError(Exception):
    """An answer could not be sent, since the client has left."""


def guard(
    method: str,
    handler: Handler,
    require_expected: Callable[[str], None] | None = None,
    calls: CallLog | None = None,
) -> Handler:
    """Wrap the handler of `method` so that its errors leave as a status.

    `require_expected` is called with what the caller says that it expects of this server, and raises if it is not that.
    Each call is reported to `calls`.
    """
    calls = calls or CallLog()

    async def guarded(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        began = calls.now()
        set_time_left(context.time_remaining())
        try:
            if require_expected is not None:
                for name, value in context.invocation_metadata() or ():
                    if name == wire.EXPECTATION:
                        require_expected(str(value))
            answer = await handler(request, context)
        except ClientGoneError:
            # To gRPC it is a call that its client has cancelled, which it may not have noticed yet.
            raise asyncio.CancelledError from None
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            # Nobody cancelled this call: something that a store awaits was, and the client waits for an
            # answer.
            status = status_of(error, method)
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, the client must have an answer
            status = status_of(error, method)
        else:
            calls.answered(method, request, context, began)
            return answer
        calls.failed(method, request, context, status, began)
        # gRPC holds what `abort` raises, and so this frame, in a cycle that only the garbage collector frees.
        del request
        return await abort(context, status)

    return guarded


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def abort(context: grpc.aio.ServicerContext[Any, Any], status: status_pb2.Status) -> NoReturn:
    """End a call with this status."""
    await context.abort_with_status(rpc_status.to_status(status))


def status_of(error: BaseException, method: str) -> status_pb2.Status:
    """The status that an error leaves with. Logs what is the server's own failure."""
    status = wire.error_to_status(_named(error, method), text_bytes=STATUS_TEXT_BYTES)
    if status.ByteSize() > _STATUS_BYTES:
        del status.details[1:]
    return status


def item_status(error: BaseException, method: str) -> status_pb2.Status:
    """The status of one item of a batch: as `status_of`, with less text."""
    return wire.error_to_status(_named(error, method), text_bytes=ITEM_STATUS_TEXT_BYTES)


def _named(error: BaseException, method: str) -> BaseException:
    """An error that may leave: itself, or in place of an unexpected one the id of its incident."""
    if isinstance(error, InternalError) and error.incident:
        return error
    if isinstance(error, DatastoreError) and not isinstance(error, InternalError):
        if isinstance(error, StoreError):
            _log.warning("%s failed: %s", method, error)
        return error
    if isinstance(error, NotImplementedError):
        return QueryNotSupportedError(f"this store does not support {method}")
    incident = secrets.token_hex(8)
    _log.error("incident %s in %s", incident, method, exc_info=error)
    return InternalError(f"unexpected error; see incident {incident} in the server's log", incident=incident)
