"""The feed of a node: the changes of the entries that it owned at the time of each change.

Entries that a move writes to a node or deletes from it are not changes: the node does not own them at that moment.
Knows ownerships and the feed of a store, but not how placements change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from datastore.aio.feeds import Feed
from datastore.engine.changelog import LogPosition
from datastore.engine.feeds import Place, Progress, joined, placed
from datastore.model.changes import Change, ChangeBatch, Watch
from datastore.model.errors import ChangesExpiredError, InvalidTokenError

if TYPE_CHECKING:
    from datastore_server.placement.owned import OwnedDatastore, Ownership

__all__ = ["OwnedFeed"]


class OwnedFeed(Feed):
    """The changes of the entries that a node owns, over one move of slots from or to it.

    The stage of a batch is the epoch of the placement under which its changes were made. A position has its ownership's
    name; b"" begins where the node began to own slots.
    """

    def __init__(self, store: OwnedDatastore, open_feed: Callable[[Watch], Feed], watch: Watch) -> None:
        self._store = store
        self._open_feed = open_feed
        self._watch = watch
        self._owned = store.ownership
        self._progress = Progress.LISTING if watch.initial and watch.position is None else Progress.FOLLOWING
        position = watch.position
        if position is not None:
            (place, *others) = placed(position)
            if others:
                raise InvalidTokenError("the resume token is not one of this server", field="resume_token")
            self._owned, self._progress = self._of(place.name), place.progress
            position = place.position
        #: Whether it begins where the node began to own slots.
        self._joins = position == b""
        self._feed = open_feed(watch._replace(position=None if self._joins else position))
        #: The position of the store's feed.
        self._token = position or b""
        #: Batches to be returned next, and the ownership of their time.
        self._following: list[tuple[Ownership, ChangeBatch]] = []

    def _of(self, name: str) -> Ownership:
        """The ownership of this name. Raises ChangesExpiredError if it is neither the current nor the former one."""
        now, (former, cut) = self._store.ownership, self._store.former
        if name != now.name and (name != former.name or not cut):
            raise self._expired(name)
        return now if name == now.name else former

    def _expired(self, name: str) -> ChangesExpiredError:
        now = self._store.ownership
        return ChangesExpiredError(
            f"this server was {name or 'without slots'} when the watch began, and is now"
            f" {now.expectation or 'without slots'}: list the entries again",
            shard=now.placement.shard or None,
        )

    @property
    def is_interrupted(self) -> bool:
        return self._feed.is_interrupted

    async def take(self) -> ChangeBatch | None:
        """The next batch, of one time."""
        if self._joins:
            await self._begin_at_cut()
        if self._following:
            return self._begin_time(*self._following.pop(0))
        # Asked before reading: if there is nothing to read then, nothing of that time is left.
        now = self._store.ownership
        batch = await self._feed.take()
        if now.name == self._owned.name or self._owned.is_open:
            return None if batch is None else self._batch(batch, self._of_now(batch, now))
        former, cut = self._store.former
        if former.name != self._owned.name or not cut or self._progress is Progress.LISTING:
            # Entries came with their values and not with their changes, and others left by deletions.
            raise self._expired(self._owned.name)
        return self._over_cut(batch, now, cut)

    def _of_now(self, batch: ChangeBatch, now: Ownership) -> list[Change]:
        if now.leaves_out or self._store.former[1]:
            return [change for change in batch.changes if now.owns(change.key)]
        return list(batch.changes)

    def _over_cut(self, batch: ChangeBatch | None, now: Ownership, cut: int) -> ChangeBatch:
        """The part of a batch up to the cut between two times. The cut itself and the rest follow."""
        early = [change for change in batch.changes if change.version <= cut] if batch else []
        early = [change for change in early if self._owned.owns(change.key)]
        if batch is not None and LogPosition.unpacked(batch.token).version <= cut:
            return self._batch(batch, early)
        # An entry may have expired after the cut, and before the node knew that the time had ended.
        begun = LogPosition.unpacked(self._token or (batch.token if batch else b""))
        end = ChangeBatch((), begun._replace(version=max(cut, begun.version) if self._token else cut).packed())
        if batch is not None:
            late = [change for change in batch.changes if change.version > cut and now.owns(change.key)]
            self._following.append((now, batch._replace(changes=late)))
        if not early:
            return self._begin_time(now, end)
        self._following.insert(0, (now, end))
        return self._batch(end, early)

    def _begin_time(self, owned: Ownership, batch: ChangeBatch) -> ChangeBatch:
        self._owned = owned
        return self._batch(batch, batch.changes)

    async def _begin_at_cut(self) -> None:
        former, cut = self._store.former
        if former.expectation or not cut:
            raise self._expired(former.name)
        first = await self._feed.take()
        if first is None:
            return
        await self._feed.aclose()
        self._token = LogPosition.unpacked(first.token)._replace(version=cut).packed()
        self._feed = self._open_feed(self._watch._replace(position=self._token))
        self._joins = False

    def _batch(self, batch: ChangeBatch, changes: Sequence[Change]) -> ChangeBatch:
        """The batch with these changes, under the name of their time."""
        self._token = batch.token
        if batch.caught_up:
            self._progress = Progress.FOLLOWING
        owned = self._owned
        token = joined([Place(owned.name, self._progress, batch.token)])
        epoch = owned.placement.epoch
        is_last = bool(epoch) and not owned.expectation
        # A node without a placement, e.g. a proxy, passes on the stages of its store.
        return ChangeBatch(changes, token, batch.caught_up, epoch or batch.stage, is_last)

    async def aclose(self) -> None:
        """Close the store's feed."""
        await self._feed.aclose()
