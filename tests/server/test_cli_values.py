"""Values and conditions as the commands read and print them."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from datastore.model.conditions import Q
from datastore.model.encoded import Encoded
from datastore.model.errors import InvalidQueryError, InvalidValueError, UnsupportedTypeError
from datastore.model.fields import Filter, Order
from datastore.model.key import Key
from datastore.model.trees import Condition
from datastore_server.cli.conditions import parse_order
from datastore_server.cli.notations import INT_MAX, INT_MIN, NOTATIONS
from datastore_server.cli.values import (
    from_json,
    from_tree,
    parse,
    plain_from_tree,
    to_json,
    to_tree,
)
from datastore_server.cli.where import parse_where

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = texts | st.sampled_from([*NOTATIONS, "$", "$other"])
instants = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])).filter(
    lambda instant: datetime(2, 1, 1, tzinfo=UTC) < instant < datetime(9998, 1, 1, tzinfo=UTC)
)
keys = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20).map(Key)
atoms = (
    st.none()
    | st.booleans()
    | st.integers(INT_MIN, INT_MAX)
    | st.floats()
    | texts
    | st.binary(max_size=40)
    | instants
    | keys
)
values = st.recursive(
    atoms,
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(names, parts, max_size=3),
    max_leaves=12,
)


def exactly(left: Any, right: Any) -> bool:
    """Equal, of the same types, at every level; NaN is itself, and -0.0 is not 0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        if math.isnan(left):
            return math.isnan(right)
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(exactly, left, right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(exactly(left[name], right[name]) for name in left)
    return bool(left == right)


@given(values)
@example({"$map": {"$bytes": 1}})
@example({"$bytes": {"$map": {}}})
@example([1, 1.0, True, -0.0, 1e300, 5e-324, INT_MIN, INT_MAX])
def test_every_value_survives_json(value: Any) -> None:
    text = to_json(value)
    assert "\n" not in text
    text.encode()
    assert exactly(from_json(text), value)
    assert exactly(from_json(text.encode()), value)
    assert exactly(from_json(to_json(value, indent=2)), value)
    # Any JSON reader may read it.
    assert json.loads(text, parse_constant=pytest.fail) == to_tree(value) or "NaN" in text
    assert exactly(from_tree(parse(text)), value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1, "1"),
        (1.0, "1.0"),
        ("é", '"é"'),
        (b"hello", '{"$bytes":"aGVsbG8="}'),
        (b"", '{"$bytes":""}'),
        (datetime(2026, 11, 24, 10, tzinfo=UTC), '{"$datetime":"2026-11-24T10:00:00Z"}'),
        (datetime(2026, 11, 24, 10, 0, 0, 1, tzinfo=UTC), '{"$datetime":"2026-11-24T10:00:00.000001Z"}'),
        (datetime(1, 1, 1, tzinfo=UTC), '{"$datetime":"0001-01-01T00:00:00Z"}'),
        (Key("/a/b:c"), '{"$key":"/a/b:c"}'),
        (math.nan, '{"$float":"NaN"}'),
        (-math.inf, '{"$float":"-Infinity"}'),
        ({"$key": 1}, '{"$map":{"$key":1}}'),
        ({"$key": 1, "$map": 2}, '{"$key":1,"$map":2}'),
        ({"": {}, "l": []}, '{"":{},"l":[]}'),
    ],
)
def test_the_notation_is_as_documented(value: Any, text: str) -> None:
    assert to_json(value) == text
    assert exactly(from_json(text), value)


def test_more_is_read_than_is_written() -> None:
    ten = datetime(2026, 11, 24, 10, tzinfo=UTC)
    for text in ("2026-11-24T11:00:00+01:00", "2026-11-24t10:00:00z", "2026-11-24 10:00:00.000Z"):
        assert from_json(json.dumps({"$datetime": text})) == ten
    assert from_json('{"$map":{"a":1}}') == {"a": 1}
    assert from_json('{"$map":{}}') == {}
    assert from_json(' [1 , {"a": 2}] ') == [1, {"a": 2}]
    assert to_json((1, 2)) == "[1,2]"


def test_a_value_that_is_still_encoded_is_read() -> None:
    class Wrapped(Encoded):
        __slots__ = ()

        def decode(self) -> Any:
            return {"a": [1]}

    assert to_json(Wrapped(b"")) == '{"a":[1]}'
    assert to_json({"b": Wrapped(b"")}) == '{"b":{"a":[1]}}'


