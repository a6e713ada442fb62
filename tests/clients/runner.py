"""Runs a case: asks a driver step by step, and compares what it answers with what must come."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

from tests.clients.drivers import Driver
from tests.clients.faulty import Faulty
from tests.clients.matching import Variables, difference, filled
from tests.clients.servers import Servers
from tests.clients.suite import Case, data_set
from tests.support.waiting import PATIENCE_S

__all__ = ["Runner", "Unsupported"]

#: Every run of a case has keys of its own.
_NUMBERS = count(1)
#: What is of the suite in a step; the rest is the request.
_OF_THE_SUITE = {"result", "error", "save"}
#: What is asked of the client that a case is connected with.
_WITHOUT_CLIENT = {"key", "compare_keys", "encode", "decode", "sort_key", "query", "error", "connect", "memory"}


class Unsupported(Exception):  # noqa: N818 - it is an answer
    """The client cannot do what a step asks; the text is its reason."""


class Runner:
    """Runs cases with one driver. What must happen and does not is a failure after `patience_s`."""

    def __init__(self, driver: Driver, servers: Servers, *, patience_s: float = PATIENCE_S) -> None:
        self._driver = driver
        self._servers = servers
        self._patience_s = patience_s
        #: The clients that the steps of a case have connected and not closed.
        self._open: set[int] = set()

    def run(self, case: Case) -> None:
        """Run a case. Raises AssertionError or Unsupported."""
        with self._servers.of(case) as (known, faulty):
            space = f"/suite/{next(_NUMBERS)}/{case}"
            variables: Variables = {"space": space, "data": data_set(), **known}
            if case.needs != "nothing" and case.connect != {"none": True}:
                connect = {"op": "connect", "addresses": [known["address"]], "timeout_ms": int(1000 * self._patience_s)}
                variables["client"] = self._ask(connect | filled(case.connect or {}, variables))["result"]["client"]
            try:
                for number, step in enumerate(case.steps):
                    self._take(step, variables, faulty, f"step {number} of {case}")
            finally:
                for client in self._open if self._driver.runs else ():
                    self._driver.ask({"op": "close", "client": client})
                self._open.clear()

    def _take(self, step: dict[str, Any], variables: Variables, faulty: Faulty | None, at: str) -> None:
        if faulty is not None and "op" not in step and "first_error_of" not in step:
            wrong = self._look_at(faulty, step, variables)
        elif "first_error_of" in step:
            wrong = self._first_error(step, variables)
        else:
            wrong = _wrong(step, self._ask(_request(step, variables)), variables)
        if wrong is not None:
            raise AssertionError(f"{at}, {json.dumps(step)[:600]}:\n{wrong}")

    def _look_at(self, faulty: Faulty, step: dict[str, Any], variables: Variables) -> str | None:
        """What is wrong with what a faulty server has seen; or wait for it, or let it go on."""
        if "requests" in step:
            return difference(step["are"], faulty.requests[step["requests"]], variables, step["requests"])
        if "count" in step:
            return difference(step["is"], faulty.counts[step["count"]], variables, step["count"])
        if "until" in step:
            self._servers.until(faulty, step["until"], step["is"], self._patience_s)
        else:
            self._servers.release(faulty)
        return None

    def _first_error(self, step: dict[str, Any], variables: Variables) -> str | None:
        """An error may come when a client connects or later: with one of these steps."""
        for each in step["first_error_of"]:
            response = self._ask(_request(each, variables))
            if "error" in response:
                return _wrong(step, response, variables)
            _wrong(each, response, variables)
        return "there was no error"

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        response = self._driver.ask(request)
        if "unsupported" in response:
            raise Unsupported(response["unsupported"])
        if request["op"] == "connect" and "result" in response:
            self._open.add(response["result"]["client"])
        if request["op"] == "close":
            self._open.discard(request["client"])
        return response


def _request(step: dict[str, Any], variables: Variables) -> dict[str, Any]:
    request: dict[str, Any] = filled(
        {name: part for name, part in step.items() if name not in _OF_THE_SUITE}, variables
    )
    if step["op"] not in _WITHOUT_CLIENT and "client" in variables:
        request.setdefault("client", variables["client"])
    return request


def _wrong(step: dict[str, Any], response: dict[str, Any], variables: Variables) -> str | None:
    """What is wrong with a response; None if nothing is."""
    if "error" in step:
        if "error" not in response:
            return f"there was no error, but {response}"
        wanted = {"message": {"$any": True}, "details": {}, **step["error"]}
        wanted["details"] = {"$includes": wanted["details"]}
        return difference(wanted, response["error"], variables, "error")
    if "error" in response:
        return f"the error {response['error']}"
    if "result" not in response:
        return f"neither a result nor an error, but {response}"
    for name, part in step.get("save", {}).items():
        variables[name] = response["result"][part]
    return difference(step["result"], response["result"], variables) if "result" in step else None
