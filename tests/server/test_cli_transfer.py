"""`import` and `export` as commands: files of all kinds, complete, interrupted and resumed."""

from __future__ import annotations

import gzip
import json
import os
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from datastore_server.cli.transfer import exporting
from datastore_server.cli.values import from_tree
from tests.support.commands import server_process
from tests.support.transfers import Transfers


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with server_process("serve", "memory:", "--listen", "127.0.0.1:0") as ready:
        yield ready["url"]


@pytest.fixture
def cli(server: str, tmp_path: Path) -> Transfers:
    return Transfers(server, tmp_path)


def rows(key: str, count: int) -> list[dict[str, Any]]:
    return [{"key": f"{key}:{n:05}", "value": {"n": n}} for n in range(count)]


# Any text out and in


HARD = [
    "\r",
    "\n",
    "\r\n",
    '"',
    '""',
    ",",
    ";",
    "\t",
    " ",
    "\ufeff",
    "\0",
    "\u2028",
    "=1+1",
    "@x",
    "NA",
    "\\N",
    "'",
    "é",
]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.lists(
    st.sampled_from([*HARD, "x"]), max_size=4
).map("".join)
maps = st.dictionaries(texts.filter(lambda name: name != "key"), texts, max_size=4)


@pytest.mark.parametrize("ending", ["csv", *(pytest.param(name, marks=pytest.mark.long) for name in ("tsv", "csv.gz"))])
@given(values=st.lists(maps, max_size=4))
@example(values=[{"a": "1\r2", "b\rc": "x"}, {"a": "\r"}, {"b\rc": ""}])
@example(values=[{}, {"": ""}, {" a ": " b "}])
@example(values=[{"$": ""}, {"$key": "x"}])
@example(values=[{"\ufeff": "\ufeff", '"': '"'}, {"=1+1": "=1+1"}, {"\0": "\0"}])
def test_any_text_survives_csv_out_and_in(cli: Transfers, ending: str, values: list[dict[str, str]]) -> None:
    entries = [{"key": f"/Any/{ending}:{n}", "value": value} for n, value in enumerate(values)]
    _empty(cli, f"/Any/{ending}")
    cli.out("import", cli.write("in.jsonl", entries), "--plain")
    before = cli.entries(f"/Any/{ending}")
    file = str(cli.directory / f"out.{ending}")
    cli.out("export", f"/Any/{ending}", file)
    _empty(cli, f"/Any/{ending}")
    cli.out("import", file)
    assert cli.entries(f"/Any/{ending}") == before
    assert [from_tree(value) for _, value in before] == values


def _empty(cli: Transfers, key: str) -> None:
    for found, _ in cli.entries(key):
        cli.out("delete", found)


def test_keys_with_any_text_survive_csv(cli: Transfers) -> None:
    entries = [{"key": f"/Keys/{name}", "value": {"a": "x"}} for name in ['"', ",", " a ", "é", "=1", "\ufeff", "a;b"]]
    cli.out("import", cli.write("in.jsonl", entries))
    cli.out("export", "/Keys", str(cli.directory / "out.csv"))
    found = cli.entries("/Keys")
    _empty(cli, "/Keys")
    cli.out("import", str(cli.directory / "out.csv"))
    assert cli.entries("/Keys") == found
    assert len(found) == len(entries)


# Formats


#: More than a request has.
VALUES = [{"id": n, "name": f"é{n}", "f": n / 2} for n in range(1200)]
FORMATS = ["x.json.gz", "x.csv.zst", "x.jsonl"]
MORE_FORMATS = ["x.ndjson", "x.json", "x.csv", "x.tsv", "x.JSONL.GZ", "x.jsonl.zst"]


@pytest.mark.parametrize("name", [*FORMATS, *(pytest.param(name, marks=pytest.mark.long) for name in MORE_FORMATS)])
def test_every_format_can_be_imported_again(cli: Transfers, name: str) -> None:
    if name.endswith(".zst"):
        pytest.importorskip("backports.zstd", reason="backports.zstd is not installed: pip install backports.zstd")
    key = f"/Formats/{name}"
    cli.out("import", cli.write("in.jsonl", [{"key": f"{key}:{v['id']:04}", "value": v} for v in VALUES]))
    file = str(cli.directory / name)
    cli.out("export", key, file)
    exported = Path(file).read_bytes()
    before = cli.entries(key)
    _empty_all(cli, key)
    types = ["--type", "id=int", "--type", "f=float"] if ".csv" in name or ".tsv" in name else []
    done = json.loads(cli.out("import", file, "--json", *types))
    assert (done["rows"], done["keys"]) == (1200, 1200)
    assert cli.entries(key) == before
    assert sorted(path.name for path in cli.directory.iterdir()) == ["in.jsonl", name]
    # Equal entries make equal files, compressed or not.
    cli.out("export", key, file)
    assert Path(file).read_bytes() == exported