@pytest.mark.parametrize(
    ("text", "path", "says"),
    [
        ("", "value", "not valid JSON"),
        ("hello", "value", "double quotes"),
        ('{"a": 1', "value", "not valid JSON"),
        ("[1] x", "value", "not valid JSON"),
        ("NaN", "value", r'write \{"\$float": "NaN"\}'),
        ("[-Infinity]", "value", r'"-Infinity"'),
        ('{"a": 1, "b": 2, "a": 3}', "value", "'a' twice"),
        ('{"x": {"$map": {"b": 1, "b": 1}}}', "value", "'b' twice"),
        ('{"a": [0, 9223372036854775808]}', "value['a'][1]", "more than 64 bits"),
        ("-9223372036854775809", "value", "more than 64 bits"),
        ("1" * 5000, "value", "not valid JSON|64 bits"),
        ("[1e400]", "value[0]", "too large"),
        ('{"a": {"$typo": 1}}', "value['a']", r"'\$typo' has no meaning.*\$bytes.*\$map"),
        ('[{"$bytes": "a"}]', "value[0]", "not base64"),
        ('[{"$bytes": "aGVsbG8"}]', "value[0]", "not base64"),
        ('[{"$bytes": "aGVs bG8="}]', "value[0]", "not base64"),
        ('[{"$bytes": "é"}]', "value[0]", "not base64"),
        ('{"$bytes": 1}', "value", "must be text, not int"),
        ('{"$datetime": "2026-11-24"}', "value", "RFC 3339"),
        ('{"$datetime": "2026-11-24T10:00:00"}', "value", "RFC 3339"),
        ('{"$datetime": "2026-13-24T10:00:00Z"}', "value", "not an instant"),
        ('{"$datetime": "2026-11-24T10:00:60Z"}', "value", "not an instant"),
        ('{"$datetime": "0001-01-01T00:00:00+01:00"}', "value", "not an instant"),
        ('{"$datetime": "2026-11-24T10:00:00.1234567Z"}', "value", "microsecond"),
        ('{"$datetime": "2026-11-24T10:00:00.Z"}', "value", "RFC 3339"),
        ('{"$datetime": "٢٠٢٦-11-24T10:00:00Z"}', "value", "RFC 3339"),
        ('{"$key": "/a\\u0000"}', "value", "control|character"),
        ('{"$key": 1}', "value", "must be text"),
        ('{"$float": "nan"}', "value", "NaN, Infinity, -Infinity"),
        ('{"$map": [1]}', "value", "must be an object"),
        ('{"$map": {"$a": {"$map": {"b": [{"$float": ""}]}}}}', "value['$a']['b'][0]", "must be one of"),
        ("[" * 100_000 + "]" * 100_000, "value", "too deeply"),
    ],
)
def test_a_refusal_names_its_place_and_what_would_be_valid(text: str, path: str, says: str) -> None:
    with pytest.raises(InvalidValueError, match=says) as caught:
        from_json(text)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("fraction", "microsecond"),
    [
        (".5", 500_000),
        (".12", 120_000),
        (".0000000", 0),
        (".123456000", 123_456),
        (".000001", 1),
        (".10", 100_000),
        ("." + "0" * 40, 0),
    ],
)
@pytest.mark.parametrize("zone", ["Z", "z", "+01:00", "-00:00"])
def test_an_instant_has_any_fraction_that_is_whole_microseconds(fraction: str, microsecond: int, zone: str) -> None:
    hour = 9 if zone == "+01:00" else 10
    value = from_json(json.dumps({"$datetime": f"2026-11-24t10:00:00{fraction}{zone}"}))
    assert value == datetime(2026, 11, 24, hour, 0, 0, microsecond, UTC)


@pytest.mark.parametrize("text", ['{"$ref": 1}', '{"$oid": "x"}', '{"$datetime": [{"$bytes": 3}]}', '{"$map": {}}'])
def test_a_plain_object_is_a_map_whatever_its_members(text: str) -> None:
    value = plain_from_tree(parse(text))
    assert value == json.loads(text)
    assert from_json(to_json(value)) == value


def test_a_plain_number_has_64_bits_too() -> None:
    with pytest.raises(InvalidValueError, match="64 bits"):
        plain_from_tree(parse('{"$ref": 9223372036854775808}'))


