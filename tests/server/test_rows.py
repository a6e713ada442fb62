"""Rows of JSON Lines and CSV: what becomes of them, and what an error says."""

from __future__ import annotations

import io
from typing import Any

import pytest

from datastore.core.errors import InvalidError, InvalidValueError
from datastore.core.key import Key
from datastore_server.cli.rows import CsvWriter, JsonLinesWriter, KeyTemplate, read_rows


def read(text: str, file_format: str = "jsonl", **options: Any) -> list[tuple[str, Any]]:
    rows = read_rows(io.StringIO(text, newline=""), file_format, source="file", **options)
    return [(str(row.key), row.value) for row in rows]


def refusal(text: str, file_format: str = "jsonl", **options: Any) -> str:
    with pytest.raises(InvalidError) as refused:
        read(text, file_format, **options)
    return str(refused.value)


ICAO = KeyTemplate("/Airport:{icao}")


def test_lines_of_key_and_value_are_entries() -> None:
    assert read('{"key": "/a", "value": {"n": 1}}\n\n{"value": {"$bytes": "aGk="}, "key": "b"}') == [
        ("/a", {"n": 1}),
        ("/b", b"hi"),
    ]


def test_with_a_template_lines_are_values() -> None:
    assert read('{"icao": "LSZS", "n": 1.0}', template=ICAO) == [("/Airport:LSZS", {"icao": "LSZS", "n": 1.0})]


def test_rows_are_skipped_without_counting_blank_lines() -> None:
    text = '{"key":"/a","value":1}\n\n{"key":"/b","value":2}\n{"key":"/c","value":3}\n'
    assert read(text, skip=2) == [("/c", 3)]
    assert read(text, skip=9) == []
    assert read("key,n\n\n/a,1\n\n/b,2\n", "csv", skip=1) == [("/b", {"n": "2"})]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "not valid JSON"),
        ("3", '{"key"'),
        ('{"key": "/a"}', '{"key"'),
        ('{"key": 3, "value": 1}', '{"key"'),
        ('{"key": "/a", "value": 1, "more": 2}', '{"key"'),
        ('{"key": "/a", "value": null}', "delete"),
        ('{"key": "/\\u0001", "value": 1}', "control"),
        ('{"key": "/a", "value": {"$bytes": 1}}', "$bytes"),
        ('{"key": "/a", "value": 9223372036854775808}', "64 bits"),
    ],
)
def test_a_bad_line_is_named_with_its_reason(line: str, told: str) -> None:
    message = refusal('{"key":"/a","value":1}\n\n' + line)
    assert message.startswith("file, line 3: ")
    assert told in message


def test_rows_before_a_bad_one_are_given() -> None:
    rows = read_rows(io.StringIO('{"key":"/a","value":1}\nx\n'), "jsonl", source="file")
    assert next(rows).key == Key("/a")
    with pytest.raises(InvalidError, match="line 2"):
        next(rows)


def test_cells_are_text_unless_a_type_says_otherwise() -> None:
    text = "icao,a,b,c,d,e,f\nX,1,2,3.5,4,yes,[1]\nY,,,,,,\n"
    types = {"b": "int", "c": "number", "d": "float", "e": "bool", "f": "json"}
    assert read(text, "csv", template=ICAO, types=types) == [
        ("/Airport:X", {"icao": "X", "a": "1", "b": 2, "c": 3.5, "d": 4.0, "e": True, "f": [1]}),
        ("/Airport:Y", {"icao": "Y", "a": ""}),
    ]


def test_number_is_an_integer_where_it_is_written_as_one() -> None:
    found = read("key,n\n/a,12\n/b,12.0\n/c,-3\n/d,1e3\n", "csv", types={"n": "number"})
    assert [(value["n"], type(value["n"])) for _, value in found] == [
        (12, int),
        (12.0, float),
        (-3, int),
        (1000.0, float),
    ]


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("1.5", "int"),
        ("1_0", "int"),
        ("x", "number"),
        ("1_0.0", "float"),
        ("maybe", "bool"),
        ("{", "json"),
        ("٣", "int"),
    ],
)
def test_a_cell_that_is_not_of_its_type_is_named(cell: str, kind: str) -> None:
    message = refusal(f"key,n\n/a,{cell}\n", "csv", types={"n": kind})
    assert message.startswith("file, line 2: ")
    assert "n = " in message and kind in message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,b\n1,2\n", "--key"),
        ("key,a,a\n", "'a' twice"),
        ("key,a\n/x,1,2\n", "line 2: 3 cells, where the header has 2"),
        ("key,a\n/x\n", "line 2: 1 cells"),
        ('key,a\n/x,"1\n', "no CSV"),
    ],
)
def test_bad_csv_is_refused_with_its_place(text: str, told: str) -> None:
    assert told in refusal(text, "csv")


def test_a_type_for_no_column_is_refused_with_those_there_are() -> None:
    assert "key, a" in refusal("key,a\n", "csv", types={"b": "int"})


def test_quoted_cells_may_hold_commas_and_line_ends() -> None:
    assert read('key,a\n/x,"1,\r\n2"\n', "csv") == [("/x", {"a": "1,\r\n2"})]


def test_a_template_may_join_several_members() -> None:
    template = KeyTemplate("/{country}/Airport:{id}")
    assert template.key({"country": "CH", "id": 7}) == Key("/CH/Airport:7")


@pytest.mark.parametrize("value", ["", "a/b", None, 1.5, True, ["x"]])
def test_a_member_that_would_make_another_key_is_refused(value: Any) -> None:
    with pytest.raises(InvalidError, match="icao"):
        ICAO.key({"icao": value})


def test_a_missing_member_is_named() -> None:
    with pytest.raises(InvalidError, match="no member 'icao'"):
        ICAO.key({"iata": "X"})


@pytest.mark.parametrize("text", ["/Airport", "/Airport:{}", "/Airport:{icao", "/a:{icao!r}", "/a:{icao:>3}", ""])
def test_a_template_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InvalidError, match="template"):
        KeyTemplate(text)


ENTRIES = [(Key("/a"), {"n": 1, "s": "x,\n", "b": b"\x00"}), (Key("/é"), {"n": 2.0})]


def test_json_lines_read_back_to_equal_entries() -> None:
    text = JsonLinesWriter().text(ENTRIES)
    assert read(text) == [(str(key), value) for key, value in ENTRIES]


def test_csv_reads_back_with_types() -> None:
    writer = CsvWriter()
    text = writer.text(ENTRIES[:1]) + writer.text(ENTRIES[1:])
    types = {"n": "number", "b": "json"}
    assert read(text, "csv", types=types) == [("/a", ENTRIES[0][1]), ("/é", {"n": 2.0, "s": ""})]


@pytest.mark.parametrize("value", [3, {"n": 1, "more": 2}])
def test_csv_refuses_what_it_would_lose(value: Any) -> None:
    writer = CsvWriter()
    writer.text([(Key("/a"), {"n": 1})])
    with pytest.raises(InvalidValueError, match=r"/b: .*jsonl"):
        writer.text([(Key("/b"), value)])


def test_csv_refuses_a_member_named_as_the_key_s_column() -> None:
    with pytest.raises(InvalidValueError, match="'key'"):
        CsvWriter().text([(Key("/a"), {"key": 1})])
