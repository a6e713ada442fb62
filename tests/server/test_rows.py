"""Rows of JSON Lines and CSV: the entries they become, and the errors of bad ones."""

from __future__ import annotations

import csv
import io
import json
import math
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.model.errors import InvalidError, InvalidValueError
from datastore.model.key import Key
from datastore_server.cli.transfer import csv_dialect, json_rows, lines
from datastore_server.cli.transfer.csv_rows import csv_lines, member_names
from datastore_server.cli.transfer.json_rows import json_array, json_lines, read_array
from datastore_server.cli.transfer.lines import MalformedError
from datastore_server.cli.transfer.reading import Layout, Reader, Refusal
from datastore_server.cli.transfer.templates import KeyTemplate


class Text:
    """A source whose text is given."""

    name, encoding = "file", "utf-8-sig"

    def __init__(self, text: str) -> None:
        self._text = text

    def text(self, newline: str) -> io.StringIO:
        return io.StringIO(self._text, newline=newline)


def reader(text: str, file_format: str = "jsonl", **options: Any) -> Reader:
    hooks = {name: options.pop(name) for name in ("refuse", "note") if name in options}
    return Reader(Text(text), Layout(file_format, **options), **hooks)


def read(text: str, file_format: str = "jsonl", *, skip: int = 0, **options: Any) -> list[tuple[str, Any]]:
    return [(str(row.key), row.value) for row in reader(text, file_format, **options).rows(skip)]


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
    ("line", "reported"),
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
def test_a_bad_line_is_named_with_its_reason(line: str, reported: str) -> None:
    message = refusal('{"key":"/a","value":1}\n\n' + line)
    assert message.startswith("file, line 3: ")
    assert reported in message


def test_rows_before_a_bad_one_are_given() -> None:
    rows = reader('{"key":"/a","value":1}\nx\n').rows()
    assert next(rows).key == Key("/a")
    with pytest.raises(InvalidError, match="line 2"):
        next(rows)


def test_cells_are_text_unless_a_type_says_otherwise() -> None:
    text = "icao,a,b,c,d,e,f\nX,1,2,3.5,4,yes,[1]\nY,,,,,,\n"
    types = {"b": "int", "c": "number", "d": "float", "e": "bool", "f": "json"}
    assert read(text, "csv", template=ICAO, types=types) == [
        ("/Airport:X", {"icao": "X", "a": "1", "b": 2, "c": 3.5, "d": 4.0, "e": True, "f": [1]}),
        ("/Airport:Y", {"icao": "Y"}),
    ]


def test_number_is_an_integer_if_it_is_written_as_one() -> None:
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
        ("١٢٣", "float"),
        ("\uff11", "number"),
        ("1e999", "float"),
        ("-1e999", "number"),
        ("1" * 400, "float"),
        ("9223372036854775808", "int"),
        ("-9223372036854775809", "number"),
        ("1" * 5000, "int"),
        ("1_000", "number"),
        ("0x10", "int"),
        ("0x10", "float"),
        ("nan", "float"),
        ("inf", "float"),
        ("1e", "float"),
        (".", "float"),
        ("\uff11", "bool"),
        ("1e999", "json"),
        ("NaN", "json"),
        ("2026-01-31", "datetime"),
        ("٢٠٢٦-01-31T12:00:00Z", "datetime"),
    ],
)
def test_a_cell_that_is_not_of_its_type_is_named(cell: str, kind: str) -> None:
    message = refusal(f"key,n\n/a,{cell}\n", "csv", types={"n": kind})
    assert message.startswith("file, line 2: ")
    assert "column 'n'" in message and f"is not of type {kind}" in message


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("a,b\n1,2\n", "--key"),
        ("key,a,a\n", "line 1: the header names 'a' twice, in columns 2 and 3"),
        ("\nkey,,a,\n", "line 2: the header names '' twice, in columns 2 and 4"),
        ("key,a\n/x,1,2\n", "line 2: 3 cells, but the header has 2"),
        ("key,a\n/x\n", "line 2: 1 cells"),
        ('key,a\n/x,"1\n', "line 2: the quote that opens cell 2 is not closed"),
        ('key,a\n\n/x,"1\n2"3\n', "line 3: cell 2 has '3' after its closing quote"),
    ],
)
def test_bad_csv_is_refused_with_its_place(text: str, reported: str) -> None:
    assert reported in refusal(text, "csv")