def test_bytes_that_are_not_utf_8_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="UTF-8"):
        from_json(b'"\xff"')


@pytest.mark.parametrize(
    ("value", "path", "kind"),
    [
        ({1, 2}, "value", UnsupportedTypeError),
        ({"a": [1, object()]}, "value['a'][1]", UnsupportedTypeError),
        ({"a": {1: 2}}, "value['a']", UnsupportedTypeError),
        ({"$map": [2**63]}, "value['$map'][0]", InvalidValueError),
        ([datetime(2026, 1, 1)], "value[0]", InvalidValueError),
    ],
)
def test_values_that_are_not_plain_are_not_printed(value: Any, path: str, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        to_json(value)
    assert caught.value.path == path  # type: ignore[attr-defined]


def test_an_error_in_a_map_that_looks_like_an_escape_has_its_path() -> None:
    with pytest.raises(UnsupportedTypeError) as caught:
        to_json({"$map": {"a": set()}})
    assert caught.value.path == "value['$map']['a']"


# Conditions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("country = CH", Filter("country", "=", "CH")),
        ("country=CH", Filter("country", "=", "CH")),
        ("country == CH", Filter("country", "=", "CH")),
        ("elevation >= 1000", Filter("elevation", ">=", 1000)),
        ("elevation<1000.0", Filter("elevation", "<", 1000.0)),
        ("elevation != -1e3", Filter("elevation", "!=", -1000.0)),
        ('name = "two words"', Filter("name", "=", "two words")),
        ("name = two words", Filter("name", "=", "two words")),
        ('name = "1"', Filter("name", "=", "1")),
        ('name = ""', Filter("name", "=", "")),
        ("name = 007", Filter("name", "=", "007")),
        ("name = O'Hare", Filter("name", "=", "O'Hare")),
        ("name = a = b", Filter("name", "=", "a = b")),
        ("name = NaN", Filter("name", "=", "NaN")),
        ("open = true", Filter("open", "=", True)),
        ("open = True", Filter("open", "=", "True")),
        ("closed = null", Filter("closed", "=", None)),
        ("a.b > 1", Filter("a.b", ">", 1)),
        ("two words <= 1", Filter("two words", "<=", 1)),
        ('"a=b" = 1', Filter("a=b", "=", 1)),
        ("tags = [1, 2]", Filter("tags", "=", [1, 2])),
        ('data = {"$bytes": "aGVsbG8="}', Filter("data", "=", b"hello")),
        (
            'at < {"$datetime": "2026-11-24T10:00:00Z"}',
            Filter("at", "<", datetime(2026, 11, 24, 10, tzinfo=UTC)),
        ),
        ("__key__ > /a/b", Filter("__key__", ">", Key("/a/b"))),
        ("__key__ > /a b/c", Filter("__key__", ">", Key("/a b/c"))),
        ('__key__ = "/a/b"', Filter("__key__", "=", Key("/a/b"))),
        ("__key__ = 7", Filter("__key__", "=", Key("/7"))),
        ('__key__ = {"$key": "/a"}', Filter("__key__", "=", Key("/a"))),
        ('next = {"$key": "/a"}', Filter("next", "=", Key("/a"))),
    ],
)
def test_a_condition_is_a_filter(text: str, expected: Filter) -> None:
    found = parse_where(text)
    assert found == expected
    assert type(found.value) is type(expected.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('country in ["CH", "AT"]', Q("country").in_(["CH", "AT"])),
        ('country NOT  IN ["CH"]', Q("country").not_in(["CH"])),
        ('__key__ in ["/a", "/b"]', Q("__key__").in_([Key("/a"), Key("/b")])),
        ("name starts_with San", Q("name").starts_with("San")),
        ("__key__ starts_with /a", Q("__key__").starts_with(Key("/a"))),
        ("tags contains hub", Q("tags").contains("hub")),
        ("iata exists", Q("iata").exists()),
        ("exists exists", Q("exists").exists()),
        ("in = 1", Q("in") == 1),
        ('"two words"exists', Q("two words").exists()),
        ("a = 1 or b = 2 and c = 3", (Q("a") == 1) | ((Q("b") == 2) & (Q("c") == 3))),
        ("(a = 1 or b = 2) AND c = x", ((Q("a") == 1) | (Q("b") == 2)) & (Q("c") == "x")),
        ("not a = 1 and b exists", ~(Q("a") == 1) & Q("b").exists()),
        ("not(a < 1 or b >= 2)", ~((Q("a") < 1) | (Q("b") >= 2))),
        ("a = Rock and Roll and b != 2", (Q("a") == "Rock and Roll") & (Q("b") != 2)),
        ("(a contains (old))", Q("a").contains("(old)")),
        ('a <= "x or y" or b > 1', (Q("a") <= "x or y") | (Q("b") > 1)),
        (
            'country in ["CH", "AT"] and not (iata = "" or elevation < 0)',
            Q("country").in_(["CH", "AT"]) & ~((Q("iata") == "") | (Q("elevation") < 0)),
        ),
    ],
)
def test_a_condition_has_the_operators_and_joints_of_the_library(text: str, expected: Condition) -> None:
    assert parse_where(text) == expected


