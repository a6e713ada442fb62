"""Resume tokens of watches, positions of several feeds in one, and which changes a watch selects. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from itertools import compress
from typing import NamedTuple

from datastore.engine import parts
from datastore.engine.pipeline import passing
from datastore.model.changes import Change, ChangeKind, Watch
from datastore.model.errors import ChangesExpiredError, InvalidTokenError
from datastore.model.fields import KEY_FIELD

__all__ = ["Place", "Progress", "joined", "opened", "parted", "placed", "sealed", "selected"]


def sealed(watch: Watch, position: bytes) -> bytes:
    """The resume token of a watch at a position of its store."""
    return parts.sealed(_identity(watch), position)


def opened(watch: Watch, token: object) -> bytes:
    """The position in a resume token. Raises InvalidTokenError if it is damaged or that of another watch."""
    return parts.unsealed(_identity(watch), token, "a watch of another key or with other filters")


def _identity(watch: Watch) -> str:
    query = watch.query
    return repr((str(query.key), query.recursive, [part.data() for part in query.filters]))


class Progress(Enum):
    """How far one of several feeds has come. The value is its byte in positions."""

    #: Its initial listing is not complete.
    LISTING = b"\1"
    FOLLOWING = b"\0"
    #: Its store has no entries any more.
    ENDED = b"\2"


class Place(NamedTuple):
    """The position of one of several feeds, under its name. b"" is where a store begins that joined the others."""

    name: str
    progress: Progress
    position: bytes

    @property
    def is_listing(self) -> bool:
        """Whether its initial listing goes on."""
        return self.progress is Progress.LISTING


def joined(places: Sequence[Place]) -> bytes:
    """The position of a feed that merges others."""
    return parts.packed(
        part for place in places for part in (place.name.encode(), place.progress.value, place.position)
    )


def placed(position: bytes) -> list[Place]:
    """The places in a position of a merged feed. Raises InvalidTokenError if it is not one."""
    try:
        found = parts.unpacked(position)
        return [
            Place(name.decode(), Progress(progress), inner)
            for name, progress, inner in zip(found[::3], found[1::3], found[2::3], strict=True)
        ]
    except ValueError:
        raise InvalidTokenError("the resume token is not one of several shards", field="resume_token") from None


def parted(position: bytes, names: Sequence[str], *, can_move: bool = False) -> list[Place]:
    """The places in a position of a merged feed, in the order of `names`.

    If entries `can_move`, names may be new, and places that have ended may be left out. Raises InvalidTokenError if the
    position is not one, ChangesExpiredError if it is one of other stores.
    """
    found = {place.name: place for place in placed(position)}
    left = [name for name, place in found.items() if name not in names and place.progress is not Progress.ENDED]
    if found.keys() != set(names) and (left or not can_move):
        raise ChangesExpiredError(
            f"the resume token is for the shards {', '.join(found)}, and they are now {', '.join(names)}: list the"
            " entries again, e.g. watch with initial=True"
        )
    return [found.get(name) or Place(name, Progress.FOLLOWING, b"") for name in names]


def selected(watch: Watch, changes: Sequence[Change]) -> list[Change]:
    """The changes that a watch returns: those of its scope whose new value passes the filters.

    A deletion or an expiry has no value: only those filters apply that read nothing but the key.
    """
    query = watch.query
    held = query.covers_each([change.key for change in changes])
    found = list(changes) if all(held) else list(compress(changes, held))
    if query.filters:
        by_key = [part for part in query.filters if all(each.field == KEY_FIELD for each in part.comparisons())]
        on_key = query.replaced(filters=by_key)
        for is_put, asked in ((True, query), (False, on_key)):
            if not asked.filters:
                continue
            places = [place for place, change in enumerate(found) if (change.kind is ChangeKind.PUT) == is_put]
            held = [True] * len(found)
            passed = passing(asked, [found[place].key for place in places], [found[place].value for place in places])
            for place, passes in zip(places, passed, strict=True):
                held[place] = passes
            found = list(compress(found, held))
    return found if watch.values else [change._replace(value=None) for change in found]
