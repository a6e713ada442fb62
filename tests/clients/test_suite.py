"""Every client answers every case as it must, or is declared to leave it out."""

from __future__ import annotations

from tests.clients.drivers import Client, Driver
from tests.clients.runner import LEFT_OUT, Runner, Unsupported
from tests.clients.servers import Servers
from tests.clients.suite import Case


def test_case(client: Client, case: Case, driver: Driver, servers: Servers) -> None:
    left_out = LEFT_OUT.get(client.name, {})
    try:
        Runner(driver, servers).run(case)
    except Unsupported as reason:
        assert str(case) in left_out, f"{client} leaves {case} out, which left_out.json does not say: {reason}"
    else:
        assert str(case) not in left_out, f"{client} answers {case}: strike it from left_out.json"
