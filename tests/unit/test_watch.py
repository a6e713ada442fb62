"""Watching: which stores can be watched, what the log in memory keeps, and what a slow watcher costs."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import datastore
from datastore import aio, core
from datastore.engine.changelog import CHANGE_BYTES, ChangeLog, LogPosition
from datastore.engine.feeds import Progress, parted, placed
from datastore.model.changes import Change, ChangeBatch, ChangeKind, Watch
from datastore.model.errors import ChangesExpiredError, InvalidError, InvalidTokenError, UnsupportedError
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.sync.feeds import Feed, MergedFeed

QUERY = Query(Key("/w"))


def position(log: ChangeLog, version: int) -> LogPosition:
    return LogPosition(log.log_id, version)


@pytest.mark.parametrize("over", [-1, 0, 1])
@pytest.mark.parametrize(
    "limits",
    [{"most_changes": 10}, {"most_bytes": 10 * (CHANGE_BYTES + 4)}, {"most_age_s": 9e-6}],
    ids=["count", "bytes", "age"],
)
def test_a_log_keeps_the_latest_changes_within_each_limit(limits: Any, over: int) -> None:
    log = ChangeLog(0, **limits)
    for version in range(1, 11 + over):
        log.put(Key("/w/a"), version, "text")
    assert len(log.read(log.number_after(position(log, log.floor)))[0]) == min(10, 10 + over)
    first = max(over, 0)
    assert log.read(log.number_after(position(log, first)))[0][0].version == first + 1
    for version in range(first):
        with pytest.raises(ChangesExpiredError):
            log.number_after(position(log, version))


def test_a_change_larger_than_the_log_is_shown_to_nobody() -> None:
    log = ChangeLog(0, most_bytes=1000)
    log.put(Key("/w/a"), 1, "x" * 1000)
    with pytest.raises(ChangesExpiredError):
        log.read(0)
    assert log.number_after(position(log, 1)) == 1


def test_positions_of_another_log_or_from_the_future_are_expired() -> None:
    log, other = ChangeLog(5), ChangeLog(5)
    assert log.number_after(position(log, 5)) == 0
    for wrong in (position(other, 5), position(log, 4), position(log, 6)):
        with pytest.raises(ChangesExpiredError):
            log.number_after(wrong)


@pytest.mark.parametrize("listed", [None, "", "/w/é", "/w/\ud800"])
def test_a_position_is_read_back(listed: str | None) -> None:
    packed = LogPosition(b"12345678", 2**63 - 1, listed).packed()
    assert LogPosition.unpacked(packed) == LogPosition(b"12345678", 2**63 - 1, listed)
    for wrong in (b"", packed[:16]):
        with pytest.raises(InvalidTokenError):
            LogPosition.unpacked(wrong)


class Staged(Feed):
    """A feed of batches that are given to it."""

    def __init__(self, *batches: ChangeBatch | None) -> None:
        self._batches = [ChangeBatch((), b"begun"), *batches]

    def take(self) -> ChangeBatch | None:
        return self._batches.pop(0) if self._batches else None

    def close(self) -> None:
        return


def test_changes_of_a_later_stage_wait_until_all_feeds_have_reached_it() -> None:
    def change(number: int) -> list[Change]:
        return [Change(ChangeKind.PUT, Key("/w/a"), number)]

    ahead = Staged(ChangeBatch((), b"1", stage=1), ChangeBatch(change(4), b"4", stage=1))
    ended = ChangeBatch((), b"ended", stage=1, is_last=True)
    behind = Staged(None, ChangeBatch(change(1), b"2"), None, ChangeBatch(change(2), b"3"), ended)
    feeds = {"ahead": ahead, "behind": behind}
    names = list(feeds)
    merged = MergedFeed(names, Watch(QUERY.frozen()), lambda index, _: feeds[names[index]], lambda *_: None)
    taken = [batch for _ in range(12) if (batch := merged.take()) is not None]
    assert [change.version for batch in taken for change in batch.changes] == [1, 2, 4]
    assert [batch.stage for batch in taken if batch.changes] == [0, 0, 1]
    ends = [place.name for place in placed(taken[-1].token) if place.progress is Progress.ENDED]
    assert ends == ["behind"]
    assert [place.name for place in parted(taken[-1].token, ["ahead", "new"], can_move=True)] == ["ahead", "new"]
    for names_now, can_move in ((["behind"], True), (["ahead"], False), (["ahead", "behind", "new"], False)):
        with pytest.raises(ChangesExpiredError):
            parted(taken[-1].token, names_now, can_move=can_move)


def test_nothing_is_kept_before_somebody_watches() -> None:
    store = core.DictDatastore()
    store.put(Key("/w/a"), 1)
    assert store._log is None
    with store.watch(QUERY):
        store.put(Key("/w/b"), 1)
    assert store._log is not None
    kept = core.DictDatastore(keep_changes=True)
    assert kept._log is not None


@pytest.mark.parametrize("name", ["most_changes", "most_change_bytes", "most_change_age_s"])
def test_the_limits_of_a_log_are_checked(name: str) -> None:
    with pytest.raises(InvalidError, match=name):
        core.DictDatastore(**{name: 0})
    with pytest.raises(TypeError, match=name):
        core.DictDatastore(**{name: "many"})


def test_a_slow_watcher_ends_with_an_error_and_delays_no_writer() -> None:
    store = core.DictDatastore(most_changes=10)
    with store.watch(QUERY) as slow, store.watch(QUERY) as fast:
        for value in range(10):
            store.put(Key("/w/a"), value)
        assert [next(fast).value for _ in range(10)] == list(range(10))
        token = slow.token
        store.put(Key("/w/a"), 10)
        with pytest.raises(ChangesExpiredError):
            next(slow)
        assert next(slow, "the end") == "the end"
        assert next(fast).value == 10
    with pytest.raises(ChangesExpiredError):
        store.watch(QUERY, resume_token=token).__enter__()
    assert not store._log.wakers


def test_a_token_of_another_store_is_expired() -> None:
    with core.DictDatastore().watch(QUERY) as watcher:
        token = watcher.token
    with pytest.raises(ChangesExpiredError):
        core.DictDatastore().watch(QUERY, resume_token=token).__enter__()


def test_a_token_of_other_shards_is_expired() -> None:
    stores = [core.DictDatastore() for _ in range(3)]
    with core.ShardedDatastore(stores[:2]).watch(QUERY) as watcher:
        token = watcher.token
    with core.ShardedDatastore(stores[:2]).watch(QUERY, resume_token=token) as watcher:
        assert watcher.token == token
    with pytest.raises(ChangesExpiredError, match=r"0, 1.*0, 1, 2"):
        core.ShardedDatastore(stores).watch(QUERY, resume_token=token).__enter__()


def test_a_watcher_that_waits_can_be_closed_by_another_thread() -> None:
    store = core.DictDatastore()
    found: list[Any] = []
    with store.watch(QUERY) as watcher:
        reader = threading.Thread(target=lambda: found.extend(watcher))
        reader.start()
        store.put(Key("/w/a"), 1)
        watcher.close()
        reader.join()
    assert [change.value for change in found] in ([], [1])
    assert not store._log.wakers


async def test_writes_from_another_thread_wake_a_task() -> None:
    store = core.DictDatastore()
    async with aio.lift.lift(store).watch(QUERY) as watcher:
        writer = threading.Thread(target=store.put, args=(Key("/w/a"), 1))
        writer.start()
        assert (await anext(watcher)).value == 1
        writer.join()


def test_stores_that_change_what_they_show_cannot_be_watched_unless_they_say_how() -> None:
    class Upper(core.ShimDatastore):
        def get(self, key: Key) -> Any:
            return str(self.child_datastore.get(key)).upper()

    class Watched(Upper):
        def changes(self, watch: Any, wake: Any) -> Any:
            return super().changes(watch, wake)

    class Own(core.DictDatastore):
        def put(self, key: Key, value: Any) -> None:
            super().put(key, value)

    for store in (
        Upper(core.DictDatastore()),
        core.SymlinkDatastore(core.DictDatastore()),
        core.DirectoryDatastore(core.DictDatastore()),
        core.NestedPathDatastore(core.DictDatastore()),
        core.NullDatastore(),
        Own(),
        core.LoggingDatastore(Own()),
        core.ShardedDatastore([core.DictDatastore(), Own()]),
        core.KeyTransformDatastore(core.DictDatastore(), lambda key: key),
    ):
        assert store.capability.changes is False, store
        with pytest.raises(UnsupportedError, match="cannot be watched"):
            store.watch(QUERY)
    with pytest.raises(UnsupportedError, match=r"^Upper cannot be watched: it changes how entries are read"):
        Upper(core.DictDatastore()).watch(QUERY)
    with Watched(core.DictDatastore()).watch(QUERY):
        pass


def test_a_store_that_cannot_be_watched_says_which_storage_keeps_no_log_and_how_it_would(tmp_path: Path) -> None:
    lmdb = datastore.open(f"lmdb://{tmp_path}/data")
    composed = core.LoggingDatastore(core.TieredDatastore([core.NullDatastore(), lmdb]))
    with composed, pytest.raises(UnsupportedError, match=r"^lmdb cannot be watched: it keeps no log.*changes=true"):
        composed.watch(QUERY)


def test_what_deserializes_to_none_is_a_deletion() -> None:
    class Emptying:
        def dumps(self, value: Any) -> Any:
            return value

        def loads(self, stored: Any) -> Any:
            return None if stored == "empty" else stored

    store = core.SerializerShimDatastore(core.DictDatastore(), Emptying())
    with store.watch(QUERY) as watcher:
        store.put(Key("/w/a"), "full")
        store.put(Key("/w/a"), "empty")
        assert [next(watcher).kind for _ in range(2)] == [ChangeKind.PUT, ChangeKind.DELETE]


def test_an_error_of_a_shard_names_it() -> None:
    stores = [core.DictDatastore(most_changes=1) for _ in range(2)]
    store = core.ShardedDatastore(stores, lambda key: 1, names=["a", "b"])
    with store.watch(QUERY) as watcher:
        for value in range(3):
            store.put(Key("/w/a"), value)
        with pytest.raises(ChangesExpiredError) as failed:
            next(watcher)
    assert failed.value.shard == "b"
