"""The LMDB store: what it promises about files, crashes, room and threads. Inspection goes past the store."""

from __future__ import annotations

import gc
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.lmdb import LMDBDatastore
from datastore.lmdb import changes as lmdb_changes
from datastore.lmdb import writer as lmdb_writer
from datastore.lmdb.gate import Gate
from datastore.model.capability import Durability
from datastore.model.entries import Entry, Write
from datastore.model.errors import (
    ConfigError,
    CorruptDataError,
    DatastoreClosedError,
    LimitExceededError,
    StoreError,
    StoreFormatError,
    StoreFullError,
    StoreLockedError,
    UnsupportedTypeError,
)
from datastore.model.fields import Order
from datastore.model.key import Key
from datastore.model.operations import WriteResult
from datastore.model.query import Query
from tests.support.waiting import PATIENCE_S

KIB = 1024
MIB = 1024 * KIB


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def store(directory: Path) -> Iterator[LMDBDatastore]:
    with LMDBDatastore(directory) as opened:
        yield opened


def records(directory: Path) -> dict[bytes, bytes]:
    """What is in the file, by LMDB alone. The store must be closed."""
    environment = lmdb.open(str(directory), max_dbs=4, readonly=True, lock=False)
    try:
        with environment.begin(environment.open_db(b"entries", create=False)) as transaction:
            return dict(transaction.cursor())
    finally:
        environment.close()


@contextmanager
def busy_writer(store: LMDBDatastore) -> Iterator[threading.Event]:
    """Keep the store's writer busy until the event is set, or the end."""
    begun, release = threading.Event(), threading.Event()

    def hold(_: Future[list[WriteResult]]) -> None:
        begun.set()
        release.wait(30)

    # The callback must be added before the writer is done, so `store.submit` cannot be used.
    job = lmdb_writer.Job([Write(Key("/held"), b"x")])
    job.future.add_done_callback(hold)
    store._writer.submit(job)
    assert begun.wait(30)
    try:
        yield release
    finally:
        release.set()


def fill(store: LMDBDatastore) -> int:
    """Put entries until not even the smallest fits. Returns how many: their keys are `/000000` and so on."""
    size, stored = 4096, 0
    while size:
        try:
            store.put(Key(f"/{stored:06d}"), b"x" * size)
            stored += 1
        except StoreFullError:
            size //= 2
    return stored