def test_a_type_for_an_unknown_column_is_refused_with_the_known_ones() -> None:
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


@pytest.mark.parametrize("text", ["/Airport", "/Airport:{}", "/Airport:{icao", "/a:icao}", "/a:{b{c}}", ""])
def test_a_template_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InvalidError, match="template"):
        KeyTemplate(text)


@pytest.mark.parametrize("name", ["dc:id", "a.b", "a!r", "a:>3", "with space", "é", "'"])
def test_a_template_takes_any_name_of_a_member(name: str) -> None:
    assert KeyTemplate(f"/Thing:{{{name}}}").key({name: "x"}) == Key("/Thing:x")


def test_doubled_braces_of_a_template_are_braces() -> None:
    assert KeyTemplate("/{{a}}:{b}").key({"b": "x"}) == Key("/{a}:x")


def test_a_template_may_number_the_rows_including_those_left_out() -> None:
    text = "a\nx\ny\nz\n"
    template = KeyTemplate("/Row:{#}")
    assert read(text, "csv", template=template) == [(f"/Row:{n}", {"a": a}) for n, a in enumerate("xyz", 1)]
    assert read(text, "csv", template=template, skip=2) == [("/Row:3", {"a": "z"})]


@pytest.mark.parametrize(
    ("member", "key"),
    [("a/b", "/Osm/a%2Fb"), ("node:1", "/Osm/node%3A1"), ("100%", "/Osm/100%25"), ("a\nb\x85", "/Osm/a%0Ab%C2%85")],
)
def test_an_escaped_member_is_one_name_in_the_key(member: str, key: str) -> None:
    made = KeyTemplate("/Osm/{id}", escape=True).key({"id": member})
    assert made == Key(key)
    assert unquote(made.name) == member
    assert made.path == Key("/Osm")


def test_a_slash_is_refused_with_the_option_that_helps() -> None:
    with pytest.raises(InvalidError, match="--key-escape"):
        ICAO.key({"icao": "a/b"})


@pytest.mark.parametrize(
    ("template", "member", "is_noted"),
    [
        ("/Osm/{id}", "node:1", True),
        ("/{id}", "node:1", True),
        ("/Osm/{id}/x", "node:1", True),
        ("/Osm/x{id}", "node:1", True),
        ("/Osm:{id}", "node:1", False),
        ("/Osm/{id}", "node", False),
        ("/a:b/{id}", "node:1", True),
        ("/{#}:{id}", "node:1", False),
    ],
)
def test_a_colon_that_makes_a_type_is_noted_once(template: str, member: str, is_noted: bool) -> None:
    notes: list[str] = []
    rows = f"id\n{member}\n{member}\n"
    read(rows, "csv", template=KeyTemplate(template), note=notes.append)
    assert len(notes) == is_noted
    assert all("file, line 2" in note and "--key-escape" in note and "'node:1'" in note for note in notes)
    escaped: list[str] = []
    read(rows, "csv", template=KeyTemplate(template, escape=True), note=escaped.append)
    assert escaped == []


def test_null_cells_are_left_out_quoted_or_not() -> None:
    text = 'key,a,b\n/x,NA,"NA"\n/y,,""\n'
    assert read(text, "csv", nulls=("NA",)) == [("/x", {}), ("/y", {"b": ""})]
    assert read(text, "csv", nulls=("NA", "")) == [("/x", {}), ("/y", {})]
    assert read(text, "csv") == [("/x", {"a": "NA", "b": "NA"}), ("/y", {"b": ""})]
    assert read(text, "csv", nulls=("NA",), types={"a": "int"}) == [("/x", {}), ("/y", {"b": ""})]


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1", "-2", "0"], "int", [1, -2, 0]),
        (["1", "2.5"], "float", [1.0, 2.5]),
        (["1e3", "-0.5"], "float", [1000.0, -0.5]),
        (["true", "False"], "bool", [True, False]),
        (["1", "0"], "int", [1, 0]),
        (["2026-01-31T12:00:00Z"], "datetime", [datetime(2026, 1, 31, 12, tzinfo=UTC)]),
        (["8001", "0800"], "str", ["8001", "0800"]),
        (["+41", "1"], "str", ["+41", "1"]),
        (["9223372036854775807"], "int", [2**63 - 1]),
        (["9223372036854775808"], "float", [float(2**63)]),
        (["1e999"], "str", ["1e999"]),
        (["\u0661"], "str", ["\u0661"]),
        (["1", "x"], "str", ["1", "x"]),
        (["yes", "no"], "str", ["yes", "no"]),
        ([" 1"], "str", [" 1"]),
    ],
)
def test_a_type_is_inferred_only_if_it_loses_nothing(cells: list[str], kind: str, values: list[Any]) -> None:
    text = "key,n\n" + "".join(f"/{n},{cell}\n/e{n},\n" for n, cell in enumerate(cells))
    notes: list[str] = []
    found = [value["n"] for _, value in read(text, "csv", infer=True, note=notes.append) if value]
    assert (found, [type(value) for value in found]) == (values, [type(value) for value in values])
    assert notes[:1] == [
        f"Inferred: --type n={kind}; the rest is text" if kind != "str" else "Inferred: all columns are text"
    ]


