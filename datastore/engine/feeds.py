"""Resume tokens of watches, positions of several feeds in one, and which changes a watch selects. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import NamedTuple

from datastore.engine import parts
from datastore.engine.pipeline import passing
from datastore.model.changes import Change, ChangeKind, Watch
from datastore.model.errors import ChangesExpiredError, InvalidTokenError
from datastore.model.fields import KEY_FIELD

__all__ = ["Place", "joined", "opened", "parted", "sealed", "selected"]


def sealed(watch: Watch, position: bytes) -> bytes:
    """The resume token of a watch at a position of its store."""
    return parts.sealed(_identity(watch), position)


def opened(watch: Watch, token: object) -> bytes:
    """The position in a resume token. Raises InvalidTokenError if it is damaged or that of another watch."""
    return parts.unsealed(_identity(watch), token, "a watch of another key or with other filters")


def _identity(watch: Watch) -> str:
    query = watch.query
    return repr((str(query.key), query.recursive, [part.data() for part in query.filters]))


class Place(NamedTuple):
    """The position of one of several feeds, under its name, and whether its initial listing goes on."""

    name: str
    is_listing: bool
    position: bytes


def joined(places: Sequence[Place]) -> bytes:
    """The position of a feed that merges others."""
    return parts.packed(
        part for place in places for part in (place.name.encode(), bytes([place.is_listing]), place.position)
    )


def parted(position: bytes, names: Sequence[str]) -> list[Place]:
    """The places in a position of a merged feed, in the order of `names`.

    Raises InvalidTokenError if it is not one, ChangesExpiredError if it is one of other stores.
    """
    try:
        found_parts = parts.unpacked(position)
        found = {
            name.decode(): Place(name.decode(), flag == b"\1", inner)
            for name, flag, inner in zip(found_parts[::3], found_parts[1::3], found_parts[2::3], strict=True)
        }
    except ValueError:
        raise InvalidTokenError("the resume token is not one of several shards", field="resume_token") from None
    if found.keys() != set(names):
        raise ChangesExpiredError(
            f"the resume token is for the shards {', '.join(found)}, and they are now {', '.join(names)}: list the"
            " entries again, e.g. watch with initial=True"
        )
    return [found[name] for name in names]


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