def run_python(code: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


# Entries


def test_values_come_back_and_absent_keys_are_none(store: LMDBDatastore) -> None:
    for value in (b"", b"\x00", b"value", bytes(range(256)) * 40, b"x" * MIB):
        store.put(Key("/a:b"), value)
        assert store.get(Key("/a:b")) == value
        assert store.contains(Key("/a:b"))
    assert store.get(Key("/a")) is None
    assert not store.contains(Key("/a"))
    store.delete(Key("/a"))
    store.put(Key("/a:b"), None)
    assert store.get(Key("/a:b")) is None
    assert not store.contains(Key("/a:b"))


def test_keys_up_to_the_limit_are_kept(store: LMDBDatastore) -> None:
    keys = [Key("/"), Key("/" + "k" * 1023), Key("/" + "é" * 511), Key("/../."), Key("/a/b c/é:1:2")]
    for number, key in enumerate(keys):
        store.put(key, b"%d" % number)
    assert [store.get(key) for key in keys] == [b"0", b"1", b"2", b"3", b"4"]
    found = list(store.query(Query(Key("/"), recursive=True)).entries())
    assert [entry.key for entry in found] == sorted(keys)


def test_only_bytes_and_text_are_values_and_only_keys_are_keys(store: LMDBDatastore) -> None:
    store.put(Key("/a"), b"old")
    for value in (1, {"a": 1}, bytearray(b"x"), Key("/a")):
        with pytest.raises(UnsupportedTypeError, match="serializer"):
            store.put(Key("/a"), value)  # type: ignore[arg-type]
    assert store.get(Key("/a")) == b"old"
    for key in ("/a", b"/a", None, 7):
        for call in (store.get, store.contains, store.delete, lambda key: store.put(key, b"x")):
            with pytest.raises(TypeError):
                call(key)  # type: ignore[arg-type]


def test_a_batch_returns_a_separate_result_for_each_item(store: LMDBDatastore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmdb_changes, "VALUE_BYTES", 10)
    outcomes = store.batch_write(
        [
            Write(Key("/a"), b"1"),
            Write(Key("/b"), b"x" * 11),
            Write(Key("/c"), 3),
            Write("/d", b"4"),  # type: ignore[arg-type]
            Write(Key("/a"), b"5"),
            Write(Key("/e"), b"x" * 10),
            Write(Key("/e"), None),
        ]
    )
    kinds = [type(outcome.error) for outcome in outcomes]
    nothing = type(None)
    assert kinds[:4] == [nothing, LimitExceededError, UnsupportedTypeError, UnsupportedTypeError]
    assert kinds[4:] == [nothing] * 3
    read = store.batch_get([Key("/a"), Key("/b"), "/c", Key("/e")])  # type: ignore[list-item]
    assert [outcome.value for outcome in read] == [b"5", None, None, None]
    assert isinstance(read[2].error, TypeError)
    assert store.batch_write([]) == []
    assert store.batch_get([]) == []


def test_a_record_begins_with_its_format(directory: Path) -> None:
    with LMDBDatastore(directory, clock=lambda: 1.5) as store:
        store.put(Key("/a"), b"value")
    ((key, record),) = records(directory).items()
    assert key == b"/a"
    times = 3 * (1_500_000).to_bytes(8)
    assert record.hex() == "10" + "cbc7666a7d4e0d28" + times.hex() + b"value".hex()


def test_a_record_of_another_format_is_refused_by_its_key(directory: Path) -> None:
    LMDBDatastore(directory).close()
    environment = lmdb.open(str(directory), max_dbs=4)
    with environment.begin(environment.open_db(b"entries"), write=True) as transaction:
        transaction.put(b"/later", b"\x03later")
        transaction.put(b"/none", b"")
    environment.close()
    with LMDBDatastore(directory) as store:
        with pytest.raises(CorruptDataError, match=r"'/later' has format 3"):
            store.get(Key("/later"))
        with pytest.raises(CorruptDataError, match=r"'/none' has no format"):
            store.get(Key("/none"))
        with pytest.raises(CorruptDataError, match="'/later'"):
            list(store.query(Query(Key("/"))))
        (outcome,) = store.batch_get([Key("/later")])
        assert isinstance(outcome.error, CorruptDataError)


# Queries


def selected(key: Key, query: Query) -> bool:
    """Whether the key is in the query's scope, by the definition."""
    if not query.recursive:
        return key.path == query.key
    scope = str(query.key)
    return scope == "/" or str(key).startswith((scope + "/", scope + ":"))


def test_queries_answer_like_the_same_query_over_a_sorted_dict(tmp_path: Path) -> None:
    part = st.sampled_from(["a", "b", "a:x", "b:y:z", ":", "é", "a-", "zz"])
    text = st.lists(part, max_size=4).map("/".join)
    number = 0

    @given(
        keys=st.lists(text, max_size=40),
        scope=text,
        recursive=st.booleans(),
        offset=st.integers(0, 5),
        limit=st.none() | st.integers(0, 8),
        bound=st.none() | st.tuples(st.sampled_from(["<", "<=", "=", "!=", ">=", ">", "starts_with"]), text),
        descending=st.booleans(),
        keys_only=st.booleans(),
    )
    def check(
        keys: list[str],
        scope: str,
        recursive: bool,
        offset: int,
        limit: int | None,
        bound: tuple[str, str] | None,
        descending: bool,
        keys_only: bool,
    ) -> None:
        nonlocal number
        number += 1
        entries = {Key(key): key.encode() for key in keys}
        query = Query(Key(scope), limit, offset, recursive=recursive, keys_only=keys_only)
        if bound is not None:
            query.filter("__key__", bound[0], Key(bound[1]))
        if descending:
            query.order("-__key__")
        within = {key: value for key, value in entries.items() if selected(key, query)}
        expected = list(query.apply(sorted(map(Entry._make, within.items()))).entries())
        if keys_only:
            expected = [entry._replace(value=None) for entry in expected]
        with LMDBDatastore(tmp_path / str(number), durability="async") as store:
            store.batch_write([Write(key, value) for key, value in entries.items()])
            cursor = store.query(query)
            assert list(cursor.entries()) == expected
            assert cursor.returned == len(expected)
        shutil.rmtree(tmp_path / str(number))

    check()


def test_filters_and_orders_find_no_fields_in_bytes(store: LMDBDatastore) -> None:
    store.batch_write([Write(Key(["c", name]), name.encode()) for name in "abc"])
    assert list(store.query(Query(Key("/c")).filter("size", "=", None))) == [b"a", b"b", b"c"]
    assert list(store.query(Query(Key("/c")).filter("size", ">", 1))) == []
    assert list(store.query(Query(Key("/c")).order("-size"))) == [b"a", b"b", b"c"]
    assert list(store.query(Query(Key("/c")).order("-__key__"))) == [b"c", b"b", b"a"]
    assert list(store.query(Query(Key("/c")).filter("__key__", ">", Key("/c/a")))) == [b"b", b"c"]


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LMDBDatastore]:
    """A collection of 50 + 50 entries, each with 200 entries below it, and other collections around it."""
    with LMDBDatastore(tmp_path_factory.mktemp("deep"), durability="async") as store:
        for number in range(50):
            writes = []
            for top in (f"/c/{number:03d}", f"/c:{number:03d}", f"/b/{number:03d}", f"/d/{number:03d}"):
                writes.append(Write(Key(top), b"top"))
                for below in range(100):
                    writes.append(Write(Key(f"{top}/x{below}"), b"below"))
                    writes.append(Write(Key(f"{top}/x:{below}/y"), b"below"))
            store.batch_write(writes)
        yield store