def test_a_type_that_is_given_overrides_the_inferred_one() -> None:
    assert read("key,a,b\n1,2,3\n", "csv", infer=True, types={"a": "str"}) == [("/1", {"a": "2", "b": 3})]


@pytest.mark.parametrize(
    ("text", "delimiter", "shown"),
    [("id;n\n1;2\n", None, "';'"), ("id\tn\n1\t2\n", None, "tab"), ("id,n\n1,2\n", ";", "','")],
)
def test_a_file_with_another_delimiter_gets_a_hint(text: str, delimiter: str | None, shown: str) -> None:
    message = refusal(text, "csv", template=KeyTemplate("/X:{id}"), delimiter=delimiter)
    assert message.startswith("file, line 1: no column 'id'")
    assert f"--delimiter {shown}" in message
    notes: list[str] = []
    read(text, "csv", template=KeyTemplate("/X:{#}"), delimiter=delimiter, note=notes.append)
    assert f"--delimiter {shown}" in notes[0]


def test_a_delimiter_separates_cells() -> None:
    assert read('key;a\n/x;"1;2"\n', "csv", delimiter=";") == [("/x", {"a": "1;2"})]
    assert read('key\ta\n/x\t"1\t2"\n', "tsv") == [("/x", {"a": "1\t2"})]


@pytest.mark.parametrize("bad", ["/b,1,2", "/b", '/b,"1"2', "/b,\udce9", ",1", "/b,x"])
def test_rows_that_are_left_out_may_be_anything(bad: str) -> None:
    text = f"key,a\n/a,1\n{bad}\n/c,3\n"
    options: dict[str, Any] = {"types": {"a": "int"}}
    assert "line 3" in refusal(text, "csv", **options)
    assert read(text, "csv", skip=2, **options) == [("/c", {"a": 3})]
    refused: list[Refusal] = []
    assert read(text, "csv", refuse=refused.append, **options) == [("/a", {"a": 1}), ("/c", {"a": 3})]
    assert [(one.line, one.number, one.text) for one in refused] == [(3, 2, f"{bad}\n")]


def test_a_row_that_is_not_text_is_named_by_line_and_byte() -> None:
    assert "file, line 2: not in UTF-8: byte 0xE9 at byte 7 of line 2" in refusal("key,a\n/a,éb\udce9\n", "csv")
    assert "byte 0xFF at byte 2 of line 3" in refusal('key,a\n/a,"x\ny\udcff"\n', "csv")
    assert "file, line 1: not in UTF-8: byte 0xFF at byte 5 of line 1" in refusal("key,\udcff\n", "csv")
    message = refusal('{"key":"/a","value":1}\n{"key":"/\udce9","value":1}\n')
    assert "file, line 2: not in UTF-8: byte 0xE9 at byte 10 of line 2" in message and "--encoding" in message


# Arrays


ARRAY = [{"id": n, "text": "x" * (n * 7 % 300), "nested": [[n], {"a": "],\n["}]} for n in range(2000)]


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_of_objects_is_read_whatever_its_layout(indent: int | None) -> None:
    found = read(json.dumps(ARRAY, indent=indent), "json", template=KeyTemplate("/X:{id}"))
    assert [value for _, value in found] == ARRAY


def test_an_array_is_read_piece_by_piece() -> None:
    class Counting(io.StringIO):
        longest = 0

        def read(self, size: int | None = -1) -> str:
            Counting.longest = max(Counting.longest, size or 0)
            return super().read(size)

    elements = list(read_array(Counting(json.dumps(ARRAY))))
    assert len(elements) == len(ARRAY)
    assert 0 < Counting.longest <= 64 * 1024


