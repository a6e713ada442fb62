"""Where and how a client connects: targets, options, and when it retries. Pure: nothing is opened."""

from __future__ import annotations

import math

import pytest

from datastore.model.attempts import Attempt, elapsed_us
from datastore.model.errors import ConfigError, DeadlineExceededError, UnavailableError
from datastore.model.expiry import MAX_EXPIRES_US, Expiry
from datastore.model.key import Key
from datastore.model.limits import ENTRY_BYTES, KEY_BYTES
from datastore.model.metadata import MAX_VERSION, Precondition
from datastore.model.operations import Delete, Patch, Put
from datastore.model.patches import FieldChange
from datastore.model.urls import shown
from datastore_client._messages import BATCH_MESSAGE_BYTES, WriteBatch, content_of
from datastore_client._retry import BACKOFFS_S, RESUME_TIMEOUT_S, Link, RetryPolicy
from datastore_client.channel import (
    CHANNEL_OPTIONS,
    MESSAGE_BYTES,
    QUERY_REQUEST_BYTES,
    STREAM_OPTIONS,
    parse_target,
    parse_targets,
)
from datastore_server.limits import Limits
from datastore_server.transport import MIN_PING_INTERVAL_MS


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("grpc://127.0.0.1:7420", "127.0.0.1:7420"),
        ("grpc://127.0.0.1:7420/", "127.0.0.1:7420"),
        ("grpc://[::1]:1", "[::1]:1"),
        ("grpc://localhost", "localhost:7420"),
        ("grpc://[::1]/", "[::1]:7420"),
        ("grpc://node-1.example.org:65535", "node-1.example.org:65535"),
    ],
)
def test_a_url_names_a_host_and_a_port(url: str, target: str) -> None:
    assert parse_target(url) == (target, False)
    assert parse_target(url.replace("grpc:", "grpcs:")) == (target, True)


def test_a_url_may_name_several_servers() -> None:
    assert parse_targets("grpcs://a,[::1]:1,10.0.0.1:2/") == (("a:7420", True), ("[::1]:1", True), ("10.0.0.1:2", True))
    assert [target.url for target in parse_targets("grpcs://a,b:1")] == ["grpcs://a:7420", "grpcs://b:1"]
    with pytest.raises(ConfigError):
        parse_target("grpc://a,b")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "grpc://",
        "grpc://a,",
        "grpc://,a",
        "grpc://a,grpc://b",
        "grpc://a, b",
        "grpc://a,b:0",
        "127.0.0.1:7420",
        "localhost",
        "grpc://:7420",
        "grpc://localhost:0",
        "grpc://localhost:65536",
        "grpc://localhost:seven",
        "grpc://localhost:7420/path",
        "grpc://user@localhost:7420",
        "grpc://::1:7420",
        "grpc://local host:7420",
        "http://localhost:7420",
        "lmdb:///var/lib/ds",
        " grpc://localhost:7420",
        "grpc://localhost:7420\n",
        "grpc://localhost:\u0667",
        "grpc://17650",
    ],
)
def test_any_other_url_is_refused_with_an_example_of_a_valid_one(url: str) -> None:
    with pytest.raises(ConfigError, match=r"grpc://127\.0\.0\.1:7420") as caught:
        parse_target(url)
    assert shown(url) in str(caught.value)


def test_every_option_is_given_once() -> None:
    names = [name for name, _ in STREAM_OPTIONS]
    assert len(names) == len(set(names))


def test_a_dead_connection_is_noticed_within_20_s_by_pings_that_servers_allow() -> None:
    options = dict(CHANNEL_OPTIONS)
    # gRPC's core waits as long as the last of these for the answer to a ping, by default a minute.
    assert options["grpc.keepalive_timeout_ms"] == options["grpc.http2.ping_timeout_ms"]
    assert options["grpc.keepalive_time_ms"] + options["grpc.http2.ping_timeout_ms"] <= 18_000
    assert options["grpc.keepalive_time_ms"] > MIN_PING_INTERVAL_MS


def test_client_and_server_take_messages_of_one_size_and_the_largest_request_fits() -> None:
    options = dict(CHANNEL_OPTIONS)
    assert options["grpc.max_receive_message_length"] == MESSAGE_BYTES
    assert options["grpc.max_send_message_length"] == QUERY_REQUEST_BYTES
    assert Limits().message_bytes == MESSAGE_BYTES
    # A message may exceed its target size only with a single write.
    assert ENTRY_BYTES + KEY_BYTES < BATCH_MESSAGE_BYTES + KEY_BYTES < MESSAGE_BYTES