def test_a_collection_costs_its_entries_and_not_those_below_them(deep: LMDBDatastore) -> None:
    cursor = deep.query(Query(Key("/c")))
    found = list(cursor.entries())
    assert len(found) == 100
    assert all(entry.value == b"top" for entry in found)
    # Each entry, the first one below it, which says where to seek next, and the one after the end.
    assert cursor.scanned <= 2 * 100 + 2


def test_a_recursive_query_reads_only_its_subtree(deep: LMDBDatastore) -> None:
    cursor = deep.query(Query(Key("/c/007"), recursive=True))
    assert len(list(cursor)) == 200
    assert cursor.scanned <= 201


def test_bounds_on_the_key_bound_the_scan(deep: LMDBDatastore) -> None:
    query = Query(Key("/c"), recursive=True)
    query.filter("__key__", ">=", Key("/c/030")).filter("__key__", "<", Key("/c/031"))
    cursor = deep.query(query)
    assert len(list(cursor)) == 201
    assert cursor.scanned <= 202


def test_a_limit_reads_no_more_than_it_returns(deep: LMDBDatastore) -> None:
    cursor = deep.query(Query(Key("/c"), 7, 2, recursive=True))
    assert len(list(cursor)) == 7
    assert cursor.scanned == 9
    cursor = deep.query(Query(Key("/c"), 0))
    assert list(cursor) == []
    assert cursor.scanned == 0


def test_a_scan_that_finds_nothing_still_reports_its_position(deep: LMDBDatastore) -> None:
    query = Query(Key("/"), recursive=True).filter("nothing", "=", 1)
    batches = list(deep.query(query).batches())
    assert len(batches) > 5
    assert sum(len(batch) for batch in batches) == 0
    positions = [batch.position.key for batch in batches if batch.position is not None]
    assert positions == sorted(set(positions))
    assert len(positions) >= 5


def test_every_batch_can_be_resumed_after(deep: LMDBDatastore) -> None:
    whole = list(deep.query(Query(Key("/c"), recursive=True)).entries())
    given: list[Any] = []
    for batch in deep.query(Query(Key("/c"), recursive=True)).batches():
        given += batch.entries()
        rest = deep.query(Query(Key("/c"), recursive=True, start_after=batch.position)).entries()
        assert given + list(rest) == whole


def test_batches_begin_small_and_are_bounded_by_bytes(directory: Path) -> None:
    with LMDBDatastore(directory, durability="async") as store:
        store.batch_write([Write(Key(f"/c/{number:04d}"), b"x" * 10_000) for number in range(300)])
        sizes = [sum(map(len, batch.values)) for batch in store.query(Query(Key("/c"))).batches()]
    assert sum(sizes) == 3_000_000
    assert sizes[0] <= 2 * 10_000
    assert max(sizes) <= 300 * KIB


def test_writes_during_a_query_never_break_it_or_repeat_an_entry(store: LMDBDatastore) -> None:
    steady = {Key(f"/c/{number:05d}") for number in range(0, 6000, 2)}
    store.batch_write([Write(key, b"steady") for key in steady])
    seen: list[Key] = []
    for position, entry in enumerate(store.query(Query(Key("/c"))).entries()):
        assert entry.key is not None
        seen.append(entry.key)
        if position % 500 == 0:
            number = int(entry.key.name)
            changes = [Write(Key(f"/c/{number + step}"), b"new") for step in (1, 601, 1201)]
            changes.append(Write(Key(f"/c/{number - 1:05d}"), None))
            store.batch_write(changes)
    assert seen == sorted(set(seen))
    assert steady <= set(seen)


