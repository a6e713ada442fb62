"""A client with several addresses uses the first that can be reached, and then the next one once that has gone."""

from __future__ import annotations

from typing import Any

import pytest

from datastore import aio
from datastore.model.errors import UnavailableError
from datastore.model.key import Key
from datastore.model.query import Query
from datastore_client.aio._channels import Channels
from datastore_client.channel import Target
from datastore_client.tls import Credentials
from tests.server.conftest import Start
from tests.support.colours import connected

KEY = Key("/a")
#: Nobody listens at these ports, which are reserved.
NOBODY, NOBODY_ELSE = "127.0.0.1:9", "127.0.0.1:11"


def address(running: Any) -> str:
    return f"127.0.0.1:{running.server.port}"


async def test_the_next_address_is_used_if_the_first_is_not_reached(start: Start, colour: Any) -> None:
    store = aio.DictDatastore()
    url = f"grpc://{NOBODY},{address(await start(store))}"
    async with connected(colour, url) as client:
        await colour.call(client.put, KEY, 1)
        assert await colour.call(client.get, KEY) == 1
        assert [entry.value for entry in await colour.read(client.query(Query(Key("/"))))] == [1]


async def test_a_query_finds_the_next_address_too(start: Start, colour: Any) -> None:
    store = aio.DictDatastore()
    await store.put(KEY, 1)
    async with connected(colour, f"grpc://{NOBODY},{address(await start(store))}") as client:
        assert [entry.value for entry in await colour.read(client.query(Query(Key("/"))))] == [1]


async def test_the_next_address_is_used_once_the_first_has_gone(start: Start, colour: Any) -> None:
    first, second = await start(aio.DictDatastore()), await start(aio.DictDatastore())
    async with connected(colour, f"grpc://{address(first)},{address(second)}") as client:
        await colour.call(client.put, KEY, "first")
        await second.put(str(KEY), "second")
        assert await colour.call(client.get, KEY) == "first"
        await first.server.stop()
        assert await colour.call(client.get, KEY) == "second"


async def test_if_none_can_be_reached_the_error_says_so_at_once(colour: Any) -> None:
    async with connected(colour, f"grpc://{NOBODY},{NOBODY_ELSE}", timeout_s=3600) as client:
        for _ in range(2):
            with pytest.raises(UnavailableError, match=f"{NOBODY_ELSE}.*none of the 2 addresses") as caught:
                await colour.call(client.get, KEY)
            assert caught.value.retry_after_s is None


async def test_without_retries_every_call_tries_one_address(start: Start, colour: Any) -> None:
    url = f"grpc://{NOBODY},{address(await start(aio.DictDatastore()))}"
    async with connected(colour, url, retry=False) as client:
        with pytest.raises(UnavailableError, match=NOBODY) as caught:
            await colour.call(client.get, KEY)
        assert caught.value.retry_after_s == 0
        assert await colour.call(client.get, KEY) is None


def test_addresses_that_failed_are_passed_over_until_one_answers() -> None:
    one, two, three = (Target(f"h:{port}", is_secure=False) for port in (1, 2, 3))
    channels = Channels((one, two, three), Credentials())
    assert channels.pass_over(one)
    assert channels.pass_over(two)
    assert not channels.pass_over(three)
    assert channels.pass_over(one)
    channels.reached()
    # A call that began before the others had failed.
    assert channels.pass_over(one)
    assert channels.pass_over(three)
