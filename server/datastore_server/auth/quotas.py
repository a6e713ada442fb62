"""How much one caller uses, and whether it may use more now. Knows numbers and errors, but no calls."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from datastore.model.errors import OverloadedError
from datastore_server.auth.access import Quota

__all__ = ["Meter"]

#: How many seconds' worth of bytes may be used at once after a pause.
BURST_S = 1.0
#: The shortest and longest retry delay of a refused call, in seconds.
_RETRY_AFTER_S = (0.05, 60.0)


class Meter:
    """Counts the calls and bytes of one caller. Safe for threads.

    Bytes are counted when they have been received or sent, so a caller may exceed its quota by one call. Then it is
    refused until that is paid off.
    """

    def __init__(self, name: str, quota: Quota, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._calls_in_hand = quota.calls_in_hand
        self._bytes_per_s = quota.bytes_per_s
        self._clock = clock
        self._lock = threading.Lock()
        self._in_hand = 0
        #: How many bytes may be used now; negative while too many have been.
        self._left = BURST_S * (quota.bytes_per_s or 0)
        self._counted_at = clock()

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Count a call while the block runs. Raises OverloadedError if the quota is used up; nothing was done."""
        with self._lock:
            self._check()
            self._in_hand += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_hand -= 1

    def _check(self) -> None:
        if self._calls_in_hand is not None and self._in_hand >= self._calls_in_hand:
            raise self._refusal(f"{self._in_hand:,} calls are in progress (calls_in_hand)", 0)
        if self._bytes_per_s is not None and (wait_s := self._wait_s(self._bytes_per_s)):
            raise self._refusal(f"{self._bytes_per_s:,} bytes a second (bytes_per_s)", wait_s)

    def count(self, used_bytes: int) -> float:
        """Count bytes. Returns for how long a stream should pause then, in seconds."""
        if self._bytes_per_s is None:
            return 0.0
        with self._lock:
            return self._wait_s(self._bytes_per_s, used_bytes)

    def _wait_s(self, bytes_per_s: int, used_bytes: int = 0) -> float:
        now = self._clock()
        grown = self._left + (now - self._counted_at) * bytes_per_s
        self._left = min(grown, BURST_S * bytes_per_s) - used_bytes
        self._counted_at = now
        return max(0.0, -self._left / bytes_per_s)

    def _refusal(self, what: str, wait_s: float) -> OverloadedError:
        shortest, longest = _RETRY_AFTER_S
        return OverloadedError(
            f"the quota of {self._name} is used up: {what}", retry_after_s=min(max(wait_s, shortest), longest)
        )
