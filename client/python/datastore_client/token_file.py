"""The token that identifies a client to servers: read from a file, and again when it changes."""

from __future__ import annotations

import re
from pathlib import Path

from datastore.model.errors import ConfigError
from datastore_client.channel import Target
from datastore_client.reloading import Reloading

__all__ = ["HEADER", "TokenFile", "check_encrypted"]

#: The metadata that carries a token, as `Bearer TOKEN`.
HEADER = "authorization"
#: What may be sent as a bearer token (RFC 6750).
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_LOOPBACK = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|\[::1\]", re.IGNORECASE)


class TokenFile:
    """The token in the file at `path`, read when this is created, and again when it changes.

    Raises ConfigError, which does not quote its contents, for a file that cannot be read or does not have exactly one
    token. Later, such a file is ignored.
    """

    def __init__(self, path: Path) -> None:
        self._metadata: Reloading[tuple[str, str]] = Reloading([path], lambda: (HEADER, f"Bearer {_read(path)}"))

    def metadata(self) -> tuple[str, str]:
        """The metadata of a call with the token. Looks at the file about once a second."""
        return self._metadata.current()


def check_encrypted(target: Target) -> None:
    """Raise ConfigError for a server on another machine without encryption: others could read the token."""
    if not target.is_secure and not _LOOPBACK.fullmatch(target.address.rpartition(":")[0]):
        raise ConfigError(
            f"the token would be sent to {target.address} without encryption: write grpcs://{target.address}, or say"
            " insecure (--insecure) if the network is safe"
        )


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigError(f"{path}: cannot read this file of a token: {error.strerror}") from error
    except UnicodeDecodeError:
        text = ""
    if not _TOKEN.fullmatch(text):
        raise ConfigError(f"{path}: this file should have one token, as `datastore token create` printed it")
    return text
