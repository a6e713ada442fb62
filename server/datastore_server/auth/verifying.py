"""Finds out whether tokens are genuine, without delaying other calls. Knows tokens and hashes, but no callers."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, OrderedDict
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b

from datastore.model.errors import OverloadedError
from datastore_server.auth.secrets import verify

__all__ = ["WAITING", "WAITING_OF_ONE", "Verifier"]

#: How many tokens may wait to be verified, of all clients and of one address. Each takes some 40 ms of one core.
WAITING = 64
WAITING_OF_ONE = 8
#: How long a client whose token cannot be verified now should wait before it tries again, in seconds.
RETRY_AFTER_S = 1.0
#: How many wrong tokens are remembered, so that a client that goes on sending one costs nothing.
REMEMBERED_WRONG = 4096


class Verifier:
    """Verifies tokens in one thread, and remembers wrong ones. For one event loop, but for `digest` and `is_wrong`."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        #: What each wrong token was compared with, by digest; the oldest first.
        self._wrong: OrderedDict[bytes, str | None] = OrderedDict()
        self._running: dict[tuple[bytes, str | None], asyncio.Future[bool]] = {}
        self._waiting: Counter[str] = Counter()
        self._thread = ThreadPoolExecutor(1, "tokens")

    def digest(self, token: str) -> bytes:
        """What a token is remembered by: its digest with a key that only this process has.

        So neither memory nor the duration of a look-up tells anything about tokens.
        """
        return blake2b(token.encode("utf-8", "replace"), key=self._key, digest_size=32).digest()

    def is_wrong(self, digest: bytes, hashed: str | None) -> bool:
        """Whether this token is known not to match this hash, or to have none."""
        return self._wrong.get(digest, "") == hashed

    async def verify(self, token: str, hashed: str | None, client: str) -> bool:
        """Whether a token has this hash; None: there is none to compare with. `client` is the caller's address.

        Raises OverloadedError if too many tokens wait already.
        """
        task = self.digest(token), hashed
        if (running := self._running.get(task)) is None:
            if self._waiting.total() >= WAITING or self._waiting[client] >= WAITING_OF_ONE:
                raise OverloadedError(
                    f"the token was not verified: {self._waiting.total()} others are waiting for that",
                    retry_after_s=RETRY_AFTER_S,
                )
            self._waiting[client] += 1
            running = self._running[task] = asyncio.ensure_future(self._verified(token, *task, client))
        # It is shared: a caller that leaves does not end it.
        return await asyncio.shield(running)

    async def _verified(self, token: str, digest: bytes, hashed: str | None, client: str) -> bool:
        try:
            is_right = await asyncio.get_running_loop().run_in_executor(self._thread, verify, token, hashed)
        finally:
            self._waiting[client] -= 1
            # Without those that are 0.
            self._waiting += Counter()
            del self._running[digest, hashed]
        if not is_right:
            self._wrong[digest] = hashed
            if len(self._wrong) > REMEMBERED_WRONG:
                self._wrong.popitem(last=False)
        return is_right

    def close(self) -> None:
        """Stop the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)