def test_no_item_of_a_batch_takes_more_room_than_is_reserved_for_it() -> None:
    key = Key("/" + "k" * (KEY_BYTES - 1))
    largest, condition = b"x" * (ENTRY_BYTES - KEY_BYTES), Precondition(version=MAX_VERSION)
    expiry = Expiry(at_us=MAX_EXPIRES_US)
    patch = Patch(key, (FieldChange("set", "member", largest[:1000]),), condition, expiry=expiry)
    oldest = Attempt.new()._replace(first_us=elapsed_us() - 2**62)
    for operation, content in (
        (Put(key, largest, condition, expiry), largest),
        (Delete(key, condition), None),
        (patch, content_of(patch)),
    ):
        batch = WriteBatch(1)
        batch.add(0, operation, content, oldest)
        assert len(batch.message([0]).encoded()) <= batch._size


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


CUT = UnavailableError("cut")


def test_backoffs_double_up_to_a_bound_and_restart_after_a_message() -> None:
    clock = Clock()
    policy = RetryPolicy(3600, clock=clock)
    first, longest = BACKOFFS_S
    for _ in range(2):
        bound = first
        for _ in range(8):
            backoff_s = policy.backoff_s(CUT)
            assert backoff_s is not None
            assert bound / 2 <= backoff_s <= bound
            clock.now += backoff_s
            bound = min(2 * bound, longest)
        policy.saw_message()


def test_a_stream_that_stays_cut_is_given_up() -> None:
    clock = Clock()
    policy = RetryPolicy(3600, clock=clock)
    assert policy.backoff_s(CUT) is not None
    clock.now += RESUME_TIMEOUT_S - 0.1
    assert policy.backoff_s(CUT) is not None
    clock.now += 0.2
    assert policy.backoff_s(CUT) is None


def test_a_slow_reader_of_a_message_can_continue() -> None:
    clock = Clock()
    policy = RetryPolicy(3600, clock=clock)
    policy.saw_message()
    clock.now += 10 * RESUME_TIMEOUT_S
    assert policy.backoff_s(CUT) is not None


def test_a_message_restarts_the_wait() -> None:
    clock = Clock()
    policy = RetryPolicy(3600, clock=clock)
    for _ in range(10):
        assert policy.backoff_s(CUT) is not None
        clock.now += RESUME_TIMEOUT_S - 1
        policy.saw_message()


def test_the_time_of_a_query_is_for_all_its_calls() -> None:
    clock = Clock()
    policy = RetryPolicy(10, clock=clock)
    clock.now += 9.9
    assert policy.left_s() == pytest.approx(0.1)
    backoff_s = policy.backoff_s(CUT)
    assert backoff_s is not None
    assert backoff_s < 0.1
    clock.now += 0.2
    assert policy.backoff_s(CUT) is None
    assert 0 < policy.left_s() <= 0.001


def test_a_server_may_ask_for_a_longer_backoff_and_clients_do_not_return_simultaneously() -> None:
    policy = RetryPolicy(10, clock=Clock())
    backoffs = {
        RetryPolicy(10, clock=Clock()).backoff_s(UnavailableError("later", retry_after_s=4.0)) for _ in range(9)
    }
    assert all(backoff_s is not None and 4.0 < backoff_s <= 4.0 + BACKOFFS_S[0] for backoff_s in backoffs)
    assert len(backoffs) > 1
    backoff_s = policy.backoff_s(DeadlineExceededError("time is over"))
    assert backoff_s is not None
    assert backoff_s < 1


@pytest.mark.parametrize("retry_after_s", [10.0, 1e9])
def test_a_call_whose_server_asks_to_wait_longer_than_it_has_fails_at_once(retry_after_s: float) -> None:
    policy = RetryPolicy(10, clock=Clock())
    assert policy.backoff_s(UnavailableError("much later", retry_after_s=retry_after_s)) is None


def test_a_call_without_a_deadline_waits_for_its_server_no_longer_than_others() -> None:
    clock = Clock()
    policy = RetryPolicy(math.inf, clock=clock)
    assert policy.left_s() == math.inf
    assert policy.backoff_s(CUT) is not None
    clock.now += RESUME_TIMEOUT_S
    assert policy.backoff_s(CUT) is None


def test_a_server_that_never_answered_is_not_waited_for() -> None:
    link = Link(clock=Clock())
    link.down(connected=False)
    assert not link.is_expected_back


@pytest.mark.parametrize("connected", [False, True])
def test_a_server_that_answered_is_expected_back_for_a_while(connected: bool) -> None:
    clock = Clock()
    link = Link(clock=clock)
    if not connected:
        link.up()
    link.down(connected=connected)
    clock.now += RESUME_TIMEOUT_S - 1
    link.down(connected=False)
    assert link.is_expected_back
    clock.now += 1
    assert not link.is_expected_back
    link.up()
    link.down(connected=False)
    assert link.is_expected_back
