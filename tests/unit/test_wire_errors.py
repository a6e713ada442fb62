"""Malformed statuses, on either side: they never raise, and are not trusted too far."""

from __future__ import annotations

import math
from types import SimpleNamespace

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from datastore.model import errors
from datastore.wire import ERRORS, error_to_status, rpc_error_to_error, status_to_error
from datastore.wire.errors import TEXT_BYTES


def failed(code, details="", trailing=()):
    """A failed call, as both stacks raise it."""
    return SimpleNamespace(code=lambda: code, details=lambda: details, trailing_metadata=lambda: trailing)


def details_of(status):
    return (("grpc-status-details-bin", status.SerializeToString()),)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_a_failed_call_raises_what_the_server_raised(kind):
    error = rpc_error_to_error(failed(ERRORS[kind], "text", details_of(error_to_status(kind("text", shard="s")))))
    assert (type(error), str(error), error.shard) == (kind, "text", "s")


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
@pytest.mark.parametrize("trailing", [None, (), (("other", "x"),), (("grpc-status-details-bin", b"\xff\xff"),)])
def test_a_failed_call_without_readable_details_is_classified_by_its_code(code, trailing):
    expected = status_to_error(status_pb2.Status(code=code.value[0], message="text"))
    found = rpc_error_to_error(failed(code, "text", trailing))
    assert (type(found), str(found)) == (type(expected), str(expected))


def test_details_that_contradict_the_code_of_the_call_are_ignored():
    other = details_of(error_to_status(errors.StoreFullError("full")))
    found = rpc_error_to_error(failed(grpc.StatusCode.UNAVAILABLE, "away", other))
    assert (type(found), str(found)) == (errors.UnavailableError, "away")


def test_a_call_without_text_has_an_error_without_text():
    assert str(rpc_error_to_error(failed(grpc.StatusCode.INTERNAL, None))) == ""


def test_details_that_cannot_be_read_leave_the_code():
    status = error_to_status(errors.UnavailableError("later", retry_after_s=1.0))
    for detail in status.details:
        detail.value = b"\xff"
    found = status_to_error(status)
    assert (type(found), found.retry_after_s) == (errors.UnavailableError, None)


def test_an_unknown_reason_keeps_the_known_details():
    status = error_to_status(errors.UnavailableError("away", shard="shard-1", retry_after_s=2.5))
    info = error_details_pb2.ErrorInfo(reason="MOVED", domain="datastore", metadata={"shard": "shard-1"})
    status.details[0].Pack(info)
    found = status_to_error(status)
    assert (type(found), found.shard, found.retry_after_s) == (errors.UnavailableError, "shard-1", 2.5)


def test_a_cancellation_that_the_caller_did_not_request_is_unavailable():
    found = rpc_error_to_error(failed(grpc.StatusCode.CANCELLED, "CANCELLED"))
    assert type(found) is errors.UnavailableError


@pytest.mark.parametrize(("retry_after_s", "kind"), [(0.5, errors.OverloadedError), (None, errors.LimitExceededError)])
def test_resource_exhausted_of_a_foreign_server_is_overload_if_it_says_when_to_retry(retry_after_s, kind):
    status = error_to_status(errors.UnavailableError("busy", retry_after_s=retry_after_s))
    status.code = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    del status.details[0]
    found = status_to_error(status)
    assert (type(found), str(found)) == (kind, "busy")
    assert getattr(found, "retry_after_s", None) == retry_after_s


def test_an_unknown_reason_of_ours_is_overload_if_it_says_when_to_retry():
    status = error_to_status(errors.OverloadedError("busy", retry_after_s=0.25))
    status.details[0].Pack(error_details_pb2.ErrorInfo(reason="OF_A_LATER_RELEASE", domain="datastore"))
    found = status_to_error(status)
    assert (type(found), found.retry_after_s) == (errors.OverloadedError, 0.25)


def test_a_limit_of_ours_is_never_taken_for_overload():
    status = error_to_status(errors.LimitExceededError("too many", limit="filters", maximum=64))
    status.details.add().Pack(error_details_pb2.RetryInfo())
    assert type(status_to_error(status)) is errors.LimitExceededError


