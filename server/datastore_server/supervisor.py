"""Notifies the service manager that started this process, e.g. systemd with `Type=notify`, of its state.

The protocol is that of sd_notify(3): a datagram of assignments to the socket that the environment names. Without a
service manager nothing is sent.
"""

from __future__ import annotations

import logging
import os
import socket

__all__ = ["NOTIFY_SOCKET", "ready", "stopping"]

#: The variable of the environment that names the socket.
NOTIFY_SOCKET = "NOTIFY_SOCKET"

_log = logging.getLogger("datastore.server")


def ready(url: str) -> None:
    """Report that the server answers at `url`."""
    _notify("READY=1", f"STATUS=serving at {url}")


def stopping() -> None:
    """Report that the server is shutting down."""
    _notify("STOPPING=1", "STATUS=finishing the calls in progress")


def _notify(*assignments: str) -> None:
    address = os.environ.get(NOTIFY_SOCKET, "")
    if not address:
        return
    # An address that begins with @ is in the abstract namespace.
    target = f"\0{address[1:]}" if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
            notifier.connect(target)
            notifier.sendall("\n".join(assignments).encode())
    except OSError as error:
        _log.warning("the service manager cannot be notified at %s: %s", address, error.strerror or error)