# Closing, locking, forking


def test_after_close_everything_raises_and_close_may_be_repeated(directory: Path) -> None:
    store = LMDBDatastore(directory)
    store.batch_write([Write(Key(f"/c/{number:04d}"), b"x" * 100) for number in range(5000)])
    running = store.query(Query(Key("/c")))
    assert next(running) == b"x" * 100
    store.close()
    store.close()
    calls: list[Callable[[], Any]] = [
        lambda: store.get(Key("/c/0000")),
        lambda: store.contains(Key("/c/0000")),
        lambda: store.put(Key("/c/0000"), b"y"),
        lambda: store.delete(Key("/c/0000")),
        lambda: store.batch_get([Key("/c/0000")]),
        lambda: store.batch_write([Write(Key("/c/0000"), b"y")]),
        lambda: store.query(Query(Key("/c"))),
        store.stats,
        store.flush,
        lambda: list(running),
    ]
    for call in calls:
        with pytest.raises(DatastoreClosedError):
            call()


def test_close_commits_what_was_submitted(directory: Path) -> None:
    store = LMDBDatastore(directory)
    with busy_writer(store) as release:
        futures = [store.submit([Write(Key(f"/{number}"), b"x")]) for number in range(100)]
        closing = threading.Thread(target=store.close)
        closing.start()
        release.set()
        closing.join(PATIENCE_S)
    assert not closing.is_alive()
    assert all(future.result(0)[0].error is None for future in futures)
    assert len(records(directory)) == 101


def test_a_dropped_store_releases_its_directory(directory: Path) -> None:
    store = LMDBDatastore(directory)
    store.put(Key("/a"), b"1")
    del store
    gc.collect()
    with LMDBDatastore(directory) as again:
        assert again.get(Key("/a")) == b"1"


def test_a_directory_can_be_opened_only_once_in_a_process(directory: Path) -> None:
    with LMDBDatastore(directory) as store:
        store.put(Key("/a"), b"1")
        with pytest.raises(StoreLockedError, match=rf"{directory}.*this process.*{os.getpid()}"):
            LMDBDatastore(directory)
        assert store.get(Key("/a")) == b"1"
    with LMDBDatastore(directory) as again:
        assert again.get(Key("/a")) == b"1"


HOLDER = """
import sys
from datastore.lmdb import LMDBDatastore
store = LMDBDatastore(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


def test_a_directory_of_another_process_is_refused_until_that_ends(directory: Path) -> None:
    with run_python(HOLDER, directory) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StoreLockedError, match=rf"{directory} is in use by process {holder.pid}"):
            LMDBDatastore(directory)
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    LMDBDatastore(directory).close()


UNCLOSED = """
import sys
from datastore.model.entries import Write
from datastore.model.key import Key
from datastore.lmdb import LMDBDatastore
store = LMDBDatastore(sys.argv[1], durability="async")
store.submit([Write(Key("/a"), b"1")])
"""


def test_a_process_that_forgets_to_close_ends_and_loses_nothing(directory: Path) -> None:
    with run_python(UNCLOSED, directory) as process:
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (0, "")
    assert list(records(directory)) == [b"/a"]


FORKED = """
import os, sys, warnings
# Since Python 3.12, forking with running threads warns; that is exactly what is tested here.
warnings.simplefilter("ignore", DeprecationWarning)
from datastore.model.errors import StoreError, StoreLockedError
from datastore.model.key import Key
from datastore.lmdb import LMDBDatastore
store = LMDBDatastore(sys.argv[1])
store.put(Key("/a"), b"1")
child = os.fork()
if child == 0:
    refused = 0
    for call in (lambda: store.get(Key("/a")), lambda: store.put(Key("/a"), b"2"), lambda: LMDBDatastore(sys.argv[1])):
        try:
            call()
        except StoreLockedError:
            refused += 10
        except StoreError as error:
            refused += "fork" in str(error)
    store.close()
    os._exit(refused)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), store.get(Key("/a")))
try:
    LMDBDatastore(sys.argv[1])
except StoreLockedError:
    store.put(Key("/a"), b"3")
    store.close()
    print(LMDBDatastore(sys.argv[1]).get(Key("/a")))
