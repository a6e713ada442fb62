"""Imports in batches: what counts as acknowledged when something fails on the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from datastore.core.base import Datastore
from datastore.core.batch import Outcome, Write
from datastore.core.errors import InvalidError, UnavailableError
from datastore.core.key import Key
from datastore_server.cli.progress import Progress
from datastore_server.cli.rows import Row
from datastore_server.cli.transfer import BATCH_BYTES, BATCH_ROWS, BATCHES_IN_FLIGHT, Importer, cut_batches


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

    def batch_write(self, writes: Sequence[Write]) -> list[Outcome]:
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

    def _write(self, write: Write) -> Outcome:
        if write.key in self._refused:
            return Outcome(error=InvalidError("refused"))
        self.values[write.key] = write.value
        return Outcome()


def key(number: int) -> Key:
    return Key(f"/a:{number}")


def rows(count: int, *, size: int = 10) -> Iterator[Row]:
    return (Row(number + 1, key(number), number, size) for number in range(count))


def importing(store: Datastore) -> Importer:
    return Importer(store, Progress("test", None), "file")


def test_all_rows_arrive_and_are_acknowledged() -> None:
    store = Recorder()
    importer = importing(store)
    importer.run(cut_batches(rows(2345), lambda: None))
    assert importer.acknowledged == 2345
    assert store.values == {key(number): number for number in range(2345)}
    assert store.most_at_once <= BATCHES_IN_FLIGHT


def test_a_refused_row_is_named_and_ends_the_acknowledged_rows() -> None:
    store = Recorder(refused=[600])
    importer = importing(store)
    with pytest.raises(InvalidError, match=r"file, line 601 \(/a:600\): refused"):
        importer.run(cut_batches(rows(5000), lambda: None))
    assert importer.acknowledged == 600


def test_what_comes_after_a_gap_is_never_acknowledged() -> None:
    importer = importing(Recorder(refused=[5, 1700]))
    with pytest.raises(InvalidError, match="line 6 "):
        importer.run(cut_batches(rows(BATCH_ROWS * BATCHES_IN_FLIGHT), lambda: None))
    assert importer.acknowledged == 5


def test_a_call_that_fails_whole_ends_the_acknowledged_rows() -> None:
    store = Recorder(is_down_after=3)
    importer = importing(store)
    with pytest.raises(UnavailableError):
        importer.run(cut_batches(rows(20_000), lambda: None))
    assert importer.acknowledged <= 3 * BATCH_ROWS
    assert all(key(number) in store.values for number in range(importer.acknowledged))


def test_rows_before_one_that_cannot_be_read_are_acknowledged() -> None:
    def read() -> Iterator[Row]:
        yield from rows(1300)
        raise InvalidError("line 1301 is no row")

    importer = importing(Recorder())
    with pytest.raises(InvalidError, match="1301"):
        importer.run(cut_batches(read(), lambda: None))
    assert importer.acknowledged == 1300


def test_rows_before_an_interruption_are_acknowledged() -> None:
    def read() -> Iterator[Row]:
        yield from rows(BATCH_ROWS * 3 + 1)
        raise KeyboardInterrupt

    importer = importing(Recorder())
    with pytest.raises(KeyboardInterrupt):
        importer.run(cut_batches(read(), lambda: None))
    assert importer.acknowledged == BATCH_ROWS * 3


def test_rows_of_one_key_are_written_in_their_order() -> None:
    store = Recorder()
    importer = importing(store)
    importer.run(cut_batches((Row(n, key(0), n, 10) for n in range(4000)), lambda: None))
    assert store.values == {key(0): 3999}
    assert store.most_at_once == 1


def test_batches_are_cut_by_rows_and_by_bytes() -> None:
    many = [len(batch.rows) for batch in cut_batches(rows(BATCH_ROWS + 1), lambda: None)]
    assert many == [BATCH_ROWS, 1]
    large = [len(batch.rows) for batch in cut_batches(rows(5, size=BATCH_BYTES // 2), lambda: None)]
    assert large == [2, 2, 1]
    huge = [len(batch.rows) for batch in cut_batches(rows(2, size=BATCH_BYTES * 2), lambda: None)]
    assert huge == [1, 1]


def test_progress_tells_rows_rate_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    told = Progress("file", 100)
    told._began -= 10
    told._told -= 10
    told.advance(1000, 50)
    text = capsys.readouterr().err
    assert text.startswith("file: 1,000 rows, ")
    assert "50%, 10 s left" in text
    told.advance(1000, 100)
    assert capsys.readouterr().err == ""
    assert told.summary().startswith("2,000 rows in 10.")