@pytest.mark.parametrize("text", ["[]", " [ ] ", "", "\n"])
def test_an_empty_array_has_no_rows(text: str) -> None:
    assert read(text, "json") == []


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('{"a": 1}', 1, "--format jsonl"),
        ('[{"key":"/a","value":1}', 1, "ends in the middle"),
        ('[{"key":"/a","value":1},\n', 2, "ends in the middle"),
        ('[\n{"key":"/a","value":1}\n{}]', 3, "expected ',' or ']'"),
        ('[\n{"key":"/a","value":1},\n\n{"a"\n:}]', 5, "Expecting value"),
        ('[{"key":"/a","value":1},]', 1, "Expecting value"),
        ('[{"key":"/a","value":1}] 2', 1, "nothing after the end"),
        ("[" * 100_000, 1, "not valid JSON"),
        ('[\n1,\n{"key":"/b","value":1}]', 2, '{"key"'),
        ('[\n{"key":"/a","value":{"$typo":1}}]', 2, "--plain"),
    ],
)
def test_a_bad_array_is_refused_with_its_line(text: str, line: int, says: str) -> None:
    message = refusal(text, "json")
    assert message.startswith(f"file, line {line}: ")
    assert says in message


def test_rows_before_a_fault_in_an_array_are_given() -> None:
    rows = reader('[{"key":"/a","value":1}, x]', "json").rows()
    assert next(rows).key == Key("/a")
    with pytest.raises(InvalidError, match="line 1"):
        next(rows)


@pytest.mark.parametrize("text", ['[{"id": 1}]', '[\n{"id": 1}\n]'])
def test_an_array_read_as_lines_gets_a_hint(text: str) -> None:
    assert "--format json" in refusal(text)
    assert "--format json" in refusal(text, template=KeyTemplate("/X:{id}"))


def test_an_element_has_the_size_limit_of_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "ROW_CHARACTERS", 200)
    monkeypatch.setattr(json_rows, "_CHUNK_CHARACTERS", 10)
    assert [len(raw.text) for raw in read_array(io.StringIO(f'["{"x" * 198}"]'))] == [200]
    with pytest.raises(MalformedError, match="line 1: an element has more than 200 characters"):
        list(read_array(io.StringIO(f'["{"x" * 2000}"]')))


def test_a_line_has_a_limit_of_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LINE_CHARACTERS", 10)
    for length in (9, 10):
        assert list(lines.lines_of(io.StringIO("a\n" + "x" * (length - 1) + "\n")))[1] == "x" * (length - 1) + "\n"
    with pytest.raises(MalformedError, match="line 2: a line has more than 10 characters"):
        list(lines.lines_of(io.StringIO("a\n" + "x" * 10 + "\n")))


def test_plain_objects_are_stored_unchanged() -> None:
    text = '{"_id": {"$oid": "5f"}, "at": {"$datetime": 3}, "id": 1}\n'
    template = KeyTemplate("/X:{id}")
    assert read(text, template=template, plain=True) == [("/X:1", json.loads(text))]
    assert "--plain" in refusal(text, template=template)
    assert read('{"key":"/a","value":{"$ref":1}}', plain=True) == [("/a", {"$ref": 1})]


# Writing


ENTRIES = [(Key("/a"), {"n": 1, "s": "x,\n", "b": b"\x00"}), (Key("/é"), {"n": 2.0})]


def test_json_lines_read_back_to_equal_entries() -> None:
    text = "".join(json_lines([ENTRIES]))
    assert read(text) == [(str(key), value) for key, value in ENTRIES]


@pytest.mark.parametrize("batches", [[], [[]], [ENTRIES], [ENTRIES[:1], [], ENTRIES[1:]]])
def test_an_array_reads_back_to_equal_entries(batches: list[Any]) -> None:
    text = "".join(json_array(batches))
    assert len(json.loads(text)) == sum(map(len, batches))
    assert read(text, "json") == [(str(key), value) for batch in batches for key, value in batch]


def test_csv_reads_back_with_types() -> None:
    moment = datetime(2026, 1, 31, 12, 0, 0, 5, UTC)
    entries = [*ENTRIES, (Key("/t"), {"t": moment, "f": math.inf, "k": Key("/x"), "j": [1, {"a": None}], "z": True})]
    text = "".join(csv_lines([entries[:1], entries[1:]], sorted(member_names(entries))))
    types = {"n": "number", "b": "json", "t": "datetime", "f": "float", "k": "json", "j": "json", "z": "bool"}
    assert read(text, "csv", types=types) == [(str(key), value) for key, value in entries]
    assert ",2026-01-31T12:00:00.000005Z," in text and ",Infinity," in text