def test_facts_of_another_domain_are_not_ours():
    status = error_to_status(errors.LimitExceededError("much", limit="x", maximum=1, shard="s"))
    info = error_details_pb2.ErrorInfo.FromString(status.details[0].value)
    info.domain = "example.com"
    status.details[0].Pack(info)
    found = status_to_error(status)
    assert (type(found), found.limit, found.maximum, found.shard) == (errors.LimitExceededError, "", 0, None)


@pytest.mark.parametrize("maximum", ["-1", "x", "", "1e3", "9" * 5000, "\u0661"])
def test_a_maximum_that_is_not_a_number_is_ignored(maximum):
    status = error_to_status(errors.LimitExceededError("much", limit="x", maximum=7))
    info = error_details_pb2.ErrorInfo.FromString(status.details[0].value)
    info.metadata["maximum"] = maximum
    status.details[0].Pack(info)
    assert status_to_error(status).maximum == 0


def test_facts_that_a_class_does_not_have_are_ignored():
    status = error_to_status(errors.StoreFullError("full"))
    info = error_details_pb2.ErrorInfo.FromString(status.details[0].value)
    info.metadata.update({"path": "value", "args": "x", "__class__": "y"})
    status.details[0].Pack(info)
    assert vars(status_to_error(status)) == vars(errors.StoreFullError("full"))


@pytest.mark.parametrize("text", ["\udc80 of a file's name", "é" * TEXT_BYTES, "x" * 100_000, "a\x00b"])
def test_any_text_is_sent_truncated_to_its_limit(text):
    error = errors.InvalidValueError(text, path=text, field=text, shard=text)
    status = error_to_status(error)
    found = status_to_error(status_pb2.Status.FromString(status.SerializeToString()))
    for reported in (str(found), found.path, found.field, found.shard):
        assert len(reported.encode()) <= TEXT_BYTES
        assert reported[:1] == text[:1].replace("\udc80", "?")


def test_a_text_that_fits_is_not_truncated():
    text = "x" * TEXT_BYTES
    assert error_to_status(errors.StoreError(text)).message == text
    assert error_to_status(errors.StoreError(text + "x")).message == "x" * (TEXT_BYTES - 3) + "..."
    assert error_to_status(errors.StoreError("é" * 10), text_bytes=10).message == "ééé..."


@pytest.mark.parametrize("wait", [0.0, 1e-9, 0.05, 0.9999999999, 1.0, 12345.678])
def test_the_retry_delay_is_exact_to_the_nanosecond(wait):
    status = error_to_status(errors.UnavailableError("later", retry_after_s=wait))
    retry = error_details_pb2.RetryInfo.FromString(status.details[1].value)
    assert 0 <= retry.retry_delay.nanos < 1_000_000_000
    assert math.isclose(status_to_error(status).retry_after_s, wait, abs_tol=1e-9)


@pytest.mark.parametrize("seconds", [-1, -(2**63), 2**63 - 1])
def test_an_unreasonable_retry_delay_is_limited(seconds):
    status = error_to_status(errors.UnavailableError("later", retry_after_s=1.0))
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.seconds = seconds
    status.details[1].Pack(retry)
    found = status_to_error(status)
    assert 0 <= found.retry_after_s < 1e12
    assert status_to_error(error_to_status(found)).retry_after_s == found.retry_after_s


def test_causes_are_not_sent():
    error = errors.StoreError("the storage failed")
    error.__cause__ = OSError("secret path")
    status = error_to_status(error)
    assert "secret" not in str(status)
    assert status.message == "the storage failed"


def test_a_library_error_within_another_exception_is_not_taken_for_it():
    wrapped = RuntimeError("secret")
    wrapped.__cause__ = errors.UnavailableError("away", shard="s")
    assert type(status_to_error(error_to_status(wrapped))) is errors.InternalError


@given(st.builds(status_pb2.Status, code=st.integers(-(2**31), 2**31 - 1), message=st.text(max_size=5)), st.data())
def test_any_status_is_an_error_of_ours(status, data):
    for _ in range(data.draw(st.integers(0, 3))):
        kind = data.draw(st.sampled_from(["ErrorInfo", "RetryInfo", "BadRequest", "Help"]))
        status.details.add(type_url=f"type.googleapis.com/google.rpc.{kind}", value=data.draw(st.binary(max_size=12)))
    found = status_to_error(status)
    assert isinstance(found, errors.DatastoreError)
    error_to_status(found)
