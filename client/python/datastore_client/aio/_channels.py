"""The channels of one connection: one for calls, one for streams. New certificates and addresses get new channels.

gRPC cannot exchange the certificates of a channel. So calls that begin after a change use a new one, and the old one is
closed when its last call has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc

from datastore_client.aio._calls import open_channel
from datastore_client.channel import CHANNEL_OPTIONS, STREAM_OPTIONS, Target
from datastore_client.tls import Credentials

__all__ = ["Call", "Channels"]

#: The options of a channel, by the kind of its calls.
_OPTIONS = {"unary_unary": CHANNEL_OPTIONS, "unary_stream": STREAM_OPTIONS}


class Channels:
    """Opens channels to the first of some servers, or the next one that can be reached, when they are first needed."""

    def __init__(self, targets: Sequence[Target], credentials: Credentials) -> None:
        self._targets = targets
        #: The server that calls go to, and those that could not be reached since one was.
        self._target = targets[0]
        self._unreached: set[Target] = set()
        self._credentials = credentials
        self._lines: dict[str, _Line] = {}
        self._replaced: set[_Line] = set()

    def begin(self, kind: str, path: str) -> Call:
        """A call of the method at `path`, to be made at once. The caller must end it, and holds the connection's lock.

        Raises ConfigError if there are no certificates.
        """
        shown = self._credentials.for_channels() if self._target.is_secure else None
        line = self._lines.get(kind)
        if line is None or line.shown is not shown or line.target is not self._target:
            if line is not None:
                self._replaced.add(line)
            channel = open_channel(self._target, self._credentials, _OPTIONS[kind])
            line = self._lines[kind] = _Line(kind, self._target, channel, shown)
        return Call(self, line, line.method(path))

    def pass_over(self, target: Target) -> bool:
        """Note that a server could not be reached. Whether there is another one to try; if not, begin with the first.

        The caller holds the connection's lock.
        """
        self._unreached.add(target)
        left = [other for other in self._targets if other not in self._unreached]
        if not left:
            self.reached()
        if self._target in self._unreached or not left:
            self._target = (left or self._targets)[0]
        return bool(left)

    def reached(self) -> None:
        """Note that a server answered."""
        self._unreached.clear()

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
    """A channel to a server for calls of one kind, the credentials that it shows, and its open calls."""

    def __init__(
        self, kind: str, target: Target, channel: grpc.aio.Channel, shown: grpc.ChannelCredentials | None
    ) -> None:
        self.target = target
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

    @property
    def target(self) -> Target:
        """The server that is called."""
        return self._line.target

    async def end(self) -> None:
        """The call has ended.

        Takes no lock that this thread may hold: the garbage collector may close a cursor at any moment.
        """
        self._line.calls.discard(self)
        await self._channels.close_unused()