def test_csv_refuses_what_is_not_a_map_and_what_came_after_its_header() -> None:
    with pytest.raises(InvalidValueError, match=r"/b: .*jsonl"):
        member_names([(Key("/b"), 3)])
    with pytest.raises(InvalidValueError, match="/b: its member 'more'"):
        list(csv_lines([[(Key("/b"), {"n": 1, "more": 2})]], ["n"]))
    batches = [[(Key("/b"), {"n": 1, "more": 2, "key": 3})]]
    assert list(csv_lines(batches, ["n"], drop_others=True)) == ["key,n\n", "/b,1\n"]


def test_csv_refuses_a_member_named_as_the_key_s_column() -> None:
    with pytest.raises(InvalidValueError, match="'key'"):
        member_names([(Key("/a"), {"key": 1})])


# The dialect


CELLS = st.text(st.sampled_from('ab",;\r\n \t\ufeff\0é'), max_size=8)


@given(st.lists(st.lists(CELLS | st.none(), min_size=1, max_size=5), max_size=5), st.sampled_from(",;\t|"))
def test_records_read_back_cell_by_cell(records: list[list[str | None]], delimiter: str) -> None:
    text = "".join(csv_dialect.record_text(cells, delimiter) for cells in records)
    read_back = list(csv_dialect.read_records(io.StringIO(text, newline=""), delimiter))
    # A record with one absent cell would be a blank line.
    assert [record.cells for record in read_back] == [cells if cells != [None] else [""] for cells in records]
    assert [record.fault for record in read_back] == [None] * len(records)
    assert "".join(record.text for record in read_back) == text


@given(st.lists(st.lists(CELLS, min_size=2, max_size=5), max_size=5), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_records_are_those_of_python_s_csv(records: list[list[str]], end: str, quote_all: bool) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n", quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL)
    writer.writerows(records)
    written = text.getvalue()
    found = csv_dialect.read_records(io.StringIO(written, newline=""), ",")
    assert [[cell or "" for cell in record.cells] for record in found] == records
    # And it reads what we write.
    ours = "".join(csv_dialect.record_text(cells, ",") for cells in records).replace("\n", end)
    theirs = csv.reader(io.StringIO(ours, newline=""), strict=True)
    assert list(theirs) == [[cell.replace("\n", end) for cell in cells] for cells in records]


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ('a"b,c', ['a"b', "c"]),
        ('a,b"c"', ["a", 'b"c"']),
        ('"a""b"', ['a"b']),
        ('"a",', ["a", None]),
        (',"a"', [None, "a"]),
        (',""', [None, ""]),
        ('"a\r\nb\rc\nd"', ["a\r\nb\rc\nd"]),
        ('""""', ['"']),
        ('"a\n""\n",', ['a\n"\n', None]),
        (" ", [" "]),
    ],
)
def test_quotes_are_read_as_rfc_4180_says(text: str, cells: list[str | None]) -> None:
    for end in ("", "\n", "\r\n", "\r"):
        (record,) = csv_dialect.read_records(io.StringIO(text + end, newline=""), ",")
        assert record == (1, text + end, cells, None)


def test_reading_continues_after_a_malformed_record() -> None:
    text = 'a,"b"c\n"d\ne"f,g\nh\n"i'
    found = [(record.line, record.fault) for record in csv_dialect.read_records(io.StringIO(text, newline=""), ",")]
    assert found == [
        (1, "cell 2 has 'c' after its closing quote"),
        (2, "cell 1 has 'f' after its closing quote"),
        (4, None),
        (5, "the quote that opens cell 1 is not closed"),
    ]


def test_a_quoted_cell_has_a_limit_of_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_dialect, "CELL_CHARACTERS", 20)
    for length in (9, 10):
        (record,) = csv_dialect.read_records(io.StringIO('"' + "x\n" * length + '"'), ",")
        assert record.cells == ["x\n" * length]
    with pytest.raises(MalformedError, match="line 1: a quoted cell has more than 20 characters"):
        list(csv_dialect.read_records(io.StringIO('"' + "x\n" * 11 + '"'), ","))