def _empty_all(cli: Transfers, key: str) -> None:
    # The first few are enough to see that the import restores them.
    for found, _ in cli.entries(key)[:3]:
        cli.out("delete", found)


def test_compression_is_detected_by_content_not_name(cli: Transfers) -> None:
    packed = gzip.compress(b'{"key":"/Gz:a","value":1}\n')
    cli.out("import", cli.write("packed.jsonl", packed))
    cli.out("import", cli.write("plain.jsonl.gz", '{"key":"/Gz:b","value":1}\n'))
    cli.write("two.jsonl.gz", packed + gzip.compress(b'{"key":"/Gz:c","value":1}\n'))
    assert cli.shell("$D import - < two.jsonl.gz").code == 0
    assert [key for key, _ in cli.entries("/Gz")] == ["/Gz:a", "/Gz:b", "/Gz:c"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (gzip.compress(b'{"key":"/Cut:a","value":1}\n' * 9, mtime=0)[:-9], "damaged or truncated"),
        (gzip.compress(b"x", mtime=0)[:4], "damaged or truncated"),
        (b"PK\x03\x04rest", "zip archive or a spreadsheet"),
        (b"\xfd7zXZ\0", "xz -dc"),
        (b"\xff\xfe{\0", "--encoding utf-16"),
    ],
    ids=["cut gzip", "cut header", "zip", "xz", "utf-16"],
)
def test_a_file_that_cannot_be_read_is_refused_with_what_to_do(cli: Transfers, content: bytes, says: str) -> None:
    done = cli("import", cli.write("x.jsonl", content))
    assert done.code == 3
    assert "x.jsonl" in done.err and says in done.err


def test_zstandard_without_its_package_says_what_to_install(cli: Transfers, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("datastore_server.cli.transfer.sources.import_module", absent)
    done = cli("import", cli.write("x.jsonl.zst", b"\x28\xb5\x2f\xfd...."))
    assert done.code == 3
    assert "pip install backports.zstd" in done.err
    done = cli("export", "/", str(cli.directory / "out.jsonl.zst"))
    assert done.code == 3
    assert "pip install backports.zstd" in done.err
    assert sorted(path.name for path in cli.directory.iterdir()) == ["x.jsonl.zst"]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "UTF-8", "shift_jis"])
def test_a_file_may_be_in_another_encoding(cli: Transfers, encoding: str) -> None:
    text = "ｶﾅ" if encoding == "shift_jis" else "é"
    file = cli.write("x.csv", f"key,a\r\n/Encoded/{encoding},{text}\r\n".encode(encoding))
    cli.out("import", file, "--encoding", encoding)
    assert cli.entries(f"/Encoded/{encoding}") == []
    assert json.loads(cli.out("get", f"/Encoded/{encoding}")) == {"a": text}


def test_a_file_in_another_encoding_is_refused_with_line_and_byte(cli: Transfers) -> None:
    file = cli.write("x.csv", b"key,a\n/Latin:a,x\n/Latin:b,caf\xe9\n/Latin:c,x\n")
    done = cli("import", file)
    assert done.code == 3
    assert f"{file}, line 3: not in UTF-8: byte 0xE9 at byte 13 of line 3" in done.err
    assert "--encoding" in done.err and "--skip 1" in done.err
    assert len(cli.entries("/Latin")) == 1
    refused = str(cli.directory / "refused.jsonl")
    cli.out("import", file, "--skip-errors", refused)
    assert len(cli.entries("/Latin")) == 2
    assert cli("import", cli.write("y.jsonl", "x".encode("utf-16")), "--encoding", "utf-16-be").code == 3


def test_a_cut_off_utf_16_file_is_refused(cli: Transfers) -> None:
    done = cli("import", cli.write("x.csv", "key,a\n/X,b\n".encode("utf-16")[:-1]), "--encoding", "utf-16")
    assert done.code == 3
    assert "not in utf-16" in done.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["x.csv", "--encoding", "base64"], "text encoding"),
        (["x.csv", "--encoding", "nonsense"], "latin-1"),
        (["x.csv", "--delimiter", ";;"], "one character"),
        (["x.csv", "--delimiter", '"'], "one character"),
        (["x.jsonl", "--delimiter", ";"], "CSV"),
        (["x.jsonl", "--null", "NA"], "CSV"),
        (["x.jsonl", "--type", "auto"], "CSV"),
        (["x.csv", "--plain"], "JSON"),
        (["x.csv", "--metadata"], "JSON"),
        (["x.jsonl", "--metadata", "--key", "/{a}"], "--key builds other keys"),
        (["x.jsonl", "--metadata", "--expires-in", "1h"], "give one of them"),
        (["x.csv", "--key-escape"], "--key"),
        (["x.csv", "--skip-errors", "x.csv"], "the file to import"),
        (["x.xlsx"], ".csv, .tsv"),
    ],
)
def test_options_that_do_not_fit_together_are_usage_errors(cli: Transfers, arguments: list[str], says: str) -> None:
    for name in ("x.csv", "x.jsonl", "x.xlsx"):
        cli.write(name, "key\n/a\n")
    paths = [str(cli.directory / word) if word.startswith("x.") else word for word in arguments]
    done = cli("import", *paths)
    if done.code == -1:
        pytest.fail(done.err)
    assert done.code == 2
    assert says in done.err
    assert (cli.directory / "x.csv").read_text() == "key\n/a\n"


