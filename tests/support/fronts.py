"""A front of a MongoDB server under test that lets in one update at a time.

MongoDB updates a document atomically. FerretDB 1, which stands for it here, reads the document and writes it in two
steps, between which another update may change it; behind this front none does.
"""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack, nullcontext, suppress

__all__ = ["Front"]


class Front:
    """Listens on a free port, and forwards commands and their replies. `end` closes all connections."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._one_update = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def end(self) -> None:
        """Close everything, and wait for the threads."""
        # Only a shutdown wakes the thread that accepts.
        for each in (self._listener, *tuple(self._open)):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(client,))
                self._threads = [each for each in self._threads if each.is_alive()] + [thread]
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        with ExitStack() as stack, suppress(OSError):
            stack.enter_context(client)
            server = stack.enter_context(socket.create_connection(("127.0.0.1", self._server_port)))
            self._open |= {client, server}
            stack.callback(self._open.difference_update, {client, server})
            while command := _message(client):
                with self._one_update if _name(command) == b"update" else nullcontext():
                    server.sendall(command)
                    reply = _message(server)
                if not reply:
                    return
                client.sendall(reply)


def _name(command: bytes) -> bytes:
    """The name of a command: that of the first element of the document of an OP_MSG."""
    return command[_NAME_AT : command.find(b"\0", _NAME_AT)]


#: After a header of 16 bytes, 4 of flags, 1 for the kind of the section, 4 for the length of the document, and 1 for
#: the type of the element.
_NAME_AT = 26


def _message(connection: socket.socket) -> bytes:
    """The next message, which begins with its length in four bytes; b"" at the end of the connection."""
    head = _bytes(connection, 4)
    return head and head + _bytes(connection, int.from_bytes(head, "little") - 4)


def _bytes(connection: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(min(count - len(parts), 1 << 20))
        if not part:
            return b""
        parts += part
    return bytes(parts)
