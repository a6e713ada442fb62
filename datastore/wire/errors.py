"""Converts errors to `google.rpc.Status` and back, by one table.

Knows the error tree and gRPC's codes, but no calls. The text of an unexpected exception never leaves a server, which
replaces it by an InternalError with an incident id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf import duration_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from datastore.model import errors
from datastore.model.errors import (
    DatastoreError,
    InternalError,
    InvalidError,
    LimitExceededError,
    OverloadedError,
    StoreError,
    UnavailableError,
)

__all__ = [
    "DOMAIN",
    "ERRORS",
    "REQUEST_ID",
    "TEXT_BYTES",
    "error_to_status",
    "is_request_id",
    "reason_of",
    "rpc_error_to_error",
    "set_request_id",
    "status_to_error",
]

#: The domain of every ErrorInfo.
DOMAIN = "datastore"

#: The longest text in a status, in bytes. A status is sent as metadata, which is limited to 8 KiB in total.
TEXT_BYTES = 1024

#: The metadata with which a caller names its call.
REQUEST_ID = "x-request-id"
_REQUEST_ID_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+=-]{0,63}")

_Code = grpc.StatusCode

#: The table: the code of each class of the error tree. Its reason is `reason_of` the class.
ERRORS: Mapping[type[DatastoreError], grpc.StatusCode] = {
    errors.DatastoreError: _Code.UNKNOWN,
    errors.InvalidError: _Code.INVALID_ARGUMENT,
    errors.InvalidKeyError: _Code.INVALID_ARGUMENT,
    errors.InvalidValueError: _Code.INVALID_ARGUMENT,
    errors.InvalidQueryError: _Code.INVALID_ARGUMENT,
    errors.InvalidTokenError: _Code.INVALID_ARGUMENT,
    errors.UnsupportedTypeError: _Code.INVALID_ARGUMENT,
    errors.ConditionFailedError: _Code.ABORTED,
    errors.BatchAbortedError: _Code.ABORTED,
    errors.RequestForgottenError: _Code.ABORTED,
    errors.ChangesExpiredError: _Code.OUT_OF_RANGE,
    errors.NoStoresError: _Code.FAILED_PRECONDITION,
    errors.LimitExceededError: _Code.RESOURCE_EXHAUSTED,
    errors.CursorRunningError: _Code.FAILED_PRECONDITION,
    errors.CircularLinkError: _Code.FAILED_PRECONDITION,
    errors.CursorReuseError: _Code.FAILED_PRECONDITION,
    errors.DatastoreClosedError: _Code.UNAVAILABLE,
    errors.QueryNotSupportedError: _Code.UNIMPLEMENTED,
    errors.UnsupportedError: _Code.UNIMPLEMENTED,
    errors.DeadlineExceededError: _Code.DEADLINE_EXCEEDED,
    errors.UnavailableError: _Code.UNAVAILABLE,
    errors.OverloadedError: _Code.RESOURCE_EXHAUSTED,
    errors.UnauthenticatedError: _Code.UNAUTHENTICATED,
    errors.PermissionDeniedError: _Code.PERMISSION_DENIED,
    errors.WrongShardError: _Code.FAILED_PRECONDITION,
    errors.PlacementError: _Code.FAILED_PRECONDITION,
    errors.TruncatedStreamError: _Code.UNAVAILABLE,
    errors.StoreError: _Code.INTERNAL,
    errors.StoreFullError: _Code.RESOURCE_EXHAUSTED,
    errors.StoreLockedError: _Code.FAILED_PRECONDITION,
    errors.StoreFormatError: _Code.FAILED_PRECONDITION,
    errors.CorruptDataError: _Code.DATA_LOSS,
    errors.ConfigError: _Code.FAILED_PRECONDITION,
    errors.InternalError: _Code.INTERNAL,
}

#: The errors for statuses without our ErrorInfo, from other servers, HTTP proxies or gRPC itself. gRPC sends CANCELLED
#: when a server stops or its queue is full; calls that their own callers cancel do not get here.
_BY_CODE: Mapping[int, type[DatastoreError]] = {
    _Code.INVALID_ARGUMENT.value[0]: errors.InvalidError,
    _Code.OUT_OF_RANGE.value[0]: errors.InvalidError,
    _Code.RESOURCE_EXHAUSTED.value[0]: errors.LimitExceededError,
    _Code.UNAUTHENTICATED.value[0]: errors.UnauthenticatedError,
    _Code.PERMISSION_DENIED.value[0]: errors.PermissionDeniedError,
    _Code.UNIMPLEMENTED.value[0]: errors.QueryNotSupportedError,
    _Code.DEADLINE_EXCEEDED.value[0]: errors.DeadlineExceededError,
    _Code.UNAVAILABLE.value[0]: errors.UnavailableError,
    _Code.CANCELLED.value[0]: errors.UnavailableError,
    _Code.DATA_LOSS.value[0]: errors.CorruptDataError,
    _Code.INTERNAL.value[0]: errors.InternalError,
    _Code.UNKNOWN.value[0]: errors.InternalError,
}

_CODES = {code.value[0]: code for code in _Code}
#: The attributes of errors that are sent in the ErrorInfo's metadata, under the same names.
_FACTS = ("shard", "field", "path", "limit", "maximum", "incident", "owner", "epoch", "version", "index", "right")
#: The numeric ones.
_NUMBERS = frozenset({"maximum", "epoch", "version", "index"})
_NANOS = 1_000_000_000
#: The longest valid Duration, in seconds.
_LONGEST_S = 315_576_000_000.0
_NUMBER = re.compile("[0-9]{1,19}")
#: The trailing metadata that carries a `google.rpc.Status`.
_DETAILS = "grpc-status-details-bin"
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")


def reason_of(kind: type[DatastoreError]) -> str:
    """The reason in an ErrorInfo: INVALID_KEY for InvalidKeyError."""
    name = kind.__name__
    return _WORDS.sub("_", name.removesuffix("Error") or name).upper()


_BY_REASON = {reason_of(kind): kind for kind in ERRORS}


def error_to_status(error: BaseException, *, text_bytes: int = TEXT_BYTES) -> status_pb2.Status:
    """The status of an error, by the table's row for its class or its nearest base class.

    Other exceptions become an InternalError without their text. Texts are truncated to `text_bytes`, and lone
    surrogates replaced by `?`. Causes are not sent.
    """
    if not isinstance(error, DatastoreError):
        error = InternalError("unexpected error")
    kind = next(base for base in type(error).__mro__ if base in ERRORS)
    # Clients must not see paths on the server.
    text = _fitted(error.message if isinstance(error, StoreError) else str(error), text_bytes)
    details: list[Message] = [_info(error, kind, text_bytes)]
    if isinstance(error, InvalidError):
        field = _fitted(error.field or getattr(error, "path", ""), text_bytes)
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=text)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, UnavailableError) and error.retry_after_s is not None:
        details.append(_retry_info(error.retry_after_s))
    status = status_pb2.Status(code=ERRORS[kind].value[0], message=text)
    for detail in details:
        status.details.add().Pack(detail)
    return status


def _info(error: DatastoreError, kind: type[DatastoreError], text_bytes: int) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo(reason=reason_of(kind), domain=DOMAIN)
    for name in _FACTS:
        fact = getattr(error, name, None)
        if fact not in (None, "", 0):
            info.metadata[name] = _fitted(str(fact), text_bytes)
    return info


def is_request_id(text: str) -> bool:
    """Whether a text can name a call: up to 64 letters, digits and `._:@/+=-`, a letter or digit first."""
    return _REQUEST_ID_FORM.fullmatch(text) is not None


def set_request_id(status: status_pb2.Status, request_id: str) -> None:
    """Add the id of the call that a status answers, as a RequestInfo."""
    status.details.add().Pack(error_details_pb2.RequestInfo(request_id=request_id))


def _retry_info(retry_after_s: float) -> error_details_pb2.RetryInfo:
    seconds, nanos = divmod(round(retry_after_s * _NANOS), _NANOS)
    return error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=seconds, nanos=nanos))


def _fitted(text: str, text_bytes: int) -> str:
    """A text without lone surrogates, truncated to a size."""
    data = text.encode("utf-8", "replace")
    if len(data) > text_bytes:
        return data[: max(0, text_bytes - 3)].decode("utf-8", "ignore") + "..."
    return data.decode()


def status_to_error(status: status_pb2.Status) -> DatastoreError:
    """The error of a status, with the class and fields of the original error.

    Without our ErrorInfo, or with an unknown reason, the code determines the class; codes without a class become a
    DatastoreError that names the code. RESOURCE_EXHAUSTED means a busy server with a RetryInfo, a limit without one.
    """
    info = _detail(status, error_details_pb2.ErrorInfo)
    is_ours = info is not None and info.domain == DOMAIN
    kind = _BY_REASON.get(info.reason) if is_ours else None
    retry = _detail(status, error_details_pb2.RetryInfo)
    if kind is None and retry is not None and _BY_CODE.get(status.code) is LimitExceededError:
        kind = OverloadedError
    error = _by_code(status.code, status.message) if kind is None else kind(status.message)
    if is_ours:
        _restore(error, info.metadata)
    request = _detail(status, error_details_pb2.RequestInfo)
    if request is not None and is_request_id(request.request_id):
        error.request_id = request.request_id
    if retry is not None and isinstance(error, UnavailableError):
        error.retry_after_s = min(max(0.0, retry.retry_delay.seconds + retry.retry_delay.nanos / _NANOS), _LONGEST_S)
    return error


def _restore(error: DatastoreError, facts: Mapping[str, str]) -> None:
    for name in _FACTS:
        if name in facts and hasattr(error, name):
            setattr(error, name, _number(facts[name]) if name in _NUMBERS else facts[name])


def _number(text: str) -> int:
    return int(text) if _NUMBER.fullmatch(text) else 0


def _by_code(code: int, message: str) -> DatastoreError:
    kind = _BY_CODE.get(code)
    if kind is not None:
        return kind(message)
    name = _CODES[code].name if code in _CODES else str(code)
    return DatastoreError(f"{name}: {message}")


def _detail(status: status_pb2.Status, kind: type[Any]) -> Any:
    """The first detail of a type; None if there is none or it is malformed."""
    for detail in status.details:
        if detail.Is(kind.DESCRIPTOR):
            try:
                return kind.FromString(detail.value)
            except DecodeError:
                return None
    return None


def rpc_error_to_error(error: Any) -> DatastoreError:
    """The error of a failed call, a `grpc.RpcError` of the sync or the asyncio API.

    Details that are malformed, or that do not match the code of the call, are ignored.
    """
    code: int = error.code().value[0]
    for name, value in error.trailing_metadata() or ():
        if name == _DETAILS:
            try:
                status = status_pb2.Status.FromString(value)
            except DecodeError:
                break
            if status.code == code:
                return status_to_error(status)
    return _by_code(code, error.details() or "")
