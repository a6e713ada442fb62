"""What one client writes through a proxy, every client reads back equal.

Values of all kinds are written one by one and in a batch, and read in batches, one by one, and by a query.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.clients.drivers import Client, Driver
from tests.clients.matching import difference
from tests.clients.servers import Servers
from tests.clients.suite import data_set
from tests.support.waiting import PATIENCE_S


def test_what_a_client_writes_every_client_reads(
    client: Client,
    driver: Driver,
    all_chosen: list[Client],
    driver_of: Callable[[Client], Driver],
    servers: Servers,
) -> None:
    space = f"/pairs/{client}"
    values = {f"{space}/{name}": entry["value"] for name, entry in sorted(data_set().items())}
    connect = {"op": "connect", "addresses": [servers.address("proxy")], "timeout_ms": int(1000 * PATIENCE_S)}

    def asked(driver: Driver, **request: Any) -> Any:
        response = driver.ask(request)
        assert "result" in response, f"{driver.client} answered {response} to {request}"
        return response["result"]

    written = [{"put": {"key": key, "value": value}} for key, value in values.items()]
    writer = asked(driver, **connect)["client"]
    for write in written[::2]:
        asked(driver, op="put", client=writer, **write["put"])
    results = asked(driver, op="batch_write", client=writer, writes=written[1::2])["results"]
    assert not any("error" in result for result in results)
    asked(driver, op="close", client=writer)

    for other in all_chosen:
        reader = driver_of(other)
        number = asked(reader, **connect)["client"]
        several = asked(reader, op="batch_get", client=number, keys=list(values))["results"]
        single = [asked(reader, op="get", client=number, key=key) for key in list(values)[::5]]
        query = {"key": space, "orders": ["__key__"]}
        found = asked(reader, op="read", client=number, query=query)["entries"]
        asked(reader, op="close", client=number)
        wanted = [{"value": value} for value in values.values()]
        entries = [{"key": key, "value": value} for key, value in values.items()]
        for expected, read in ((wanted, several), (wanted[::5], single), (entries, found)):
            wrong = difference(expected, read, {}, f"what {client} wrote and {other} read")
            assert wrong is None, wrong