@pytest.mark.parametrize("value", ["Rock and Roll!", "Stop and wait!", "a and b", "x or y < "])
def test_words_between_words_are_text(value: str) -> None:
    assert parse_where(f"title = {value}").value == value.strip()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "operator is missing"),
        ("country", "operator is missing.*<, <=, =, !=, >=, >"),
        ("country CH", "operator is missing"),
        ("= CH", "field is missing"),
        ("country =", 'value is missing.*""'),
        ("country =~ C.*", "'=~' is not one of <, <=, =, !=, >=, >"),
        ("country <> CH", "'<>' is not one of"),
        ("country =< 3", "'=<' is not one of"),
        ("country ! CH", "'!' is not one of"),
        ('country = "CH', "not valid JSON"),
        ('country = {"$byts": "a"}', "has no meaning"),
        ('"country = CH', "quoted field does not end"),
        ("elevation > 9223372036854775808", "64 bits"),
        ('__key__ > {"$key": 1}', "must be text"),
        ("__key__ > [1", "not valid JSON"),
        ("country = CH || x != 1", "joined by and, or and not .column 14"),
        ("country = CH and (x = 1", "parenthesis of column 18 is not closed .column 24"),
        ("country in CH", 'list of values follows in.*in ..CH", "AT"'),
        ('country in {"a": 1}', "list of values follows in"),
        ('country in ["CH" or x = 1', "not valid JSON.*column 12"),
        ('country = "CH") and x = 1', "has ended here.*column 15"),
        ("country and x = 1", "operator is missing.*column 9"),
        ("elevation > 3 or", "no condition follows or; .*double quotes .column 15"),
        ("not country = CH AND  ", "no condition follows AND.*column 18"),
        ("(a = b c or not) and d = 1", "no condition follows or not.*column 10"),
        ("a = 1 or b = 2)", "parenthesis was not opened; .*column 15"),
        ("a = (b)) and c = 1", "parenthesis was not opened; .*column 8"),
        ("name starts_with 3", "takes a text, bytes or a key, not int .column 18"),
        ("__key__ in [{}]", "column 12"),
        ("a = 1 and b =< 3", "'=<' is not one of.*column 13"),
        ("(" * 100_000, "nested 16 deep"),
        ("not " * 17 + "a = 1", "nested 16 deep"),
        ("a = " + "[" * 100_000, "nested too deeply .column 5"),
    ],
)
def test_a_condition_that_cannot_be_read_says_what_can(text: str, says: str) -> None:
    with pytest.raises(InvalidQueryError, match=says):
        parse_where(text)


@given(st.sampled_from(["<", "<=", "=", "!=", ">=", ">", "contains"]), st.sampled_from(["a", "a.b", "ä", "$x"]), values)
def test_every_filter_can_be_written_as_a_condition(operator: str, field: str, value: Any) -> None:
    found = parse_where(f"{field} {operator} {to_json(value)}")
    assert (found.field, found.op) == (field, operator)
    assert exactly(found.value, value)


def test_an_order_is_a_field_with_a_sign() -> None:
    assert parse_order("elevation") == Order("+elevation")
    assert parse_order("+elevation") == Order("+elevation")
    assert parse_order(" -elevation ") == Order("-elevation")
    assert parse_order("two words") == Order("two words")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names no field"),
        ("-", "names no field"),
        ("elevation desc", "write -elevation\\."),
        ("elevation ASC", "write elevation\\."),
    ],
)
def test_an_order_that_cannot_be_read_says_what_can(text: str, says: str) -> None:
    with pytest.raises(InvalidQueryError, match=says):
        parse_order(text)
