"""Pages of results, as the Python client reads them."""

from __future__ import annotations

from typing import Any

import pytest

from datastore import aio
from datastore.model.errors import InvalidError, InvalidTokenError, QueryNotSupportedError, UnsupportedTypeError
from datastore.model.key import Key
from datastore.model.query import Query
from tests.server.conftest import Start
from tests.support.colours import connected

SCOPE = Key("/K")


async def pages(colour: Any, client: Any, query: Query, size: int) -> list[list[Any]]:
    """The entries of all pages; each begins with the token of the one before, as if it had come from a browser."""
    found, token = [], b""
    while True:
        page = await colour.call(client.list_entries, query, page_size=size, page_token=token)
        found.append(page.entries)
        token = page.next_page_token
        if not token:
            return found


async def filled(start: Start, values: dict[str, Any]) -> str:
    running = await start(aio.DictDatastore())
    await running.put_all(values)
    return running.server.url


async def test_pages_are_what_the_query_returns(start: Start, colour: Any) -> None:
    url = await filled(start, {f"/K:{number}": {"n": number % 3} for number in range(7)})
    async with connected(colour, url) as client:
        query = Query(SCOPE, 6, 1, metadata=True).order("-n")
        found = await pages(colour, client, query, 2)
        assert [len(page) for page in found] == [2, 2, 2]
        whole = await colour.read(client.query(query))
        assert [entry for page in found for entry in page] == whole
        assert [entry.version for page in found for entry in page] == [entry.version for entry in whole]
        keys = await pages(colour, client, Query(SCOPE, keys_only=True), 4)
        assert [str(entry.key) for page in keys for entry in page] == [f"/K:{number}" for number in range(7)]
        assert {entry.value for page in keys for entry in page} == {None}


async def test_a_token_contains_the_last_entry_if_its_sort_key_is_too_long(start: Start, colour: Any) -> None:
    values = {f"/K:{name}": {"t": name * 70_000, "n": 1} for name in "abc"}
    async with connected(colour, await filled(start, values)) as client:
        query = Query(SCOPE, fields=["n", "t"]).order("t")
        found = await pages(colour, client, query, 1)
        assert [str(entry.key) for page in found for entry in page] == list(values)


async def test_what_is_not_a_page_is_refused(start: Start, colour: Any) -> None:
    url = await filled(start, {f"/K:{number}": number for number in range(3)})
    async with connected(colour, url) as client:
        page = await colour.call(client.list_entries, Query(SCOPE), page_size=1)
        for token in (page.next_page_token[:-1], b"\xff", b"abc"):
            with pytest.raises(InvalidTokenError):
                await colour.call(client.list_entries, Query(SCOPE), page_size=1, page_token=token)
        with pytest.raises(InvalidTokenError):
            await colour.call(client.list_entries, Query(SCOPE, 2), page_token=page.next_page_token)
        for size in (-1, 2**31):
            with pytest.raises(InvalidError, match="page_size"):
                await colour.call(client.list_entries, Query(SCOPE), page_size=size)
        with pytest.raises(QueryNotSupportedError):
            await colour.call(client.list_entries, Query(SCOPE, object_getattr=lambda value, field: None))
        with pytest.raises(UnsupportedTypeError):
            await colour.call(client.list_entries, SCOPE)
