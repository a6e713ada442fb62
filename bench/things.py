"""The entries of the benchmarks: text of 100 bytes, or what a row makes, under ascending keys of one collection."""

from __future__ import annotations

from collections.abc import Callable

from datastore.model.expiry import Expiry
from datastore.model.key import Key
from datastore.model.operations import Put
from datastore.v1 import service_pb2
from datastore_client.aio import connect

__all__ = [
    "AT_ONCE",
    "COUNTRY",
    "STREAM_ENTRIES",
    "UNARY_CALLS",
    "UNARY_IN_FLIGHT",
    "VALUE_BYTES",
    "fill",
    "grouped_row",
    "key",
    "query",
    "row",
    "text",
]

#: How many calls a run of the unary row makes, and how many of them are in flight at once.
UNARY_CALLS, UNARY_IN_FLIGHT = 6000, 64
#: The entries of the stream rows, and the bytes of each value.
STREAM_ENTRIES, VALUE_BYTES = 100_000, 100
#: How many entries are written at once.
AT_ONCE = 10_000
#: The country of one in a hundred maps.
COUNTRY = "Country 07"


def key(number: int) -> str:
    """The text of a key."""
    return f"/Thing:{number:08}"


def text(number: int) -> str:
    """A value."""
    return "x" * VALUE_BYTES


def row(number: int) -> dict[str, object]:
    """A map of seven members, about as large as an airport's."""
    return {
        "name": f"Thing number {number}",
        "city": "Somewhere",
        "country": "CH",
        "tz": "Europe/Zurich",
        "elevation": number % 5000,
        "lat": number / 1000,
        "lon": -number / 1000,
    }


def grouped_row(number: int) -> dict[str, object]:
    """The same in one of a hundred countries."""
    return row(number) | {"country": f"Country {number % 100:02}"}


def query() -> bytes:
    """The request for all entries."""
    request = service_pb2.QueryRequest()
    request.query.key.text = "/Thing"
    return request.SerializeToString()


async def fill(
    url: str,
    entries: int,
    value_of: Callable[[int], object] = text,
    expiry: Expiry | None = None,
    *,
    at_once: int = AT_ONCE,
) -> None:
    """Put so many entries."""
    async with connect(url) as store:
        for start in range(0, entries, at_once):
            numbers = range(start, min(start + at_once, entries))
            outcomes = await store.batch_write([Put(Key(key(n)), value_of(n), expiry=expiry) for n in numbers])
            if failed := next((outcome.error for outcome in outcomes if outcome.error), None):
                raise failed
