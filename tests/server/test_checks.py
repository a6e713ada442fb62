"""Each limit one below, at, and one above; each refusal names what was wrong."""

from __future__ import annotations

from dataclasses import fields

import pytest

from datastore.model.errors import (
    ConfigError,
    InvalidKeyError,
    InvalidQueryError,
    InvalidValueError,
    LimitExceededError,
)
from datastore.model.key import Key
from datastore.model.limits import KEY_BYTES, MESSAGE_BYTES
from datastore.model.query import Query
from datastore.v1 import service_pb2
from datastore_server import checks
from datastore_server.limits import RESERVED_BYTES, Limits, limits_of

LIMITS = Limits()


def test_the_default_limits_are_those_the_protocol_names() -> None:
    assert (LIMITS.key_bytes, LIMITS.batch_items, LIMITS.page_items) == (1024, 1000, 1000)
    assert (LIMITS.filters, LIMITS.orders, LIMITS.value_depth) == (64, 16, 32)
    assert (LIMITS.entry_bytes, LIMITS.message_bytes) == (3 * 1024 * 1024, 4 * 1024 * 1024)


def test_every_limit_is_reported_by_describe_store() -> None:
    reported = {field.name for field in service_pb2.Limits.DESCRIPTOR.fields}
    assert reported == {field.name for field in fields(Limits)}


@pytest.mark.parametrize("name", Limits.settable())
def test_a_limit_may_be_1_up_to_its_highest_value(name: str) -> None:
    most = Limits.settable()[name].metadata["most"]
    for value in (1, 2, most - 1, most):
        assert getattr(Limits(**{name: value}), name) == value
    for value in (0, -1, most + 1, 10**30):
        with pytest.raises(ConfigError, match=rf"^limits\.{name}: expected .* from 1 to {most:,}, got {value}$"):
            Limits(**{name: value})


@pytest.mark.parametrize("value", [1.5, True, None, "", "many", "4 parsecs", [1], {}])
@pytest.mark.parametrize("name", ["batch_items", "read_bytes"])
def test_a_limit_is_a_whole_number(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^limits\.{name}: expected "):
        limits_of({name: value})


def test_a_size_may_be_written_with_its_unit() -> None:
    limits = limits_of({"read_bytes": "32MiB", "stream_bytes": "4096", "batch_items": "7"})
    assert (limits.read_bytes, limits.stream_bytes, limits.batch_items) == (32 * 1024**2, 4096, 7)
    assert limits.shown()["read_bytes"] == "32MiB"
    assert limits_of(limits.shown()) == limits


def test_an_unknown_limit_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(ConfigError, match=r"limits\.batch_item: .*key_bytes, entry_bytes, .*did you mean batch_items"):
        limits_of({"batch_item": 1})


@pytest.mark.parametrize("name", ["message_bytes", "message_parts", "value_depth", "sort_bytes"])
def test_limits_fixed_by_the_protocol_cannot_be_set(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"limits\.{name}: unknown limit"):
        limits_of({name: 1})


def test_a_query_may_sort_what_all_together_may() -> None:
    assert Limits(all_sort_bytes=1000).sort_bytes == 1000
    assert Limits(all_sort_bytes=2 * LIMITS.sort_bytes).sort_bytes == LIMITS.sort_bytes


def test_an_entry_must_leave_room_in_its_message() -> None:
    assert Limits.settable()["entry_bytes"].metadata["most"] == MESSAGE_BYTES - RESERVED_BYTES


def test_a_key_is_made_canonical() -> None:
    assert checks.required_key(True, "a//b/", LIMITS) == Key("/a/b")
    assert checks.required_key(True, "", LIMITS) == Key("/")


def test_a_key_that_is_not_set_is_refused() -> None:
    with pytest.raises(InvalidKeyError, match=r"entry\.key is not set") as caught:
        checks.required_key(False, "", LIMITS, field="entry.key")
    assert caught.value.field == "entry.key"


@pytest.mark.parametrize("text", ["/a\x00b", "/a\nb", "/" + "k" * KEY_BYTES])
def test_text_that_is_not_a_key_is_refused(text: str) -> None:
    with pytest.raises((InvalidKeyError, LimitExceededError)):
        checks.required_key(True, text, LIMITS)


def test_a_smaller_limit_of_keys_counts_bytes_of_utf8() -> None:
    limits = Limits(key_bytes=9)
    assert checks.required_key(True, "/" + "ü" * 4, limits) == Key("/üüüü")
    assert checks.required_key(True, "/1234567", limits)
    with pytest.raises(LimitExceededError) as caught:
        checks.required_key(True, "/" + "ü" * 4 + "x", limits)
    assert (caught.value.limit, caught.value.maximum) == ("key_bytes", 9)


def test_an_entry_counts_its_key_and_its_value() -> None:
    limits = Limits(entry_bytes=100)
    checks.check_entry(Key("/abc"), 95, limits)
    checks.check_entry(Key("/abc"), 96, limits)
    with pytest.raises(LimitExceededError, match="101") as caught:
        checks.check_entry(Key("/abc"), 97, limits)
    assert (caught.value.limit, caught.value.maximum) == ("entry_bytes", 100)


def test_a_batch_may_have_its_limit_of_items() -> None:
    checks.check_batch(999, LIMITS)
    checks.check_batch(1000, LIMITS)
    with pytest.raises(LimitExceededError, match="1,001") as caught:
        checks.check_batch(1001, LIMITS)
    assert (caught.value.limit, caught.value.maximum) == ("batch_items", 1000)


def test_a_query_may_have_its_limit_of_filters_and_orders() -> None:
    limits = Limits(filters=2, orders=2)
    query = Query(Key("/"))
    for count in (1, 2):
        query.filter("a", "=", count).order(f"+{count}")
        checks.check_query(query, limits)
    with pytest.raises(LimitExceededError) as caught:
        checks.check_query(query.copy().filter("a", "=", 3), limits)
    assert caught.value.limit == "filters"
    with pytest.raises(LimitExceededError) as caught:
        checks.check_query(query.copy().order("+c"), limits)
    assert caught.value.limit == "orders"


def test_a_page_has_100_entries_by_default_and_at_most_1000() -> None:
    sizes = {0: 100, 1: 1, 999: 999, 1000: 1000, 1001: 1000, 2**31 - 1: 1000}
    assert {asked: checks.check_page_size(asked, LIMITS) for asked in sizes} == sizes
    with pytest.raises(InvalidQueryError, match="negative") as caught:
        checks.check_page_size(-1, LIMITS)
    assert caught.value.field == "page_size"


def test_a_value_must_be_set() -> None:
    checks.check_value(b"x")
    with pytest.raises(InvalidValueError, match="not set"):
        checks.check_value(b"")


def test_an_answer_may_fill_its_message() -> None:
    checks.check_fits(MESSAGE_BYTES, LIMITS, "it")
    with pytest.raises(LimitExceededError) as caught:
        checks.check_fits(MESSAGE_BYTES + 1, LIMITS, "it")
    assert caught.value.limit == "message_bytes"
