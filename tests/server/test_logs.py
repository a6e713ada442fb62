"""The log of servers: one line per event, a few of each kind, keys but never values, slow and failed calls."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from datastore import aio, wire
from datastore.model.capability import Capability
from datastore.model.description import Description
from datastore.model.errors import CorruptDataError, DatastoreError, InvalidKeyError
from datastore.model.key import Key
from datastore.v1 import service_pb2
from datastore_client.aio import connect
from datastore_server import logs
from datastore_server.app import serve
from datastore_server.call import Call
from datastore_server.calls import SLOW_CALL_S, STREAM_FACTOR, CallLog
from datastore_server.describe import ShardInfo
from datastore_server.logs import LINES, SHOWN_CHARACTERS, WINDOW_S, RateLimit, shown
from datastore_server.shard_watch import watching
from tests.support.serving import not_probed

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|WARNING|ERROR) \S.*")

_log = logging.getLogger("datastore.server")


class LogFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> list[str]:
        return self.path.read_text(encoding="utf-8").splitlines()

    async def line(self, part: str) -> str:
        """The first line with this in it, once it is there."""
        while not (found := [line for line in self.lines() if part in line]):
            await asyncio.sleep(0.01)
        return found[0]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LogFile]:
    path = tmp_path / "server.log"
    with logs.to_file(path):
        yield LogFile(path)


# Lines


def test_an_event_is_one_line_with_its_time_and_level(log: LogFile) -> None:
    _log.info("a %s", "b\nc\x1b[0m\u2028é")
    (line,) = log.lines()
    assert LINE.fullmatch(line)
    assert line.endswith(r"INFO a b\nc\x1b[0m\u2028é")
    # Not through the log: pytest-xdist cannot send what it captured of a lone surrogate.
    assert shown("\udcff") == r"\udcff"


def test_the_traceback_of_a_fault_continues_on_indented_lines(log: LogFile) -> None:
    try:
        raise ValueError("one\ntwo")
    except ValueError:
        _log.exception("incident 7")
    first, *rest = log.lines()
    assert LINE.fullmatch(first) and first.endswith("ERROR incident 7")
    # Its text may quote what a client stores.
    assert rest[-1] == "  ValueError"
    assert not any("one" in line for line in rest if "raise" not in line)
    assert all(line.startswith("  ") for line in rest)


def test_what_led_to_a_fault_is_in_its_traceback(log: LogFile) -> None:
    try:
        try:
            raise KeyError("secret")
        except KeyError as error:
            raise ValueError("secret") from error
    except ValueError:
        _log.exception("incident 7")
    types = [line for line in log.lines() if re.fullmatch(r"  (\w+Error|which led to:)", line)]
    assert types == ["  KeyError", "  which led to:", "  ValueError"]


def test_the_texts_of_exceptions_are_logged_at_the_level_debug(tmp_path: Path) -> None:
    with logs.to_file(tmp_path / "log", "debug"):
        try:
            raise ValueError("one\ntwo")
        except ValueError:
            _log.exception("incident 7")
    assert (tmp_path / "log").read_text().splitlines()[-2:] == ["  ValueError: one", "  two"]


@pytest.mark.parametrize(("level", "written"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_events_below_the_level_are_not_logged(tmp_path: Path, level: logs.Level, written: int) -> None:
    with logs.to_file(tmp_path / "log", level):
        for write in (_log.debug, _log.info, _log.warning, _log.error):
            write("event")
    assert len((tmp_path / "log").read_text().splitlines()) == written


def test_a_line_of_json_has_the_facts_of_its_event(tmp_path: Path) -> None:
    with logs.to_file(tmp_path / "log", form="json"):
        _log.info("a %s", "b\nc\u2028é", extra=logs.kind("events", method="Get", request_id="r-1", peer=None))
        try:
            raise ValueError("secret")
        except ValueError:
            _log.exception("incident 7")
    first, second = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    assert first == {"level": "info", "event": "a b\nc\u2028é", "method": "Get", "request_id": "r-1"}
    assert (second["level"], second["event"]) == ("error", "incident 7")
    assert second["traceback"].endswith("\nValueError")


def test_other_libraries_are_logged_from_warnings_on(log: LogFile) -> None:
    logging.getLogger("asyncio").info("quiet")
    logging.getLogger("asyncio").warning("loud")
    assert [line.split(" ", 1)[1] for line in log.lines()] == ["WARNING loud"]


@pytest.mark.parametrize(("length", "cut"), [(SHOWN_CHARACTERS, False), (SHOWN_CHARACTERS + 1, True)])
def test_text_from_a_client_is_truncated(length: int, cut: bool) -> None:
    assert shown("x" * length) == "x" * SHOWN_CHARACTERS + ("..." if cut else "")


# How many


class Limited:
    def __init__(self) -> None:
        self.time_s = 0.0
        self.limit = RateLimit(clock=lambda: self.time_s)

    def passed(self, text: str, *, level: int = logging.INFO, **extra: str) -> str | None:
        record = logging.makeLogRecord({"msg": text, "levelno": level} | extra)
        return record.getMessage() if self.limit.filter(record) else None


def test_only_so_many_lines_of_a_kind_are_logged_in_a_window() -> None:
    limited = Limited()
    assert [limited.passed("a") for _ in range(LINES + 1)] == ["a"] * LINES + [None]
    assert limited.passed("b") == "b"
    limited.time_s = WINDOW_S - 0.01
    assert limited.passed("a") is None
    limited.time_s = WINDOW_S
    assert limited.passed("a") == "a (and 2 more a before)"
    assert limited.passed("a") == "a"


def test_the_kind_of_an_event_is_not_its_text_if_it_is_named() -> None:
    limited = Limited()
    texts = [limited.passed(f"call {number}", kind="calls") for number in range(LINES + 2)]
    assert texts[LINES - 1 :] == [f"call {LINES - 1}", None, None]
    assert list(limited.limit.left_out()) == ["2 more calls were not logged one by one"]


def test_the_kind_of_an_event_without_a_name_shows_where_its_facts_would_be() -> None:
    limited = Limited()
    for _ in range(LINES + 2):
        limited.passed("read %s, %d%%")
    assert list(limited.limit.left_out()) == ["2 more read …, …% were not logged one by one"]


def test_internal_errors_are_never_left_out() -> None:
    limited = Limited()
    assert None not in [limited.passed("incident", level=logging.ERROR) for _ in range(10 * LINES)]


def test_lines_left_out_are_reported_at_the_end(tmp_path: Path) -> None:
    with logs.to_file(tmp_path / "log"):
        for _ in range(LINES + 3):
            _log.info("again")
    assert (tmp_path / "log").read_text().splitlines()[-1].endswith("INFO 3 more again were not logged one by one")


# Calls


def call_log() -> tuple[CallLog, list[float]]:
    now = [0.0]
    return CallLog(clock=lambda: now[0]), now


def a_call() -> Call:
    return Call(peer=lambda: "ipv4:1.2.3.4:5", metadata=(("x-request-id", "r-1"),))


@pytest.mark.parametrize(("method", "slow_s"), [("Get", SLOW_CALL_S), ("Query", SLOW_CALL_S * STREAM_FACTOR)])
@pytest.mark.parametrize(("more_s", "is_logged"), [(-0.001, False), (0.0, True), (0.1, True)])
def test_a_slow_call_is_logged_with_its_key(
    log: LogFile, method: str, slow_s: float, more_s: float, is_logged: bool
) -> None:
    calls, now = call_log()
    request = (
        service_pb2.GetRequest(key=wire.encode_key(Key("/a:1")))
        if method == "Get"
        else service_pb2.QueryRequest(query={"key": {"text": "/a:1"}})
    )
    now[0] = slow_s + more_s
    calls.recorder(method).answered(request.SerializeToString(), b"", a_call(), began=0.0)
    line = f"WARNING slow: {method} /a:1 from ipv4:1.2.3.4:5 took {slow_s + more_s:.1f} s (request r-1)"
    expected = [line] if is_logged else []
    assert [line.split(" ", 1)[1] for line in log.lines()] == expected


@pytest.mark.parametrize(
    ("method", "request_", "subject"),
    [
        ("Put", {"entry": {"key": {"text": "/a"}, "value": {"string_value": "secret"}}}, "Put /a"),
        ("BatchGet", {"keys": [{"text": "/a"}, {"text": "/b"}]}, "BatchGet of 2 items"),
        ("BatchWrite", {"writes": [{"delete": {"text": "/a"}}]}, "BatchWrite of 1 items"),
        ("ListEntries", {"query": {"key": {"text": "/a"}}}, "ListEntries /a"),
        ("DescribeStore", {}, "DescribeStore"),
        ("Get", {"key": {"text": "/a\nERROR b"}}, r"Get /a\nERROR b"),
    ],
)
def test_a_failed_call_is_logged_with_its_key_and_reason_and_without_its_value(
    log: LogFile, method: str, request_: dict[str, object], subject: str
) -> None:
    calls, _ = call_log()
    request = getattr(service_pb2, f"{method}Request")(**request_).SerializeToString()
    calls.recorder(method).failed(request, a_call(), wire.error_to_status(InvalidKeyError("no")), began=0.0)
    (line,) = log.lines()
    assert line.split(" ", 1)[1] == f"INFO {subject} from ipv4:1.2.3.4:5 failed: INVALID_KEY (request r-1)"


def test_a_request_that_cannot_be_read_is_logged_as_such(log: LogFile) -> None:
    calls, _ = call_log()
    calls.recorder("Get").failed(b"\xff", a_call(), wire.error_to_status(InvalidKeyError("no")), began=0.0)
    assert "Get (unreadable) from" in log.lines()[0]


def test_calls_are_counted_by_method() -> None:
    calls, _ = call_log()
    # Each thread has its own recorder.
    one, other = calls.recorder("Get"), calls.recorder("Get")
    for _ in range(617):
        one.answered(b"", b"", a_call(), began=0.0)
        other.answered(b"", b"", a_call(), began=0.0)
    puts = calls.recorder("Put")
    puts.failed(b"", a_call(), wire.error_to_status(InvalidKeyError("no")), began=0.0)
    puts.answered(b"", b"", a_call(), began=0.0)
    assert calls.summary() == "Get 1,234, Put 2 (1 failed)"


# Servers


class Failing(aio.DictDatastore):
    async def get(self, key: Key) -> object:
        raise CorruptDataError("the disk is gone") if key.name == "bad" else RuntimeError("secret")


class Shelf(aio.DictDatastore):
    capability = Capability(scope=True)

    def describe(self) -> Description:
        return Description("Shelf", "", self.capability)


async def test_what_a_store_does_not_say_is_not_in_the_line_of_its_start(log: LogFile) -> None:
    async with serve(Shelf()):
        pass
    assert "INFO serving Shelf at grpc://" in log.lines()[0]


async def test_a_server_logs_its_start_its_failures_and_its_end_with_counts(log: LogFile) -> None:
    store = Failing()
    await store.put(Key("/a:1"), 1)
    async with serve(store) as server, connect(server.url) as remote:
        await remote.put(Key("/a:2"), "secret")
        for name in ("bad", "worse"):
            with suppress(DatastoreError):
                await remote.get(Key(f"/a:{name}"))
        url = server.url
    text = "\n".join(log.lines())
    assert re.search(rf"INFO serving dict in memory \(memory\), 1 entry at {url} \(pid \d+\)$", log.lines()[0])
    assert re.search(r"INFO Get /a:bad from \S+ failed: CORRUPT_DATA \(request \w+\)$", text, re.MULTILINE)
    assert re.search(r"INFO Get /a:worse from \S+ failed: INTERNAL \(request \w+\)$", text, re.MULTILINE)
    assert log.lines()[-1].endswith(f"INFO stopped serving at {url}; calls: Get 2 (2 failed), Put 1")
    # The lines of the traceback show code, but not what it raised.
    assert not re.search(r"failed: .*secret|Put .*secret|Error: secret", text)


async def test_a_proxy_logs_when_a_shard_goes_down_and_comes_back(log: LogFile) -> None:
    async with serve(aio.DictDatastore()) as first:
        shard = ShardInfo("s1", first.url, 1, probe=not_probed)
        async with watching([shard]):
            assert (await log.line("is up")).endswith(f"INFO shard s1 at {first.url} is up")
            await first.stop()
            down = await log.line("is down")
            assert f"WARNING shard s1 at {first.url} is down: " in down
            async with serve(aio.DictDatastore(), listen=str(first.address)):
                assert re.search(r"INFO shard s1 at \S+ is back after \d+ s$", await log.line("is back"))
                assert sum("is down" in line for line in log.lines()) == 1


async def test_a_shard_that_is_down_at_the_start_is_logged_once(log: LogFile, unused_tcp_port: int) -> None:
    async with watching([ShardInfo("s1", f"grpc://127.0.0.1:{unused_tcp_port}", 1, probe=not_probed)]):
        assert "shard s1" in await log.line("is down")