"""


def test_a_forked_child_is_refused_and_its_parent_continues(directory: Path) -> None:
    with run_python(FORKED, directory) as process:
        output, errors = process.communicate(timeout=PATIENCE_S)
    assert (output, errors) == ("12 b'1'\nb'3'\n", "")


# What the directory holds


def tree(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def test_a_directory_with_other_files_is_refused_untouched(directory: Path) -> None:
    directory.mkdir()
    (directory / "thesis.txt").write_text("dear to me")
    before = tree(directory)
    with pytest.raises(StoreFormatError, match=r"thesis\.txt"):
        LMDBDatastore(directory)
    assert tree(directory) == before


@pytest.mark.parametrize("version", [0, 1])
def test_the_lmdb_environment_of_another_program_is_refused_untouched(directory: Path, version: int) -> None:
    environment = lmdb.open(str(directory), max_dbs=2, lib_version=version)
    with environment.begin(environment.open_db(b"theirs"), write=True) as transaction:
        transaction.put(b"a", b"1")
    environment.close()
    (directory / "lock.mdb").unlink()
    before = tree(directory)
    with pytest.raises(StoreFormatError, match="did not write"):
        LMDBDatastore(directory)
    assert tree(directory) == before


def test_a_file_that_is_not_lmdb_is_refused_untouched(directory: Path) -> None:
    directory.mkdir()
    (directory / "data.mdb").write_bytes(b"something else" * 1000)
    before = tree(directory)
    with pytest.raises(StoreFormatError, match="not a data file of this store"):
        LMDBDatastore(directory)
    assert tree(directory) == before


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be used as a data directory"):
        LMDBDatastore(tmp_path / "file")


def test_a_freshly_formatted_volume_counts_as_empty(directory: Path) -> None:
    (directory / "lost+found").mkdir(parents=True)
    LMDBDatastore(directory).close()


def test_a_store_of_another_cluster_or_shard_is_refused_untouched(directory: Path) -> None:
    with LMDBDatastore(directory, cluster="blue", shard="one") as store:
        store.put(Key("/a"), b"1")
    before = tree(directory)
    with pytest.raises(StoreFormatError, match="cluster 'blue', not to cluster 'green'"):
        LMDBDatastore(directory, cluster="green", shard="one")
    with pytest.raises(StoreFormatError, match="shard 'one', not to shard 'two'"):
        LMDBDatastore(directory, cluster="blue", shard="two")
    assert tree(directory)["data.mdb"] == before["data.mdb"]
    LMDBDatastore(directory, cluster="blue", shard="one").close()
    with LMDBDatastore(directory) as store:
        assert store.get(Key("/a")) == b"1"


def test_a_store_without_a_cluster_is_not_accepted_as_a_shard(directory: Path) -> None:
    LMDBDatastore(directory).close()
    with pytest.raises(StoreFormatError, match="no cluster"):
        LMDBDatastore(directory, cluster="blue", shard="one")


def test_a_store_of_a_later_format_is_refused(directory: Path) -> None:
    LMDBDatastore(directory).close()
    environment = lmdb.open(str(directory), max_dbs=4)
    with environment.begin(environment.open_db(b"meta"), write=True) as transaction:
        transaction.put(b"format", b"4")
    environment.close()
    with pytest.raises(StoreFormatError, match=r"store format 4.* reads formats 1, 2, 3"):
        LMDBDatastore(directory)


def test_a_copy_of_the_data_file_alone_is_a_backup(directory: Path, tmp_path: Path) -> None:
    with LMDBDatastore(directory) as store:
        store.put(Key("/a"), b"1")
    (tmp_path / "restored").mkdir()
    shutil.copy(directory / "data.mdb", tmp_path / "restored")
    with LMDBDatastore(tmp_path / "restored") as store:
        assert store.get(Key("/a")) == b"1"


def test_an_interrupted_creation_starts_over(directory: Path) -> None:
    (directory / ".datastore-new").mkdir(parents=True)
    (directory / ".datastore-new" / "data.mdb").write_bytes(b"half")
    with LMDBDatastore(directory) as store:
        store.put(Key("/a"), b"1")
    assert sorted(path.name for path in directory.iterdir()) == ["data.mdb", "datastore.lock", "lock.mdb"]


def test_an_unknown_durability_is_refused(directory: Path) -> None:
    with pytest.raises(ConfigError, match="'sync' or 'async'"):
        LMDBDatastore(directory, durability="eventual")
    assert not directory.exists()


# Damage


def test_a_truncated_file_is_detected_when_opened(directory: Path) -> None:
    with LMDBDatastore(directory) as store:
        store.batch_write([Write(Key(f"/{number}"), b"x" * 1000) for number in range(500)])
    whole = (directory / "data.mdb").read_bytes()
    for kept in (0, len(whole) - 1, len(whole) - 4096, len(whole) // 2, 3 * 4096):
        (directory / "data.mdb").write_bytes(whole[:kept])
        with pytest.raises(CorruptDataError, match=" was truncated"):
            LMDBDatastore(directory)
    for kept in (1, 100, 4096):
        (directory / "data.mdb").write_bytes(whole[:kept])
        with pytest.raises(StoreError):
            LMDBDatastore(directory)
    (directory / "data.mdb").write_bytes(whole)
    with LMDBDatastore(directory) as store:
        assert len(list(store.query(Query(Key("/"))))) == 500


def test_any_flipped_bit_of_an_entry_is_detected_by_get_and_query(directory: Path) -> None:
    # LMDB pads a key of odd length with a byte that has no meaning.
    key, value = Key("/collection/entry1"), b"the value of the entry"
    with LMDBDatastore(directory) as store:
        store.put(key, value)
    whole = (directory / "data.mdb").read_bytes()
    text = str(key).encode()
    record = whole.rindex(text + b"\x10") + len(text)
    for place in range(record - len(text), record + 33 + len(value)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        (directory / "data.mdb").write_bytes(damaged)
        with LMDBDatastore(directory) as store:
            if place >= record:
                with pytest.raises(CorruptDataError, match="/collection/entry"):
                    store.get(key)
            if place > record - len(text):
                with pytest.raises(CorruptDataError):
                    list(store.query(Query(Key("/"), recursive=True)))


# Crashes


WRITES_UNTIL_KILLED = """
import itertools, sys
from datastore.model.key import Key
from datastore.lmdb import LMDBDatastore
store = LMDBDatastore(sys.argv[1], durability=sys.argv[2])
for number in itertools.count():
    store.put(Key(f"/{number}"), b"%d" % number * 50)
    print(number, flush=True)
