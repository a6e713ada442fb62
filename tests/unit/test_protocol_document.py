"""docs/protocol.md agrees with the code: its tables and examples are parsed and tested."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from google.protobuf import json_format

from datastore import Key
from datastore.model import limits
from datastore.model.fields import object_getattr
from datastore.model.operators import OPERATORS
from datastore.model.ordering import encode
from datastore.v1 import query_pb2, service_pb2, value_pb2
from datastore.wire import ERRORS, reason_of
from datastore.wire.errors import _FACTS
from datastore.wire.queries import FIELD_PATH_BYTES
from datastore_client._retry import BACKOFFS_S, RESUME_TIMEOUT_S
from datastore_client._slots import CALLS_AT_ONCE, SPARE_TIME, STREAMS_AT_ONCE, WAITING_CALLS
from datastore_client.channel import CHANNEL_OPTIONS
from datastore_server.limits import (
    CALLS_PER_CONNECTION,
    KEY_REQUEST_BYTES,
    PAGE_ITEMS,
    RECORD_REQUEST_BYTES,
    SLOTS_REQUEST_BYTES,
    Limits,
)
from tests.support.vectors import FOLDER, value_of

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text under a heading, up to the next of its level."""
    return re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^\1 |\Z)", TEXT, re.MULTILINE | re.DOTALL).group(2)


def table(title: str, *, first: str) -> list[list[str]]:
    """The rows of the table under a heading whose first column is headed so."""
    rows: list[list[str]] = []
    for line in section(title).splitlines():
        if line.startswith(f"| {first} |"):
            rows = [[]]
        elif line.startswith("|") and rows:
            rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
        elif rows:
            return rows[2:]
    return rows[2:]


def test_the_table_of_errors_is_that_of_the_code():
    rows = [(reason.strip("`"), code, name) for reason, code, name, _ in table("Errors", first="Reason")]
    assert len(rows) == len(ERRORS)
    assert set(rows) == {(reason_of(kind), code.name, kind.__name__) for kind, code in ERRORS.items()}


def test_the_numbers_of_deadlines_and_retries_are_those_of_the_client():
    text = " ".join(section("Deadlines and retries").split())
    options = dict(CHANNEL_OPTIONS)
    for reported in (
        f"makes {CALLS_AT_ONCE} unary calls at once",
        f"lets {WAITING_CALLS:,} wait",
        f"While the Python client has {CALLS_AT_ONCE} calls under way",
        f"unless the call has {SPARE_TIME} times the time",
        f"only if it still has {SPARE_TIME} times the average",
        f"for every {CALLS_AT_ONCE} calls that wait before it",
        f"takes {STREAMS_AT_ONCE:,} streams at once",
        f"has been away for {RESUME_TIMEOUT_S:.0f} s",
        f"{BACKOFFS_S[0] * 1000:.0f} ms, doubling up to {BACKOFFS_S[1]:.0f} s",
        f"after {RESUME_TIMEOUT_S:.0f} s without progress",
        f"pings after {options['grpc.keepalive_time_ms'] / 1000:.0f} s of silence",
        f"gives up {options['grpc.http2.ping_timeout_ms'] / 1000:.0f} s later",
    ):
        assert reported in text
    assert max(STREAMS_AT_ONCE, CALLS_AT_ONCE) <= CALLS_PER_CONNECTION


def test_the_facts_of_errors_are_those_of_the_code():
    names = [name.strip("` ") for row in table("Errors", first="Name") for name in row[0].split(",")]
    assert sorted(names) == sorted(_FACTS)


def test_canonical_texts_are_as_documented():
    for texts, canonical in table("Keys", first="Text"):
        for text in texts.split(", "):
            assert str(Key("" if text == "empty" else text.strip("`"))) == canonical.strip("`")


def test_collections_are_as_documented():
    reported = re.search(r"So (.*?)\.\n", section("Keys"), re.DOTALL).group(1).replace("\n", " ")
    pairs = re.findall(r"`(\S+?)`(?: belongs)? to `(\S+?)`", reported)
    assert len(pairs) == 5
    for key, collection in pairs:
        assert str(Key(key).path) == collection
    assert str(Key("/").path) == "/"


def test_every_kind_of_value_is_documented():
    kinds = [row[0].strip("`") for row in table("Values", first="Kind")]
    assert kinds == [field.name for field in value_pb2.Value.DESCRIPTOR.oneofs_by_name["kind"].fields]


def test_encodings_are_as_documented():
    rows = table("Orders and sort keys", first="Value")
    assert len(rows) >= 10
    for value, encoding in rows:
        assert encode(value_of(json.loads(value.strip("`")))).hex(" ") == encoding.strip("`")


