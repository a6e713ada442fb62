"""The channels of one connection: one for calls, one for streams. New certificates get new channels.

gRPC cannot exchange the certificates of a channel. So calls that begin after a change use a new one, and the old one is
closed when its last call has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from datastore_client.aio._calls import open_channel
from datastore_client.channel import CHANNEL_OPTIONS, STREAM_OPTIONS, Target
from datastore_client.tls import Credentials

__all__ = ["Call", "Channels"]

#: The options of a channel, by the kind of its calls.
_OPTIONS = {"unary_unary": CHANNEL_OPTIONS, "unary_stream": STREAM_OPTIONS}


class Channels:
    """Opens channels to `target` when they are first needed."""

    def __init__(self, target: Target, credentials: Credentials) -> None:
        self._target = target
        self._credentials = credentials
        self._lines: dict[str, _Line] = {}
        self._replaced: set[_Line] = set()

    def begin(self, kind: str, path: str) -> Call:
        """A call of the method at `path`, to be made at once. The caller must end it, and holds the connection's lock.

        Raises ConfigError if there are no certificates.
        """
        shown = self._credentials.for_channels() if self._target.is_secure else None
        line = self._lines.get(kind)
        if line is None or line.shown is not shown:
            if line is not None:
                self._replaced.add(line)
            channel = open_channel(self._target, self._credentials, _OPTIONS[kind])
            line = self._lines[kind] = _Line(kind, channel, shown)
        return Call(self, line, line.method(path))

    def take_all(self) -> list[grpc.aio.Channel]:
        """All channels, to be closed; there are none afterwards. The caller holds the connection's lock."""
        lines = [*self._lines.values(), *self._replaced]
        self._lines, self._replaced = {}, set()
        return [line.channel for line in lines]

    async def close_unused(self) -> None:
        """Close the channels that have been replaced and have no calls."""
        # A copy: other threads may replace channels and close them meanwhile.
        for line in list(self._replaced):
            if not line.calls:
                self._replaced.discard(line)
                await line.channel.close()


class _Line:
    """A channel for calls of one kind, the credentials that it shows, and its open calls."""

    def __init__(self, kind: str, channel: grpc.aio.Channel, shown: grpc.ChannelCredentials | None) -> None:
        self.channel = channel
        self.shown = shown
        self.calls: set[Call] = set()
        self._kind = kind
        self._methods: dict[str, Callable[..., Any]] = {}

    def method(self, path: str) -> Callable[..., Any]:
        """What makes calls of the method at `path`: kept, because gRPC takes longer to make it than to find it."""
        method = self._methods.get(path)
        if method is None:
            method = self._methods[path] = getattr(self.channel, self._kind)(path)
        return method


class Call:
    """One call on a channel. `method` makes it."""

    __slots__ = ("_channels", "_line", "method")

    def __init__(self, channels: Channels, line: _Line, method: Callable[..., Any]) -> None:
        self._channels = channels
        self._line = line
        self.method = method
        line.calls.add(self)

    async def end(self) -> None:
        """The call has ended.

        Takes no lock that this thread may hold: the garbage collector may close a cursor at any moment.
        """
        self._line.calls.discard(self)
        await self._channels.close_unused()