"""


@pytest.mark.parametrize("durability", ["sync", "async"])
def test_acknowledged_writes_survive_a_kill(directory: Path, durability: str) -> None:
    with run_python(WRITES_UNTIL_KILLED, directory, durability) as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(200)]
        process.send_signal(signal.SIGKILL)
        acknowledged += map(int, process.stdout.read().split())
        process.wait()
    with LMDBDatastore(directory) as store:
        for number in acknowledged:
            assert store.get(Key(f"/{number}")) == b"%d" % number * 50
        # Nothing but whole writes, the last of which may not have been acknowledged.
        assert len(list(store.query(Query(Key("/"))))) in (len(acknowledged), len(acknowledged) + 1)


# Room


def test_a_full_map_grows_under_readers_and_queries(directory: Path) -> None:
    with LMDBDatastore(directory, durability="async", map_bytes=256 * KIB) as store:
        store.put(Key("/c/first"), b"1")
        stop = threading.Event()
        failures: list[BaseException] = []

        def read() -> None:
            try:
                while not stop.is_set():
                    assert store.get(Key("/c/first")) == b"1"
                    found = [entry.key for entry in store.query(Query(Key("/c"))).entries()]
                    assert found == sorted(set(found))
            except BaseException as error:  # noqa: BLE001 - told by the thread that waits
                failures.append(error)

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        try:
            for number in range(200):
                store.put(Key(f"/c/{number:04d}"), bytes([number]) * 50_000)
        finally:
            stop.set()
            for reader in readers:
                reader.join(PATIENCE_S)
        assert failures == []
        assert store.stats().map_bytes >= 16 * MIB
        assert all(store.get(Key(f"/c/{number:04d}")) == bytes([number]) * 50_000 for number in range(200))


def test_a_full_store_refuses_only_writes_and_has_room_again_after_deletes(directory: Path) -> None:
    with LMDBDatastore(directory, map_bytes=MIB, max_map_bytes=2 * MIB) as store:
        stored = 0
        with pytest.raises(StoreFullError, match="max_map_bytes 2097152"):
            while True:
                store.put(Key(f"/{stored:04d}"), b"x" * 10_000)
                stored += 1
        assert stored > 100
        assert store.get(Key(f"/{stored:04d}")) is None
        assert len(list(store.query(Query(Key("/"))))) == stored
        outcomes = store.batch_write(
            [Write(Key("/large"), b"x" * MIB)] + [Write(Key(f"/{number:04d}"), None) for number in range(stored)]
        )
        assert isinstance(outcomes[0].error, StoreFullError)
        assert [outcome.error for outcome in outcomes[1:]] == [None] * stored
        assert list(store.query(Query(Key("/")))) == []
        for number in range(stored // 2):
            store.put(Key(f"/again{number}"), b"x" * 10_000)
        assert store.stats().map_bytes <= 2 * MIB + lmdb_writer.DELETE_RESERVE_BYTES
    with LMDBDatastore(directory, max_map_bytes=2 * MIB) as store:
        assert store.stats().entries == stored // 2


def test_a_store_full_to_the_last_page_can_be_emptied(directory: Path) -> None:
    with LMDBDatastore(directory, durability="async", map_bytes=MIB, max_map_bytes=MIB) as store:
        for number in range(fill(store)):
            store.delete(Key(f"/{number:06d}"))
        assert store.stats().entries == 0
        store.put(Key("/new"), b"x" * 4096)


def test_the_writes_of_a_batch_that_fit_are_done(directory: Path) -> None:
    with LMDBDatastore(directory, max_map_bytes=MIB) as store:
        writes = [Write(Key(f"/{number}"), b"x" * (2 * MIB if number % 10 == 7 else 100)) for number in range(100)]
        outcomes = store.batch_write(writes)
        refused = [number for number, outcome in enumerate(outcomes) if outcome.error is not None]
        assert refused == [7, 17, 27, 37, 47, 57, 67, 77, 87, 97]
        assert all(isinstance(outcomes[number].error, StoreFullError) for number in refused)
        assert store.stats().entries == 90


def test_a_map_without_address_space_to_grow_into_is_a_full_store(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LMDBDatastore(directory, map_bytes=MIB) as store:
        store.put(Key("/a"), b"1")
        with monkeypatch.context() as patch:
            patch.setattr(lmdb_writer, "_has_address_space", lambda _: False)
            with pytest.raises(StoreFullError, match="cannot grow beyond 1048576 bytes"):
                store.put(Key("/large"), b"x" * 2 * MIB)
        assert store.get(Key("/a")) == b"1"
        store.put(Key("/large"), b"x" * 2 * MIB)
    assert lmdb_writer._has_address_space(1 << 40)
    assert not lmdb_writer._has_address_space(1 << 60)


FULL_DISK = """
import resource, sys
from datastore.model.errors import StoreFullError
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.lmdb import LMDBDatastore
store = LMDBDatastore(sys.argv[1])
for number in range(20):
    store.put(Key(f"/{number}"), b"x" * 10_000)
