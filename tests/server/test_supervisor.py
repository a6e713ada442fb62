"""A server tells the service manager when it is ready and when it stops."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from datastore_server import supervisor
from tests.support.commands import server_process
from tests.support.waiting import PATIENCE_S


@pytest.fixture(params=["a path", "an abstract name"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket of a service manager."""
    path = str(tmp_path / "notify")
    address = path if request.param == "a path" else f"@{path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address.replace("@", "\0"))
        listening.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield listening


def told(manager: socket.socket) -> dict[str, str]:
    """The next assignments."""
    return dict(line.split("=", 1) for line in manager.recv(1000).decode().splitlines())


def test_the_manager_learns_of_the_start_and_of_the_stop(manager: socket.socket) -> None:
    with server_process("serve", "memory:", "--listen", "127.0.0.1:0") as ready:
        assert told(manager) == {"READY": "1", "STATUS": f"serving at {ready['url']}"}
    assert told(manager)["STOPPING"] == "1"


def test_a_manager_that_does_not_listen_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nothing"))
    supervisor.stopping()
    assert f"cannot be notified at {tmp_path / 'nothing'}: No such file" in caplog.text