# Metadata


@pytest.mark.parametrize("name", ["all.jsonl", "all.json"])
def test_metadata_are_exported_and_of_them_the_expiry_imported(cli: Transfers, name: str) -> None:
    cli.write("in.jsonl", "\n".join(map(json.dumps, rows("/md", 3))))
    assert cli("import", str(cli.directory / "in.jsonl")).code == 0
    assert cli("touch", "/md:00001", "--expires-in", "1h").code == 0
    path = cli.directory / name
    assert cli("export", "/md", str(path), "--metadata").code == 0
    text = path.read_text()
    found = json.loads(text) if name.endswith(".json") else list(map(json.loads, text.splitlines()))
    assert [{"key": row["key"], "value": row["value"]} for row in found] == rows("/md", 3)
    assert [sorted(set(row) - {"key", "value"}) for row in found] == [
        ["create_time", "update_time", "version"],
        ["create_time", "expire_time", "update_time", "version"],
        ["create_time", "update_time", "version"],
    ]
    refused = cli("import", str(path))
    assert refused.code == 3
    assert "--metadata" in refused.err
    assert cli("delete", "/md", "--recursive", "--yes").code == 0
    assert cli("import", str(path), "--metadata").code == 0
    again = cli.directory / "again.jsonl"
    assert cli("export", "/md", str(again), "--metadata").code == 0
    restored = list(map(json.loads, again.read_text().splitlines()))
    assert [row.get("expire_time") for row in restored] == [row.get("expire_time") for row in found]
    assert all(after["version"] > before["version"] for before, after in zip(found, restored, strict=True))


def test_a_row_with_metadata_that_has_expired_deletes(cli: Transfers) -> None:
    row = {"key": "/gone", "value": 1, "version": 7, "expire_time": "2001-01-01T00:00:00Z"}
    cli.write("old.jsonl", json.dumps({"key": "/gone", "value": 0}))
    cli.write("gone.jsonl", json.dumps(row))
    cli.write("bad.jsonl", json.dumps({**row, "expire_time": 5}))
    assert cli("import", str(cli.directory / "old.jsonl")).code == 0
    bad = cli("import", str(cli.directory / "bad.jsonl"), "--metadata")
    assert bad.code == 3
    assert "expire_time" in bad.err
    assert cli("get", "/gone").code == 0
    assert cli("import", str(cli.directory / "gone.jsonl"), "--metadata").code == 0
    assert cli("get", "/gone").code == 1


# Real files


def test_the_airports_of_the_world_are_imported_with_inferred_types(cli: Transfers) -> None:
    airportsdata = pytest.importorskip("airportsdata", reason="airportsdata is not installed")
    source = Path(airportsdata.__file__).with_name("airports.csv")
    with source.open(encoding="utf-8") as file:
        head = [next(file) for _ in range(1501)]
    file_name = cli.write("airports.csv", "".join(head))
    done = cli("import", file_name, "--key", "/Real/Airport:{icao}", "--type", "auto", "--null", "")
    assert done.code == 0
    assert "--type elevation=" in done.err and "--type lat=float" in done.err
    assert "1,500 rows of 1,500 keys" in done.err
    expected = airportsdata.load("ICAO")
    for key, value in cli.entries("/Real/Airport"):
        known = {name: text for name, text in expected[key.rpartition(":")[2]].items() if text != ""}
        assert value == known


@pytest.mark.parametrize(
    ("cells", "hint"),
    [
        (["1", "NA", "3"], "n would be int without the cells 'NA'; to leave those out of all columns, add --null NA"),
        (["NA", "1.5", "NA", "2"], "n would be float without the cells 'NA'"),
        (["true", "n/a", "false"], "n would be bool without the cells 'n/a'"),
        (["2026-01-31T12:00:00Z", "unknown"], "n would be datetime without the cells 'unknown'"),
        (["1", '""'], "add --null ''"),
        (["1", "NA", "NULL"], None),
        (["1", "2b"], None),
        (["1", "a text of many letters"], None),
        (["NA", "NA"], None),
        (["1", "2"], None),
    ],
    ids=str,
)
def test_one_text_that_keeps_a_column_from_its_type_gets_a_hint(
    cli: Transfers, cells: list[str], hint: str | None
) -> None:
    lines = "".join(f"{cell},x\n" for cell in cells)
    done = cli("import", cli.write("stray.csv", "n,other\n" + lines), "--key", "/Stray:{#}", "--type", "auto")
    assert done.code == 0
    assert (hint in done.err) if hint else ("Hint" not in done.err)