def test_the_worked_sort_key_is_right():
    reported = section("Orders and sort keys").partition("Worked example")[2].replace("\n", " ")
    value = json.loads(re.search(r"value `(\{.*?\})`", reported).group(1))
    expected = encode(value["country"]) + encode(value["elevation"], descending=True)
    assert f"the sort key is `{expected.hex(' ')}`" in reported


def test_the_example_of_fields_is_right():
    value, reported = re.search(r"For the value `(\{.*?\})`: (.*?)\n\n", section("Fields"), re.DOTALL).groups()
    found = dict(re.findall(r"`(\S+)` is (\w+)", reported))
    assert len(found) == 3
    for path, expected in found.items():
        assert object_getattr(json.loads(value), path) == (None if expected == "missing" else int(expected))


def test_the_limits_are_those_of_the_code():
    text = section("Limits")
    server = Limits()
    for name, shown in {
        "key_bytes": f"{limits.KEY_BYTES:,}",
        "entry_bytes": f"{server.entry_bytes // 2**20} MiB",
        "message_bytes": f"{server.message_bytes // 2**20} MiB",
        "key_request_bytes": f"{KEY_REQUEST_BYTES // 1024} KiB",
        "record_request_bytes": f"1 MiB + {(RECORD_REQUEST_BYTES - 2**20) // 1024} KiB",
        "slots_request_bytes": f"{SLOTS_REQUEST_BYTES // 1024} KiB",
        "message_parts": f"{limits.MESSAGE_PARTS:,}",
        "batch_items": f"{server.batch_items:,}",
        "page_items": f"{server.page_items:,}",
        "value_depth": str(limits.VALUE_DEPTH),
        "sort_bytes": f"{limits.SORT_BYTES // 1024**3} GiB",
        "query_time_ms": f"{server.query_time_ms // 3_600_000} hour",
    }.items():
        assert re.search(rf"^\| `{name}`[^|]*\| {re.escape(shown)} \|", text, re.MULTILINE), name
    counts = f"{limits.FILTERS}, {limits.ORDERS}, {limits.FIELDS}"
    assert re.search(rf"^\| `filters`, `orders`, `fields`: [^|]* \| {counts} \|", text, re.MULTILINE)
    depths = f"| {limits.FILTER_DEPTH}, {limits.TREE_VALUE_DEPTH} |"
    assert re.search(rf"^\| `filter_depth`, `tree_value_depth`[^|]*{re.escape(depths)}", text, re.MULTILINE)
    assert f"| `field_path_bytes`: path of a field, UTF-8 | {FIELD_PATH_BYTES:,} |" in text
    assert f"default {PAGE_ITEMS}, at most {server.page_items:,}" in section("Pages")
    assert all(f"`{field.name}`" in text for field in service_pb2.Limits.DESCRIPTOR.fields)


def test_every_operator_and_joint_is_documented():
    text = section("Filters")
    names = [name.removeprefix("OPERATOR_") for name, _ in query_pb2.FieldFilter.Operator.items()]
    names += [name.removeprefix("JOINT_") for name, _ in query_pb2.CompositeFilter.Joint.items()]
    inequalities = {"LESS_THAN", "LESS_THAN_OR_EQUAL", "GREATER_THAN", "GREATER_THAN_OR_EQUAL"}
    for name in set(names) - {"UNSPECIFIED"} - inequalities:
        assert re.search(rf"\b{name}\b", text), name
    for page in ("docs/queries.md", "docs/cli.md"):
        page_text = (ROOT / page).read_text(encoding="utf-8")
        assert [text for text in OPERATORS if f"`{text}`" not in page_text] == [], page


@pytest.mark.parametrize("document", ["docs/protocol.md", "README.md"])
def test_the_calls_by_grpcurl_are_requests(document):
    text = (ROOT / document).read_text(encoding="utf-8").replace("\\\n", "")
    calls = re.findall(r"grpcurl .*?-d '(.*?)'\s+\S+ datastore\.v1\.DatastoreService/(\w+)", text)
    assert len(calls) >= 2
    for request, method in calls:
        described = service_pb2.DESCRIPTOR.services_by_name["DatastoreService"].methods_by_name[method]
        json_format.Parse(request, getattr(service_pb2, described.input_type.name)())


def test_every_rpc_is_documented():
    for method in service_pb2.DESCRIPTOR.services_by_name["DatastoreService"].methods:
        assert f"`{method.name}`" in TEXT, method.name


def test_every_vector_is_explained_in_its_folder_and_to_clients():
    for text in (section("Golden vectors"), (FOLDER / "README.md").read_text(encoding="utf-8")):
        assert set(re.findall(r"`(\w+\.json)`", text)) == {path.name for path in FOLDER.glob("*.json")}
