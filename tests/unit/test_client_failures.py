"""The text of a failed call: the connection's failure in plain words, or the text of the server's error."""

from __future__ import annotations

import grpc
import pytest

from datastore import wire
from datastore.model.errors import DatastoreClosedError, DeadlineExceededError, StoreFullError, UnavailableError
from datastore_client._calls import open_channel
from datastore_client._failures import call_error, is_unsent, item_error
from datastore_client.channel import Target
from datastore_client.tls import Credentials

URL = "grpc://127.0.0.1:7420"


class Failure(grpc.RpcError):
    """A failed call, as either stack of gRPC raises it."""

    def __init__(self, code, details, trailers=()):
        super().__init__()
        self.code = lambda: code
        self.details = lambda: details
        self.trailing_metadata = lambda: trailers


def answered_with(error):
    """The failure of a call that the server answered with one of our errors."""
    status = wire.error_to_status(error)
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    return Failure(code, status.message, (("grpc-status-details-bin", status.SerializeToString()),))


ALL_ADDRESSES = "failed to connect to all addresses; last error: "


@pytest.mark.parametrize(
    ("details", "words"),
    [
        (
            f"{ALL_ADDRESSES}UNKNOWN: ipv4:127.0.0.1:7420: Failed to connect to remote host: Connection refused",
            "connection refused",
        ),
        (
            "errors resolving x:80: [field:hostname lookup error:address lookup failed: Domain name not found]",
            "no such host",
        ),
        (
            f"{ALL_ADDRESSES}INTERNAL: Failed parsing HTTP/2 (Trying to connect an http1.x server (HTTP status 400))",
            "it speaks HTTP/1, not gRPC",
        ),
        (f"{ALL_ADDRESSES}words that gRPC may find tomorrow", f"{ALL_ADDRESSES}words that gRPC may find tomorrow"),
    ],
)
def test_a_server_that_does_not_answer_is_reported_in_plain_words(details, words):
    failure = Failure(grpc.StatusCode.UNAVAILABLE, details)
    error = call_error(failure, URL, 10.0)
    assert isinstance(error, UnavailableError)
    assert str(error) == f"nothing answers at {URL} ({words})"
    assert is_unsent(failure)


VERIFY = "Tls handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1000007d:...:CERTIFICATE_VERIFY_FAILED: "


@pytest.mark.parametrize(
    ("scheme", "details", "words"),
    [
        ("grpcs", f"{VERIFY}unable to get local issuer certificate: OK", "its certificate is not of an authority that"),
        ("grpcs", f"{VERIFY}certificate has expired: OK", "its certificate has expired"),
        ("grpcs", f"{VERIFY}certificate is not yet valid: OK", "do the clocks agree"),
        ("grpcs", f"{VERIFY}unsupported certificate purpose: OK", "its certificate is not for a server"),
        ("grpcs", "Custom verification check failed ... Hostname Verification Check failed.", "for another host"),
        ("grpcs", "SSL_ERROR_SSL: error:100000f7:...:WRONG_VERSION_NUMBER: ...: OK", "its URL begins with grpc:"),
        ("grpcs", "UNAVAILABLE: ipv4:127.0.0.1:7420: Socket closed", "it may demand a certificate, cert and key"),
        ("grpcs", "UNAVAILABLE: ipv4:127.0.0.1:7420: Connection reset by peer", "it may demand a certificate"),
        ("grpc", "UNAVAILABLE: ipv4:127.0.0.1:7420: Socket closed", "with TLS its URL begins with grpcs:"),
    ],
)
def test_a_connection_that_one_side_refused_says_what_may_help(scheme, details, words):
    url = f"{scheme}://127.0.0.1:7420"
    error = call_error(Failure(grpc.StatusCode.UNAVAILABLE, ALL_ADDRESSES + details), url, 10.0)
    assert isinstance(error, UnavailableError)
    assert str(error).startswith(f"cannot connect to {url} (")
    assert words in str(error)


def test_a_call_to_another_host_than_that_of_the_certificate_does_not_blame_the_token():
    failure = Failure(grpc.StatusCode.UNAUTHENTICATED, "call host does not match SSL server name")
    error = call_error(failure, "grpcs://node.nodes:7420", 10.0)
    assert isinstance(error, UnavailableError)
    assert str(error) == "cannot connect to grpcs://node.nodes:7420 (its certificate is for another host)"
    assert is_unsent(failure)


@pytest.mark.parametrize(
    ("code", "details", "words"),
    [
        (grpc.StatusCode.UNAVAILABLE, "recvmsg:Connection reset by peer", "connection reset"),
        (grpc.StatusCode.UNAVAILABLE, "Socket closed", "connection lost"),
        (grpc.StatusCode.UNAVAILABLE, "ping timeout", "connection lost"),
        (grpc.StatusCode.UNAVAILABLE, "words that gRPC may find tomorrow", "words that gRPC may find tomorrow"),
        (grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2", "it ended the call"),
        (grpc.StatusCode.CANCELLED, "CANCELLED", "it ended the call"),
        (grpc.StatusCode.CANCELLED, None, "it ended the call"),
    ],
)
def test_a_call_that_was_cut_short_is_unavailable_and_may_have_been_sent(code, details, words):
    failure = Failure(code, details)
    error = call_error(failure, URL, 10.0)
    assert (type(error), error.retry_after_s) == (UnavailableError, None)
    assert str(error) == f"a call to {URL} was cut short ({words})"
    assert not is_unsent(failure)


def test_a_late_answer_is_reported_with_its_timeout():
    error = call_error(Failure(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"), URL, 9.7999802)
    assert isinstance(error, DeadlineExceededError)
    assert str(error) == f"the call to {URL} did not finish within 9.8 s"


def test_the_text_of_a_servers_error_is_kept():
    error = call_error(answered_with(StoreFullError("no room", shard="s1")), URL, 10.0)
    assert (type(error), str(error), error.shard) == (StoreFullError, "no room", "s1")


def test_a_store_that_the_server_closed_is_unavailable_and_not_closed_by_the_caller():
    closed = DatastoreClosedError("the store was closed", shard="s1")
    for error in (call_error(answered_with(closed), URL, 10.0), item_error(wire.error_to_status(closed))):
        assert (type(error), str(error), error.shard) == (UnavailableError, "the store was closed", "s1")


@pytest.mark.parametrize("host", ["unix", "dns", "ipv4", "localhost"])
def test_a_host_named_like_a_grpc_scheme_is_a_host(host):
    with open_channel(Target(f"{host}:7420", is_secure=False), Credentials()) as channel:
        assert channel._channel.target() == f"dns:///{host}:7420".encode()