size = store.stats().file_bytes
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50_000, resource.RLIM_INFINITY))
try:
    store.put(Key("/large"), b"x" * 500_000)
except StoreFullError as error:
    print("full")
print(store.get(Key("/large")), len(list(store.query(Query(Key("/"))))))
for number in range(20):
    store.delete(Key(f"/{number}"))
print(store.stats().entries)
store.put(Key("/again"), b"x" * 10_000)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.put(Key("/large"), b"x" * 500_000)
store.close()
print("closed")
"""


def test_a_full_disk_is_a_full_store_and_recovers(directory: Path) -> None:
    with run_python(FULL_DISK, directory) as process:
        output, errors = process.communicate(timeout=PATIENCE_S)
    assert (output, errors) == ("full\nNone 20\n0\nclosed\n", "")
    with LMDBDatastore(directory) as store:
        assert len(store.get(Key("/large")) or b"") == 500_000


# Group commit


def test_waiting_writes_share_one_commit(store: LMDBDatastore) -> None:
    with busy_writer(store) as release:
        before = store.stats().commits
        futures = [store.submit([Write(Key(f"/{number}"), b"x")]) for number in range(100)]
        assert not any(future.done() for future in futures)
        release.set()
        assert all(future.result(PATIENCE_S)[0].error is None for future in futures)
        assert store.stats().commits == before + 1


def test_writes_are_applied_in_the_order_of_their_submission(store: LMDBDatastore) -> None:
    futures = [store.submit([Write(Key("/a"), b"%d" % number)]) for number in range(200)]
    for future in futures:
        future.result(PATIENCE_S)
    assert store.get(Key("/a")) == b"199"


def test_a_group_is_bounded_by_bytes(store: LMDBDatastore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmdb_writer, "GROUP_BYTES", 10_000)
    with busy_writer(store) as release:
        before = store.stats().commits
        futures = [store.submit([Write(Key(f"/{number}"), b"x" * 3000)]) for number in range(9)]
        futures.append(store.submit([Write(Key(f"/in-one-{number}"), b"x" * 3000) for number in range(9)]))
        release.set()
        for future in futures:
            assert all(outcome.error is None for outcome in future.result(PATIENCE_S))
        assert store.stats().commits == before + 6


def test_writes_cancelled_while_they_wait_are_not_done(store: LMDBDatastore) -> None:
    with busy_writer(store) as release:
        kept = store.submit([Write(Key("/kept"), b"x")])
        cancelled = store.submit([Write(Key("/cancelled"), b"x")])
        assert cancelled.cancel()
        release.set()
        kept.result(PATIENCE_S)
    assert store.contains(Key("/kept"))
    assert not store.contains(Key("/cancelled"))


def test_submit_blocks_while_the_backlog_is_full(store: LMDBDatastore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmdb_writer, "BACKLOG_WRITES", 3)
    with busy_writer(store) as release:
        for number in range(3):
            store.submit([Write(Key(f"/{number}"), b"x")])
        entered, passed = threading.Event(), threading.Event()

        def submit() -> None:
            entered.set()
            store.submit([Write(Key("/late"), b"x")]).result(PATIENCE_S)
            passed.set()

        late = threading.Thread(target=submit)
        late.start()
        assert entered.wait(30)
        assert not passed.wait(0.05)
        release.set()
        assert passed.wait(PATIENCE_S)
        late.join(PATIENCE_S)
    assert store.stats().entries == 5


def test_an_unexpected_failure_of_a_group_affects_only_that_group(
    store: LMDBDatastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("unforeseen")

    with monkeypatch.context() as patch:
        patch.setattr(store._writer, "_commit", fail)
        with pytest.raises(StoreError, match="unforeseen"):
            store.put(Key("/a"), b"1")
    store.put(Key("/a"), b"2")
    assert store.get(Key("/a")) == b"2"


def test_async_durability_flushes_on_demand_and_on_time(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmdb_writer, "FLUSH_INTERVAL_S", 0.01)
    flushed = threading.Event()
    original = lmdb_writer.Writer._flush

    def flush(writer: Any) -> Any:
        result = original(writer)
        flushed.set()
        return result

    monkeypatch.setattr(lmdb_writer.Writer, "_flush", flush)
    with LMDBDatastore(directory, durability="async") as store:
        store.put(Key("/a"), b"1")
        assert flushed.wait(30)
        flushed.clear()
        store.flush()
        assert flushed.is_set()
    with LMDBDatastore(directory) as store:
        assert store.get(Key("/a")) == b"1"


def test_threads_that_share_a_store_see_their_own_writes(directory: Path) -> None:
    failures: list[BaseException] = []
    threads_count, rounds = 8, 60
    with LMDBDatastore(directory, map_bytes=256 * KIB) as store:

        def work(number: int) -> None:
            chance = random.Random(number)
            model: dict[Key, bytes] = {}
            try:
                for _ in range(rounds):
                    key = Key(f"/t{number}/{chance.randrange(20)}")
                    if chance.random() < 0.7:
                        model[key] = chance.randbytes(chance.choice([0, 10, 5000]))
                        store.put(key, model[key])
                    else:
                        store.delete(key)
                        model.pop(key, None)
                    assert store.get(key) == model.get(key)
                    found = list(store.query(Query(Key(f"/t{number}"))).entries())
                    assert found == sorted(model.items())
            except BaseException as error:  # noqa: BLE001 - told by the thread that waits
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(threads_count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert failures == []
        # Each put was acknowledged by itself, although they shared commits.
        assert store.stats().commits < threads_count * rounds


# What it reports about itself


def test_it_describes_itself(directory: Path) -> None:
    with LMDBDatastore(directory, durability="async") as store:
        description = store.describe()
        assert (description.kind, description.text) == ("lmdb", str(directory))
        assert description.capability.durability is Durability.ASYNC
        assert store.fast_reads
        store.batch_write([Write(Key(f"/{number}"), b"x" * 1000) for number in range(100)])
        stats = store.stats()
        assert stats.entries == 100
        assert 100_000 < stats.used_bytes <= stats.file_bytes < stats.map_bytes
    with LMDBDatastore(directory) as store:
        assert store.describe().capability.durability is Durability.SYNC
        assert list(store.query(Query(Key("/"), 2, 1).order(Order("-__key__")))) == [b"x" * 1000] * 2


def test_a_process_that_was_suspended_does_not_replace_the_map_under_a_read(tmp_path, monkeypatch):
    gate = Gate(tmp_path)
    waits = []

    def time_passed(is_done, timeout_s):
        """A wait whose time passed while the process was suspended; the read ends during the third."""
        waits.append(timeout_s)
        if len(waits) == 3:
            gate._inside -= 1
        return is_done()

    gate.__enter__()
    monkeypatch.setattr(gate._changed, "wait_for", time_passed)
    with gate.exclusive():
        assert gate._inside == 0
    assert len(waits) == 3
