"""Imports in batches: what counts as acknowledged when something fails on the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from datastore.model.entries import Write
from datastore.model.errors import InvalidError, UnavailableError
from datastore.model.key import Key
from datastore.model.operations import WriteResult
from datastore.sync.base import Datastore
from datastore_server.cli.progress import Progress
from datastore_server.cli.transfer import batches, distinct
from datastore_server.cli.transfer.batches import BATCH_BYTES, BATCH_ROWS, Batches
from datastore_server.cli.transfer.distinct import DistinctKeys
from datastore_server.cli.transfer.importer import BATCHES_IN_FLIGHT, Importer
from datastore_server.cli.transfer.reading import Refusal, Row


class Recorder(Datastore):
    """Keeps the writes that it acknowledges, and refuses some keys."""

    def __init__(self, refused: Sequence[int] = (), *, is_down_after: int | None = None) -> None:
        self.values: dict[Key, Any] = {}
        self.calls = 0
        self.most_at_once = 0
        self._at_once = 0
        self._refused = {key(number) for number in refused}
        self._is_down_after = is_down_after
        self._lock = threading.Lock()

    def batch_write(self, writes: Sequence[Write]) -> list[WriteResult]:
        with self._lock:
            self.calls += 1
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            is_down = self._is_down_after is not None and self.calls > self._is_down_after
        try:
            if is_down:
                raise UnavailableError("gone")
            return [self._write(write) for write in writes]
        finally:
            with self._lock:
                self._at_once -= 1

    def _write(self, write: Write) -> WriteResult:
        if write.key in self._refused:
            return WriteResult(error=InvalidError("refused"))
        self.values[write.key] = write.value
        return WriteResult()


def key(number: int) -> Key:
    return Key(f"/a:{number}")


def rows(count: int, *, size: int = 10) -> Iterator[Row]:
    return (Row(number + 1, key(number), number, size, number + 1) for number in range(count))


def importing(store: Datastore) -> Importer:
    return Importer(store, Progress("test", None), "file")


def test_all_rows_arrive_and_are_acknowledged() -> None:
    store = Recorder()
    importer = importing(store)
    importer.run(rows(2345))
    assert importer.acknowledged == 2345
    assert store.values == {key(number): number for number in range(2345)}
    assert store.most_at_once <= BATCHES_IN_FLIGHT


def test_a_refused_row_is_named_and_ends_the_acknowledged_rows() -> None:
    store = Recorder(refused=[600])
    importer = importing(store)
    with pytest.raises(InvalidError, match=r"file, line 601 \(/a:600\): refused"):
        importer.run(rows(5000))
    assert importer.acknowledged == 600


def test_rows_after_a_gap_are_never_acknowledged() -> None:
    importer = importing(Recorder(refused=[5, 1700]))
    with pytest.raises(InvalidError, match="line 6 "):
        importer.run(rows(BATCH_ROWS * BATCHES_IN_FLIGHT))
    assert importer.acknowledged == 5


def test_a_failed_call_ends_the_acknowledged_rows() -> None:
    store = Recorder(is_down_after=3)
    importer = importing(store)
    with pytest.raises(UnavailableError):
        importer.run(rows(20_000))
    assert importer.acknowledged <= 3 * BATCH_ROWS
    assert all(key(number) in store.values for number in range(importer.acknowledged))


def test_rows_before_one_that_cannot_be_read_are_acknowledged() -> None:
    def read() -> Iterator[Row]:
        yield from rows(1300)
        raise InvalidError("line 1301 is not a row")

    importer = importing(Recorder())
    with pytest.raises(InvalidError, match="1301"):
        importer.run(read())
    assert importer.acknowledged == 1300


def test_rows_before_an_interruption_are_acknowledged() -> None:
    def read() -> Iterator[Row]:
        yield from rows(BATCH_ROWS * 3 + 1)
        raise KeyboardInterrupt

    importer = importing(Recorder())
    with pytest.raises(KeyboardInterrupt):
        importer.run(read())
    assert importer.acknowledged == BATCH_ROWS * 3


def test_rows_of_one_key_are_written_in_their_order() -> None:
    store = Recorder()
    importer = importing(store)
    importer.run(Row(n, key(0), n, 10, n + 1) for n in range(4000))
    assert store.values == {key(0): 3999}
    assert store.most_at_once == 1


def test_batches_are_cut_by_rows_and_by_bytes() -> None:
    def cut(read: Iterator[Row]) -> list[int]:
        sizes: list[int] = []
        gathered = Batches(lambda batch: sizes.append(len(batch)))
        for row in read:
            gathered.add(row)
        gathered.flush()
        gathered.flush()
        return sizes

    assert cut(rows(BATCH_ROWS + 1)) == [BATCH_ROWS, 1]
    assert cut(rows(5, size=BATCH_BYTES // 2)) == [2, 2, 1]
    assert cut(rows(2, size=BATCH_BYTES * 2)) == [1, 1]
    assert cut(rows(0)) == []


def test_rows_are_due_a_second_after_the_first_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(batches.time, "monotonic", lambda: now)
    sent: list[list[Row]] = []
    answered: list[int] = []
    gathered = Batches(sent.append, lambda: answered.append(len(sent)))
    assert gathered.due_s() is None
    first, second, *_ = rows(3)
    gathered.add(first)
    now = 100.75
    gathered.add(second)
    assert gathered.due_s() == 0.25
    gathered.send()
    assert (sent, answered, gathered.due_s()) == ([[first, second]], [1], None)


def test_refused_rows_are_passed_on_and_the_rest_is_stored() -> None:
    store = Recorder(refused=[5, 1700, 2344])
    refused: list[Refusal] = []
    importer = Importer(store, Progress("test", None), "file", refuse=refused.append)
    importer.run(rows(2345))
    assert [(refusal.line, refusal.number, str(refusal.error)) for refusal in refused] == [
        (6, 6, "refused"),
        (1701, 1701, "refused"),
        (2345, 2345, "refused"),
    ]
    assert (importer.stored, importer.acknowledged, importer.keys.count()) == (2342, 2345, 2342)


def test_a_store_that_is_gone_is_not_a_refused_row() -> None:
    refused: list[Refusal] = []
    importer = Importer(Recorder(is_down_after=1), Progress("test", None), "file", refuse=refused.append)
    with pytest.raises(UnavailableError):
        importer.run(rows(5000))
    assert refused == []


def test_rows_skipped_and_rows_left_out_count_as_acknowledged() -> None:
    importer = Importer(Recorder(), Progress("test", None), "file", skipped=10)
    assert importer.acknowledged == 10
    importer.run(Row(number, key(number), 1, 10, number) for number in range(11, 2000, 7))
    assert importer.acknowledged == 1999


def test_keys_are_counted_once_and_only_if_stored() -> None:
    importer = importing(Recorder(refused=[2]))
    with pytest.raises(InvalidError):
        importer.run(Row(number, key(number % 3), number, 10, number) for number in range(1, 1000))
    assert (importer.stored, importer.keys.count()) == (1, 1)


@pytest.mark.parametrize("count", [0, 1, 999, 1000])
def test_keys_are_counted_exactly_up_to_the_limit(count: int) -> None:
    keys = DistinctKeys(1001)
    for number in range(count):
        keys.add(key(number))
    assert (keys.count(), keys.is_exact) == (count, True)


def test_repeated_keys_do_not_use_up_the_limit() -> None:
    keys = DistinctKeys(1000)
    for number in range(20_000):
        keys.add(key(number % 500))
    assert (keys.count(), keys.is_exact) == (500, True)


def test_beyond_the_limit_keys_are_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distinct, "BITMAP_BITS", 2**16)
    keys = DistinctKeys(1000)
    for number in range(60_000):
        keys.add(key(number % 30_000))
    assert not keys.is_exact
    assert keys.count() == pytest.approx(30_000, rel=0.02)


def test_progress_shows_rows_rate_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    reported = Progress("file", 100)
    reported._began -= 10
    reported._reported_at -= 10
    reported.advance(1000, 50)
    text = capsys.readouterr().err
    assert text.startswith("file: 1,000 rows, ")
    assert "50%, 10 s left" in text
    reported.advance(1000, 100)
    assert capsys.readouterr().err == ""
    assert reported.summary().startswith("2,000 rows in 10.")
