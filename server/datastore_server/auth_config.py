"""The table `[auth]` of a configuration file, and the options that override it.

Who may call a server, and with which token it calls its nodes.
Pure; the files are read by those who use them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from datastore_server.documents import valid

__all__ = ["AuthConfig"]


class AuthConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The files of a server: `tokens` for those who call it, `token_file` to call its nodes."""

    tokens: Annotated[str | None, valid("the file that names the callers of the server and their rights")] = None
    token_file: Annotated[str | None, valid("the file of the token with which nodes are called")] = None
    insecure: Annotated[bool, valid("true or false: whether that token may be sent without encryption")] = False

    def checked(self, base: Path) -> AuthConfig:
        """The same with absolute paths; relative ones are below `base`."""
        given = {name: getattr(self, name) for name in ("tokens", "token_file")}
        absolute = {name: str((base / path).absolute()) for name, path in given.items() if path is not None}
        return msgspec.structs.replace(self, **absolute)

    def listening(self) -> dict[str, str]:
        """The options of `datastore serve` that make it serve only the callers of this file."""
        return {} if self.tokens is None else {"--tokens": self.tokens}

    def completed(self, other: AuthConfig) -> AuthConfig:
        """A copy with the settings of `other` where this has none."""
        return AuthConfig(
            self.tokens or other.tokens, self.token_file or other.token_file, self.insecure or other.insecure
        )
