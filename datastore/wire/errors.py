"""Errors as `google.rpc.Status`, and back, by one table.

Knows the error tree and gRPC's codes; no calls. What an unexpected exception says never leaves a server: whoever
catches one makes an InternalError with an incident id of it first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from datastore.core import errors
from datastore.core.errors import DatastoreError, InternalError, InvalidError, UnavailableError

__all__ = ["DOMAIN", "ERRORS", "error_to_status", "reason_of", "rpc_error_to_error", "status_to_error"]

#: The domain of every ErrorInfo.
DOMAIN = "datastore"

_Code = grpc.StatusCode

#: The one table: each class of the error tree, and the code it travels under. Its reason is `reason_of` the class.
ERRORS: Mapping[type[DatastoreError], grpc.StatusCode] = {
    errors.DatastoreError: _Code.UNKNOWN,
    errors.InvalidError: _Code.INVALID_ARGUMENT,
    errors.InvalidKeyError: _Code.INVALID_ARGUMENT,
    errors.InvalidValueError: _Code.INVALID_ARGUMENT,
    errors.InvalidQueryError: _Code.INVALID_ARGUMENT,
    errors.InvalidTokenError: _Code.INVALID_ARGUMENT,
    errors.UnsupportedTypeError: _Code.INVALID_ARGUMENT,
    errors.NoStoresError: _Code.FAILED_PRECONDITION,
    errors.LimitExceededError: _Code.RESOURCE_EXHAUSTED,
    errors.CursorRunningError: _Code.FAILED_PRECONDITION,
    errors.CircularLinkError: _Code.FAILED_PRECONDITION,
    errors.CursorReuseError: _Code.FAILED_PRECONDITION,
    errors.DatastoreClosedError: _Code.UNAVAILABLE,
    errors.QueryNotSupportedError: _Code.UNIMPLEMENTED,
    errors.DeadlineExceededError: _Code.DEADLINE_EXCEEDED,
    errors.UnavailableError: _Code.UNAVAILABLE,
    errors.TruncatedStreamError: _Code.UNAVAILABLE,
    errors.StoreError: _Code.INTERNAL,
    errors.StoreFullError: _Code.RESOURCE_EXHAUSTED,
    errors.StoreLockedError: _Code.FAILED_PRECONDITION,
    errors.StoreFormatError: _Code.FAILED_PRECONDITION,
    errors.CorruptDataError: _Code.DATA_LOSS,
    errors.ConfigError: _Code.FAILED_PRECONDITION,
    errors.InternalError: _Code.INTERNAL,
}

#: What a status without our ErrorInfo is taken for: one of a foreign server, a proxy, or of gRPC itself.
_BY_CODE: Mapping[int, type[DatastoreError]] = {
    _Code.INVALID_ARGUMENT.value[0]: errors.InvalidError,
    _Code.OUT_OF_RANGE.value[0]: errors.InvalidError,
    _Code.RESOURCE_EXHAUSTED.value[0]: errors.LimitExceededError,
    _Code.UNIMPLEMENTED.value[0]: errors.QueryNotSupportedError,
    _Code.DEADLINE_EXCEEDED.value[0]: errors.DeadlineExceededError,
    _Code.UNAVAILABLE.value[0]: errors.UnavailableError,
    _Code.DATA_LOSS.value[0]: errors.CorruptDataError,
    _Code.INTERNAL.value[0]: errors.InternalError,
    _Code.UNKNOWN.value[0]: errors.InternalError,
}

_CODES = {code.value[0]: code for code in _Code}
_FIELDS = ("shard", "field", "path", "limit", "maximum", "incident")
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")


def reason_of(kind: type[DatastoreError]) -> str:
    """The reason in an ErrorInfo: INVALID_KEY for InvalidKeyError."""
    name = kind.__name__
    return _WORDS.sub("_", name.removesuffix("Error") or name).upper()


_BY_REASON = {reason_of(kind): kind for kind in ERRORS}


def error_to_status(error: BaseException) -> status_pb2.Status:
    """The status of an error: the table's row of its class, or of the nearest class above it.

    An error that is not the library's becomes an InternalError without a word of its text.
    """
    if not isinstance(error, DatastoreError):
        error = InternalError("unexpected error")
    kind = next(base for base in type(error).__mro__ if base in ERRORS)
    text = str(error)
    info = error_details_pb2.ErrorInfo(reason=reason_of(kind), domain=DOMAIN)
    for name in _FIELDS:
        fact = getattr(error, name, None)
        if fact not in (None, "", 0):
            info.metadata[name] = str(fact)
    details: list[Any] = [info]
    if isinstance(error, InvalidError):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field or getattr(error, "path", ""), description=text
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, UnavailableError) and error.retry_after_s is not None:
        fraction, seconds = math.modf(error.retry_after_s)
        delay = duration_pb2.Duration(seconds=int(seconds), nanos=round(fraction * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=ERRORS[kind].value[0], message=text)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def status_to_error(status: status_pb2.Status) -> DatastoreError:
    """The error of a status: of the same class and with the same fields that it was made of.

    Without an ErrorInfo of ours the code decides; what no class stands for is a DatastoreError that names the code.
    """
    info = _detail(status, error_details_pb2.ErrorInfo)
    if info is None or info.domain != DOMAIN or info.reason not in _BY_REASON:
        return _by_code(status.code, status.message)
    kind = _BY_REASON[info.reason]
    error = kind(status.message)
    for name, fact in info.metadata.items():
        if name in _FIELDS and hasattr(error, name):
            setattr(error, name, _number(fact) if name == "maximum" else fact)
    retry = _detail(status, error_details_pb2.RetryInfo)
    if retry is not None and isinstance(error, UnavailableError):
        error.retry_after_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return error


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _by_code(code: int, message: str) -> DatastoreError:
    kind = _BY_CODE.get(code)
    if kind is not None:
        return kind(message)
    name = _CODES[code].name if code in _CODES else str(code)
    return DatastoreError(f"{name}: {message}")


def _detail(status: status_pb2.Status, kind: type[Any]) -> Any:
    for detail in status.details:
        if detail.Is(kind.DESCRIPTOR):
            message = kind()
            return message if detail.Unpack(message) else None
    return None


def rpc_error_to_error(error: Any) -> DatastoreError:
    """The error of a failed call, a `grpc.RpcError` of either stack."""
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin":
            return status_to_error(status_pb2.Status.FromString(value))
    return _by_code(error.code().value[0], error.details() or "")
