"""Lets calls in: finds out who calls, whether the caller's quota is used up, and says so to what is below.

Knows calls, callers and their tokens; rights are checked by `authorized`, and by the services that ask `caller()`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

from datastore.model.errors import UnauthenticatedError, UnavailableError
from datastore_client.reloading import Reloading
from datastore_client.token_file import HEADER
from datastore_server.auth.access import Access, Grant, load_access
from datastore_server.auth.callers import Caller, set_caller
from datastore_server.auth.secrets import parts_of
from datastore_server.auth.verifying import Verifier
from datastore_server.call import Call, Handler

__all__ = ["Gate"]

_SCHEME = "bearer "
#: How soon a client may continue a stream that ended because its rights have changed, in seconds.
_RESUME_S = 0.05


class Gate:
    """The callers that a file names, read again when it changes. For one server.

    Raises ConfigError if the file cannot be read or is invalid. Later, an invalid file leaves the callers as they are.
    """

    def __init__(self, path: Path) -> None:
        self._file: Reloading[Access] = Reloading([path], lambda: load_access(path))
        self._access = self._file.current()
        self._verifier = Verifier()
        self._lock = threading.Lock()
        #: Those that have called: by the digest of their token, or by the name of their identity.
        self._callers: dict[bytes | str, Caller] = {}

    def admitting(self, handler: Handler, *, is_stream: bool, admin: bool = False) -> Handler:
        """The handler for callers that are known, within their quotas; with `admin`, for those that may administer.

        A stream ends when its caller's token expires or is revoked, or its rights change. It may be continued with
        the rights that the caller has then.
        """

        async def handle(request: bytes, call: Call) -> bytes | None:
            who = self._known(call)
            if who is None:
                # In the thread that polls gRPC, the call ends here, and begins again in the event loop: see `at_once`.
                await asyncio.sleep(0)
                who = await self._verified(call)
            who.check_continues()
            if admin:
                who.require_admin()
            set_caller(who)
            if is_stream:
                call.send = self._sending(who, call.send)
            if who.meter is None:
                return await handler(request, call)
            with who.meter.one_more():
                answer = await handler(request, call)
                who.meter.count(len(request) + len(answer or b""))
                return answer

        return handle

    def close(self) -> None:
        """Stop the thread that verifies tokens."""
        self._verifier.close()

    def _sending(self, who: Caller, send: Callable[[bytes], Awaitable[None]]) -> Callable[[bytes], Awaitable[None]]:
        """`Call.send` on behalf of a caller, at the pace of its quota."""

        async def send_on_behalf(message: bytes) -> None:
            if who.meter is not None and (pause_s := who.meter.count(len(message))):
                await asyncio.sleep(pause_s)
            self._look()
            try:
                who.check_continues()
            except UnauthenticatedError as error:
                # The client may have another token by now. If not, it is refused when it continues.
                raise UnavailableError(
                    f"{error}; continue by the last resume token", retry_after_s=_RESUME_S
                ) from error
            await send(message)

        return send_on_behalf

    # Who calls

    def _known(self, call: Call) -> Caller | None:
        """The caller; None if its token has to be verified first. Raises UnauthenticatedError if unknown."""
        self._look()
        token = _token_of(call)
        if token is None:
            return self._identified(call)
        digest = self._verifier.digest(token)
        who = self._callers.get(digest)
        if who is None and self._verifier.is_wrong(digest, _hash_in(self._granted(token))):
            raise _unknown_token()
        return who

    def _identified(self, call: Call) -> Caller:
        """The caller by the first name in its certificate that the file has."""
        name = self._first_identity(call)
        with self._lock:
            # As the file is now: it may have changed since.
            grant = None if name is None else self._access.identities.get(name)
            if name is None or grant is None:
                raise UnauthenticatedError("this server requires a token or a client certificate")
            return self._callers.setdefault(name, Caller(f"identity {name}", grant))

    def _first_identity(self, call: Call) -> str | None:
        identities = self._access.identities
        # Without identities in the file, certificates are not looked at.
        return next((name for name in call.identities() if name in identities), None) if identities else None

    async def _verified(self, call: Call) -> Caller:
        """The caller, whose token is verified. Raises UnauthenticatedError if it is wrong."""
        token = _token_of(call) or ""
        grant = self._granted(token)
        client = call.peer().rpartition(":")[0]
        is_right = await self._verifier.verify(token, _hash_in(grant), client)
        with self._lock:
            is_current = grant == self._granted(token)
            if is_current and is_right and grant is not None:
                return self._callers.setdefault(self._verifier.digest(token), Caller(f"token {grant.name}", grant))
        if is_current:
            raise _unknown_token()
        # The file has changed meanwhile.
        return await self._verified(call)

    def _granted(self, token: str) -> Grant | None:
        """What the token of this name may do, if it is genuine. Raises UnauthenticatedError if it cannot be."""
        parts = parts_of(token)
        if parts is None:
            raise UnauthenticatedError("not a token made by `datastore token create`; it may be truncated")
        return self._access.tokens.get(parts[0])

    # The file

    def _look(self) -> None:
        """Take what the file says now: callers that it no longer names, or whose rights have changed, end."""
        if self._file.current() is self._access:
            return
        with self._lock:
            # Another thread may have taken something later meanwhile.
            self._access = self._file.current()
            callers = ((key, self._renewed(who)) for key, who in self._callers.items())
            self._callers = {key: who for key, who in callers if who is not None}

    def _renewed(self, who: Caller) -> Caller | None:
        """The caller with its current rights; None if they were revoked."""
        before = who.grant
        named = self._access.tokens if before.hash else self._access.identities
        grant = named.get(before.name)
        if grant == before:
            return who
        if grant is None or grant.hash != before.hash:
            who.end(UnauthenticatedError(f"{who.named} has been revoked"))
            return None
        who.end(
            UnavailableError(
                f"the rights of {who.named} have changed; continue by the last token", retry_after_s=_RESUME_S
            )
        )
        return Caller(who.named, grant)


def _token_of(call: Call) -> str | None:
    """The token in a call's metadata, which is `authorization: Bearer TOKEN`; None if there is none."""
    for name, value in call.metadata:
        if name == HEADER:
            text = str(value)
            if text[: len(_SCHEME)].lower() != _SCHEME:
                raise UnauthenticatedError(f"the metadata {HEADER} is not `Bearer TOKEN`")
            return text[len(_SCHEME) :]
    return None


def _hash_in(grant: Grant | None) -> str | None:
    return None if grant is None else grant.hash


def _unknown_token() -> UnauthenticatedError:
    return UnauthenticatedError("this server does not know this token: it is wrong, or was revoked")
