"""On whose behalf a call is made: set by the gate that lets it in, and read below it. Knows no calls and no stores."""

from __future__ import annotations

import time
from contextvars import ContextVar
from copy import copy

from datastore.model.errors import DatastoreError, PermissionDeniedError, UnauthenticatedError
from datastore.model.key import Key
from datastore_server.auth.access import Grant, Quota
from datastore_server.auth.quotas import Meter
from datastore_server.auth.rights import ROOT, Right

__all__ = ["Caller", "caller", "set_caller"]


class Caller:
    """A caller, known by a token or by the identity in a certificate, with its rights at one moment.

    `named` is what errors and logs call it.
    """

    def __init__(self, named: str, grant: Grant) -> None:
        self.named = named
        self.grant = grant
        self.meter = None if grant.quota == Quota() else Meter(named, grant.quota)
        self._expires_s = None if grant.expires is None else grant.expires.timestamp()
        self._ended: DatastoreError | None = None

    def end(self, reason: DatastoreError) -> None:
        """Its rights are no longer these: `check_continues` raises this from now on."""
        self._ended = reason

    def check_continues(self) -> None:
        """Raise the reason why what it has begun must end, if there is one: its token has expired, or `end`."""
        if self._expires_s is not None and time.time() >= self._expires_s:
            raise UnauthenticatedError(f"{self.named} has expired; it needs a new one")
        if self._ended is not None:
            raise copy(self._ended)

    def may(self, right: Right, key: Key) -> bool:
        """Whether it has a right for `key` and all below it."""
        return self.grant.rights.cover(right, key)

    def require(self, right: Right, key: Key) -> None:
        """Raise PermissionDeniedError unless it has this right for the entry of `key`."""
        if not self.grant.rights.cover(right, key):
            raise PermissionDeniedError(f"{self.named} may not {right} {key}", right=right)

    def require_scope(self, right: Right, key: Key) -> None:
        """Raise PermissionDeniedError unless it has this right for all that a query of `key` may select."""
        if not self.grant.rights.cover(right, key):
            raise PermissionDeniedError(
                f"{self.named} may not {right} all that is below {key}: name a narrower one, which its rights cover",
                right=right,
            )

    def require_admin(self) -> None:
        """Raise PermissionDeniedError unless it may administer the server."""
        if not self.grant.rights.cover(Right.ADMIN, ROOT):
            raise PermissionDeniedError(f"{self.named} may not administer this server", right=Right.ADMIN)


_caller: ContextVar[Caller] = ContextVar("caller")


def set_caller(found: Caller) -> None:
    """Make the rest of the current context act on behalf of a caller."""
    _caller.set(found)


def caller() -> Caller:
    """The caller of the current context. Raises UnauthenticatedError if there is none."""
    try:
        return _caller.get()
    except LookupError:
        raise UnauthenticatedError("this was not called on behalf of anyone") from None
