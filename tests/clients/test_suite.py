"""Every client answers every case as it must, or is declared to leave it out."""

from __future__ import annotations

import json

from tests.clients.drivers import Client, Driver
from tests.clients.runner import Runner, Unsupported
from tests.clients.servers import Servers
from tests.clients.suite import FOLDER, Case, all_cases, left_out


def test_case(client: Client, case: Case, driver: Driver, servers: Servers) -> None:
    may_be_left_out = left_out(client.name)
    try:
        Runner(driver, servers).run(case)
    except Unsupported as reason:
        assert str(case) in may_be_left_out, f"{client} leaves {case} out, which left_out.json does not say: {reason}"
    else:
        assert str(case) not in may_be_left_out, f"{client} answers {case}: strike it from left_out.json"


def test_what_is_left_out_exists() -> None:
    names = {str(case) for case in all_cases()}
    assert len(names) == len(all_cases()), "two cases have one name"
    reasons = json.loads((FOLDER / "left_out.json").read_text(encoding="utf-8"))
    assert {case for client in reasons for case in left_out(client)} <= names