def test_a_column_with_a_given_type_gets_no_hint(cli: Transfers) -> None:
    file_name = cli.write("given.csv", "n\n1\nNA\n")
    done = cli("import", file_name, "--key", "/Given:{#}", "--type", "auto", "--type", "n=str")
    assert done.code == 0 and "Hint" not in done.err


SAMPLES = {
    # A Swiss bank's statement: semicolons, cp1252, quotes, a byte that is not UTF-8.
    "statement.csv": (
        'Datum;Buchungstext;Betrag;Saldo\r\n31.01.2026;"Café ""Zürich""; Bar";-12.50;1000.00\r\n'.encode("cp1252"),
        ["--delimiter", ";", "--encoding", "cp1252", "--key", "/S1/{#}", "--type", "auto"],
        [{"Datum": "31.01.2026", "Buchungstext": 'Café "Zürich"; Bar', "Betrag": -12.5, "Saldo": 1000.0}],
    ),
    # OpenStreetMap extract: tab separated, ids with a colon and a slash.
    "nodes.tsv": (
        b"@id\tdc:id\tname\nnode/1\tnode:1\tZ\xc3\xbcrich HB\n",
        ["--key", "/S2:{@id}/{dc:id}", "--key-escape"],
        [{"@id": "node/1", "dc:id": "node:1", "name": "Zürich HB"}],
    ),
    # R's write.csv: quoted texts, NA without quotes, a column without a name.
    "r.csv": (
        b'"","x","when"\n"1",NA,"2026-01-31T12:00:00.5000000Z"\n"2",3,NA\n',
        ["--key", "/S3:{#}", "--null", "NA", "--type", "auto"],
        [{"": 1, "when": {"$datetime": "2026-01-31T12:00:00.500000Z"}}, {"": 2, "x": 3}],
    ),
    # mongoexport --jsonArray.
    "mongo.json": (
        b'[{"_id":{"$oid":"5f"},"n":{"$numberLong":"1"},"s":"a"},\n{"_id":{"$oid":"60"},"s":"b"}]\n',
        ["--key", "/S4:{s}", "--plain"],
        [
            {"_id": {"$map": {"$oid": "5f"}}, "n": {"$map": {"$numberLong": "1"}}, "s": "a"},
            {"_id": {"$map": {"$oid": "60"}}, "s": "b"},
        ],
    ),
    # Excel: byte order mark, CRLF, trailing blank line, codes with leading zeros.
    "excel.csv": (
        b"\xef\xbb\xbfplz,ort,aktiv\r\n08001,Z\xc3\xbcrich,TRUE\r\n03000,Bern,FALSE\r\n\r\n",
        ["--key", "/S5:{plz}", "--type", "auto"],
        [{"plz": "03000", "ort": "Bern", "aktiv": False}, {"plz": "08001", "ort": "Zürich", "aktiv": True}],
    ),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_files_as_other_programs_write_them(cli: Transfers, name: str) -> None:
    content, options, expected = SAMPLES[name]
    done = cli("import", cli.write(name, content), *options)
    assert done.code == 0, done.err
    assert [value for _, value in cli.entries(f"/S{list(SAMPLES).index(name) + 1}")] == expected


def test_types_are_inferred_of_standard_input_too(cli: Transfers) -> None:
    cli.write("x.csv", "key,n\n/Auto/a,1\n/Auto/b,2.5\n")
    assert cli.shell("cat x.csv | $D import - --format csv --type auto").code == 0
    # Lines that the shell has read are not read again.
    cli.write("y.csv", "a line before\nkey,n\n/Auto/c,1\n")
    assert cli.shell("(read line; $D import - --format csv --type auto) < y.csv").code == 0
    assert cli.entries("/Auto") == [("/Auto/a", {"n": 1.0}), ("/Auto/b", {"n": 2.5}), ("/Auto/c", {"n": 1})]


# Keys


def test_a_colon_that_makes_a_type_gets_a_warning(cli: Transfers) -> None:
    file = cli.write("osm.csv", "id,n\nnode:1,1\nway:2,2\n")
    done = cli("import", file, "--key", "/Osm/{id}")
    assert done.code == 0
    assert done.err.count("Warning") == 1
    assert "'node:1' makes a type: /Osm/node:1 belongs to the collection /Osm/node" in done.err
    cli.out("import", file, "--key", "/Osm2/{id}", "--key-escape")
    assert [key for key, _ in cli.entries("/Osm2")] == ["/Osm2/node%3A1", "/Osm2/way%3A2"]


def test_rows_of_one_key_are_counted_as_one_and_warned_of(cli: Transfers) -> None:
    done = cli("import", cli.write("x.csv", "id,n\na,1\na,2\nb,3\n"), "--key", "/Twice:{id}", "--json")
    report = json.loads(done.out)
    assert (done.code, report["rows"], report["keys"]) == (0, 3, 2)
    assert "Imported 3 rows of 2 keys" in done.err
    assert "Warning: 1 row has the key of an earlier row" in done.err
    assert cli.entries("/Twice") == [("/Twice:a", {"id": "a", "n": "2"}), ("/Twice:b", {"id": "b", "n": "3"})]
    assert "Warning" not in cli("import", cli.write("y.csv", "id\nx\ny\n"), "--key", "/Once:{id}").err


# Bad rows


def test_bad_rows_are_written_to_a_file_and_the_rest_is_imported(cli: Transfers) -> None:
    deep = "[" * 40 + "]" * 40
    lines = [f'{{"key":"/Skip:{n:04}","value":{n}}}\n' for n in range(1500)]
    lines[3], lines[700], lines[1400] = "oops\n", f'{{"key":"/Skip:deep","value":{deep}}}\n', '{"key":"/\\u0001"}\n'
    file, refused = cli.write("in.jsonl", "".join(lines)), str(cli.directory / "refused.jsonl")
    done = cli("import", file, "--skip-errors", refused, "--json")
    assert done.code == 0
    report = json.loads(done.out)
    assert (report["rows"], report["refused"]) == (1497, 3)
    assert "3 rows were refused" in done.err and refused in done.err
    found = {record["line"]: record for record in map(json.loads, Path(refused).read_text().splitlines())}
    assert {line: record["text"] + "\n" for line, record in found.items()} == {
        number + 1: lines[number] for number in (3, 700, 1400)
    }
    assert "not valid JSON" in found[4]["error"] and found[4]["reason"] == "INVALID_VALUE"
    assert json.loads(cli.out("count", "/Skip")) == 1497


def test_an_import_that_is_continued_adds_to_the_refused_rows(cli: Transfers) -> None:
    file, refused = cli.write("in.jsonl", "x\n"), cli.directory / "refused.jsonl"
    for expected, options in enumerate([[], ["--skip", "1"]]):
        cli.out("import", file, "--skip-errors", str(refused), *options)
        assert len(refused.read_text().splitlines()) == 1, expected
    cli.write("in.jsonl", "x\ny\n")
    cli.out("import", file, "--skip-errors", str(refused), "--skip", "1")
    assert len(refused.read_text().splitlines()) == 2


# Waiting, and ending early


def test_rows_are_sent_while_the_input_pauses(cli: Transfers) -> None:
    with cli.process("import", "-") as process:
        assert process.stdin is not None and process.stderr is not None
        for count in (20, 21):
            process.stdin.writelines(json.dumps(row) + "\n" for row in rows("/Tail", count)[count // 21 * 20 :])
            process.stdin.flush()
            while int(cli.out("count", "/Tail")) < count:
                pass
        process.stdin.close()
        assert "Imported 21 rows" in process.stderr.read()
        assert process.wait() == 0


def test_a_refused_row_ends_an_import_whose_input_pauses(cli: Transfers) -> None:
    deep = json.dumps({"key": "/Pause:b", "value": json.loads("[" * 40 + "]" * 40)})
    with cli.process("import", "-") as process:
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write(json.dumps({"key": "/Pause:a", "value": 1}) + "\n" + deep + "\n")
        process.stdin.flush()
        error = process.stderr.read()
        assert process.wait() == 3
    assert "standard input, line 2 (/Pause:b)" in error and "--skip 1" in error


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [
        (signal.SIGTERM, 143, "SIGTERM"),
        pytest.param(signal.SIGHUP, 129, "SIGHUP", marks=pytest.mark.long),
        pytest.param(signal.SIGINT, 130, "Interrupted", marks=pytest.mark.long),
    ],
)
def test_a_signal_ends_an_import_saying_how_to_continue(cli: Transfers, number: int, code: int, says: str) -> None:
    key = f"/Signal/{number}"
    with cli.process("import", "-", "--json") as process:
        assert process.stdin is not None and process.stderr is not None and process.stdout is not None
        process.stdin.writelines(json.dumps(row) + "\n" for row in rows(key, 30))
        process.stdin.flush()
        while int(cli.out("count", key, "-r")) < 30:
            pass
        process.send_signal(number)
        error = process.stderr.read()
        assert process.wait() == code
        assert process.stdout.read() == ""
    assert "Acknowledged: the first 30 rows" in error
    assert "datastore import - --json --skip 30" in error
    assert says in error and "Traceback" not in error


def test_an_import_that_ends_before_its_first_row_says_that_nothing_was_stored(cli: Transfers) -> None:
    (cli.directory / "bad.jsonl").write_text('{"key": "/Bad:a"}\n')
    done = cli("import", str(cli.directory / "bad.jsonl"))
    assert done.code == 3
    assert "Nothing was stored" in done.err
    assert "run the same command" in done.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_an_import_copies_a_pipe_says_that_nothing_was_stored(cli: Transfers, number: int) -> None:
    with cli.process("import", "-", "--format", "csv", "--type", "auto", "--key", "/Copy:{id}") as process:
        assert process.stdin is not None and process.stderr is not None
        # More than a pipe holds: once this is written, the import reads.
        process.stdin.write("id\n" + "1\n" * 500_000)
        process.stdin.flush()
        process.send_signal(number)
        error = process.stderr.read()
        assert process.wait() == 128 + number
    assert "Nothing was stored. To try again, run the same command." in error


def test_a_signal_that_is_ignored_stays_ignored(cli: Transfers) -> None:
    line = 'trap \'\' HUP; { echo \'{"key":"/Nohup:a","value":1}\'; kill -HUP $$; } | $D import -'
    assert cli.shell(line).code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_an_export_saying_how_to_continue(
    cli: Transfers, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    entries = rows(f"/Big/{number}", 3000)
    cli.out("import", cli.write("in.jsonl", entries))
    json_lines = exporting.json_lines

    def interrupted(batches: Any) -> Iterator[str]:
        for text in json_lines(batches):
            if (cli.directory / "out.jsonl.partial").stat().st_size > 0:
                signal.raise_signal(number)
            yield text

    out = str(cli.directory / "out.jsonl")
    monkeypatch.setattr(exporting, "json_lines", interrupted)
    done = cli("export", f"/Big/{number}", out)
    assert done.code == 128 + number
    assert f"datastore export /Big/{number} {out} --resume" in done.err
    monkeypatch.undo()
    cli.out("export", f"/Big/{number}", out, "--resume")
    assert [json.loads(line) for line in Path(out).read_text().splitlines()] == entries


# Targets of an export


@pytest.fixture
def ten(cli: Transfers) -> str:
    cli.out("import", cli.write("ten.jsonl", rows("/Ten", 10)))
    (cli.directory / "ten.jsonl").unlink()
    return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows("/Ten", 10))


def test_a_link_is_followed_and_the_mode_is_kept(cli: Transfers, ten: str) -> None:
    (cli.directory / "below").mkdir()
    real, link = cli.directory / "below/real.jsonl", cli.directory / "link.jsonl"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to("below/real.jsonl")
    cli.out("export", "/Ten", str(link))
    assert link.is_symlink()
    assert real.read_text() == ten
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    dangling = cli.directory / "dangling.jsonl"
    dangling.symlink_to("below/new.jsonl")
    cli.out("export", "/Ten", str(dangling))
    assert dangling.is_symlink() and (cli.directory / "below/new.jsonl").read_text() == ten


@pytest.mark.parametrize("name", ["fifo", "fifo.jsonl.gz"])
def test_a_fifo_is_written_to(cli: Transfers, ten: str, name: str) -> None:
    fifo = cli.directory / name
    os.mkfifo(fifo)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(fifo.read_bytes()))
    reader.start()
    cli.out("export", "/Ten", str(fifo), "--format", "jsonl")
    reader.join()
    data = gzip.decompress(received[0]) if name.endswith(".gz") else received[0]
    assert data.decode() == ten
    assert [path.name for path in cli.directory.iterdir()] == [name]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_devices_are_written_to(cli: Transfers) -> None:
    # A device for this test only: one that is replaced by mistake must not be the machine's.
    device = cli.directory / "null"
    try:
        os.mknod(device, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root can make devices")
    cli.out("export", "/Ten", str(device), "--format", "csv")
    assert stat.S_ISCHR(device.stat().st_mode)
    assert [path.name for path in cli.directory.iterdir()] == ["null"]


def test_standard_output_by_its_name_is_written_to(cli: Transfers, ten: str) -> None:
    # Not /dev/stdout, a name that could be replaced by mistake.
    if not Path("/proc/self/fd/1").exists():
        pytest.skip("this system names no open files in /proc")
    done = cli.shell("echo first > all; $D export /Ten /proc/self/fd/1 --format jsonl >> all")
    assert done.code == 0, done.err
    assert (cli.directory / "all").read_text() == "first\n" + ten
    assert cli("export", "/Ten", "/proc/self/fd/1", "--format", "jsonl", "--resume").code == 2


def test_a_file_that_may_not_be_written_is_refused(cli: Transfers, ten: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = cli.directory / "mine.jsonl"
    target.write_text("old")
    monkeypatch.setattr("datastore_server.cli.transfer.targets.os.access", lambda *_: False)
    done = cli("export", "/Ten", str(target))
    assert done.code == 5
    assert str(target) in done.err
    assert target.read_text() == "old"


def test_a_full_disk_names_the_file_and_how_to_resume(cli: Transfers) -> None:
    entries = [{"key": f"/Full:{n:04}", "value": "x" * 100} for n in range(1000)]
    cli.out("import", cli.write("in.jsonl", entries))
    done = cli.shell("ulimit -f 64; $D export /Full out.jsonl")
    assert done.code == 5
    partial = cli.directory / "out.jsonl.partial"
    assert f"Error: {partial}: File too large" in done.err
    assert "datastore export /Full out.jsonl --resume" in done.err
    assert 0 < partial.stat().st_size < 100_000
    assert not (cli.directory / "out.jsonl").exists()
    done = cli.shell("$D export /Full out.jsonl --resume")
    assert done.code == 0, done.err
    assert [json.loads(line) for line in (cli.directory / "out.jsonl").read_text().splitlines()] == entries
    assert sorted(path.name for path in cli.directory.iterdir()) == ["in.jsonl", "out.jsonl"]
    # A file that cannot be resumed is not left behind.
    done = cli.shell("ulimit -f 64; $D export /Full out.csv")
    assert done.code == 3
    done = cli.shell("ulimit -f 64; $D export /Full out.json")
    assert done.code == 5
    assert "out.json.partial: File too large" in done.err and "--resume" not in done.err
    assert sorted(path.name for path in cli.directory.iterdir()) == ["in.jsonl", "out.jsonl"]


def _interrupted(cli: Transfers, ten: str, monkeypatch: pytest.MonkeyPatch, *options: str) -> Path:
    """The partial file of an export of /Ten that was interrupted in its last line."""
    with monkeypatch.context() as patched:

        def fail(_partial: Any) -> None:
            raise KeyboardInterrupt

        patched.setattr("datastore_server.cli.transfer.targets.Partial.complete", fail)
        done = cli("export", "/Ten", str(cli.directory / "out.jsonl"), *options)
        assert done.code == 130
        assert "--resume" in done.err
    partial = cli.directory / "out.jsonl.partial"
    partial.write_text(ten[:-10])
    return partial


def test_an_interrupted_export_is_resumed_after_its_last_whole_line(
    cli: Transfers, ten: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _interrupted(cli, ten, monkeypatch)
    cli.out("export", "/Ten", str(cli.directory / "out.jsonl"), "--resume")
    assert (cli.directory / "out.jsonl").read_text() == ten
    assert [path.name for path in cli.directory.iterdir()] == ["out.jsonl"]


def test_an_export_of_some_fields_is_resumed_with_the_same_fields_only(
    cli: Transfers, ten: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, fields = str(cli.directory / "out.jsonl"), ["--fields", "n"]
    cli.out("export", "/Ten", file, *fields)
    whole = (cli.directory / "out.jsonl").read_text()
    (cli.directory / "out.jsonl").unlink()
    partial = _interrupted(cli, whole, monkeypatch, *fields)
    for others in ([], ["--fields", "n,x"]):
        done = cli("export", "/Ten", file, "--resume", *others)
        assert done.code == 3
        assert f"{partial} is part of an export of key /Ten, scope all below, format jsonl" in done.err
    cli.out("export", "/Ten", file, "--resume", *fields)
    assert (cli.directory / "out.jsonl").read_text() == whole


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["/Other", "out.jsonl"], "an export of key /Other"),
        (["out.jsonl"], "an export of key /,"),
        (["/Ten", "out.jsonl", "--collection"], "scope the collection only"),
        (["/Ten", "out.jsonl", "--fields", "n"], "fields"),
    ],
)
def test_a_partial_file_of_another_export_is_not_resumed(
    cli: Transfers, ten: str, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    partial = _interrupted(cli, ten, monkeypatch)
    before = partial.read_text()
    paths = [str(cli.directory / word) if word == "out.jsonl" else word for word in arguments]
    done = cli("export", *paths, "--resume")
    assert done.code == 3
    assert f"{partial} is part of an export of key /Ten, scope all below, format jsonl" in done.err
    assert says in done.err
    assert partial.read_text() == before
    assert not (cli.directory / "out.jsonl").exists()


def test_a_partial_file_of_another_server_or_of_nothing_known_is_not_resumed(
    cli: Transfers, ten: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = _interrupted(cli, ten, monkeypatch)
    other = Transfers("grpc://127.0.0.1:1", cli.directory)
    assert f"server {cli.url}" in other("export", "/Ten", str(cli.directory / "out.jsonl"), "--resume").err
    description = cli.directory / "out.jsonl.partial.json"
    for unknown in ("{}", "[]", "", None):
        description.unlink() if unknown is None else description.write_text(unknown)
        done = cli("export", "/Ten", str(cli.directory / "out.jsonl"), "--resume")
        assert (done.code, "part of an unknown export" in done.err) == (3, True)
        assert partial.exists()


def test_an_export_into_a_missing_directory_names_the_directory(cli: Transfers) -> None:
    done = cli("export", "/Ten", str(cli.directory / "missing" / "out.jsonl"))
    assert done.code == 5
    assert f"{cli.directory / 'missing'}: no such directory" in done.err
    assert ".partial" not in done.err


def test_a_single_row_is_reported_in_the_singular(cli: Transfers) -> None:
    one, bad = {"key": "/Single:1", "value": 1}, {"key": "/Single:2", "value": None}
    assert "Imported 1 row of 1 key in" in cli("import", cli.write("one.jsonl", [one])).err
    assert "the first 1 row;" in cli("import", cli.write("bad.jsonl", [one, bad])).err


def test_the_command_that_resumes_keeps_all_arguments(
    cli: Transfers, ten: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _interrupted(cli, ten, monkeypatch)
    (cli.directory / "out.jsonl.partial").write_text(ten[:100])

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("datastore_server.cli.transfer.targets.Partial.complete", fail)
    out = str(cli.directory / "out.jsonl")
    done = cli("export", "--resume", "/Ten", out)
    assert f"datastore export /Ten {out} --resume" in done.err


@pytest.mark.parametrize("name", ["out.csv", "out.json", "out.jsonl.gz"])
def test_only_plain_json_lines_are_resumed_and_others_leave_nothing(
    cli: Transfers, ten: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    out = str(cli.directory / name)
    assert cli("export", "/Ten", out, "--resume").code == 2

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("datastore_server.cli.transfer.targets.Partial.complete", fail)
    done = cli("export", "/Ten", out)
    assert (done.code, "--resume" in done.err) == (130, False)
    assert list(cli.directory.iterdir()) == []


# CSV out


@pytest.mark.long
def test_the_columns_of_csv_are_the_members_of_all_entries(cli: Transfers) -> None:
    cli.out("import", cli.write("in.csv", "id,n\na,\nb,2\n"), "--key", "/Union:{id}", "--type", "n=int")
    assert cli.out("export", "/Union", "-", "--format", "csv") == "key,id,n\n/Union:a,a,\n/Union:b,b,2\n"
    assert cli.out("export", "/Nobody", "-", "--format", "csv") == "key\n"


def test_columns_are_chosen_and_ordered(cli: Transfers) -> None:
    cli.out("import", cli.write("in.csv", 'id,n,"a,b",key\na,1,x,k\n'), "--key", "/Chosen:{id}")
    columns = ["--columns", 'n,"a,b",absent', "--delimiter", ";"]
    assert cli.out("export", "/Chosen", "-", "--format", "csv", *columns) == "key;n;a,b;absent\n/Chosen:a;1;x;\n"
    for bad in ("", "a,a", "key", '"a'):
        assert cli("export", "/Chosen", "-", "--format", "csv", "--columns", bad).code == 2
    assert cli("export", "/Chosen", "-", "--columns", "n").code == 2


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_csv_has_a_limit_of_columns(cli: Transfers, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr("datastore_server.cli.transfer.exporting.MAX_COLUMNS", limit)
    cli.out("import", cli.write("in.csv", "id,n\na,1\n"), "--key", "/Wide:{id}")
    done = cli("export", "/Wide", str(cli.directory / "out.csv"))
    assert done.code == (3 if limit < 2 else 0)
    assert limit >= 2 or "--columns" in done.err
    assert not (cli.directory / "out.csv.partial").exists()


def test_values_that_csv_cannot_hold_leave_no_file(cli: Transfers) -> None:
    cli.out("put", "/NoMap:a", "3")
    done = cli("export", "/NoMap", str(cli.directory / "out.csv"))
    assert done.code == 3
    assert "jsonl" in done.err
    assert list(cli.directory.iterdir()) == []


def test_a_server_that_is_gone_leaves_no_file(cli: Transfers) -> None:
    other = Transfers("grpc://127.0.0.1:1", cli.directory)
    done = other("export", "/", str(cli.directory / "out.jsonl"))
    assert (done.code, "--resume" in done.err) == (4, False)
    assert list(cli.directory.iterdir()) == []
