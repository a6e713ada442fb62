"""The drivers of all clients, as processes that are asked in JSON. Decides nothing about their answers."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Client", "Driver", "clients", "unbuilt"]

ROOT = Path(__file__).resolve().parent.parent.parent
BUILT = ROOT / "build/clients"


class Client(NamedTuple):
    """A client that the suite can run, and the command of its driver."""

    name: str
    command: tuple[str, ...]
    #: Whether it is in another language than the suite.
    is_other: bool = False

    def __str__(self) -> str:
        return self.name


def clients() -> list[Client]:
    """Python's own, and those of other languages whose driver has been built."""
    own = [
        Client("python", (sys.executable, "-m", "tests.clients.python_driver", "sync")),
        Client("python-aio", (sys.executable, "-m", "tests.clients.python_driver", "aio")),
    ]
    drivers = {language: BUILT / language / "driver" for language in _languages()}
    return own + [Client(language, (str(path),), is_other=True) for language, path in drivers.items() if path.exists()]


def unbuilt() -> list[str]:
    """The languages whose client is here, and whose driver is not built."""
    built = {client.name for client in clients()}
    return [language for language in _languages() if language not in built]


def _languages() -> list[str]:
    """The other languages that have a client."""
    return sorted(path.parent.name for path in ROOT.glob("client/*/Makefile"))


class Driver:
    """A running driver. `close` ends it, and fails if it did not end as it should."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._ids = count(1)
        self._process = subprocess.Popen(
            client.command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The response to a request, without its id."""
        assert self._process.stdin is not None and self._process.stdout is not None
        number = next(self._ids)
        try:
            self._process.stdin.write(json.dumps({"id": number, **request}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        assert line, f"the driver of {self.client} ended with code {self._process.wait()} when asked {request}"
        response: dict[str, Any] = json.loads(line)
        assert response.pop("id", None) == number, f"the driver of {self.client} answered another request: {line}"
        return response

    def close(self) -> None:
        """End its input, and wait until it has ended."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        rest = self._process.stdout.read()
        self._process.stdout.close()
        code = self._process.wait()
        assert (code, rest) == (0, ""), f"the driver of {self.client} ended with code {code} and {rest!r}"

    def kill(self) -> None:
        """End it in any case."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):
                pipe.close()  # type: ignore[union-attr]
