"""The table `[tls]` of a configuration file, and the options that override it: which files a server uses for TLS.

Pure, except that `files` and `credentials` read the files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from datastore.model.errors import ConfigError
from datastore_client.tls import Credentials, TlsFiles
from datastore_server.documents import valid

__all__ = ["TlsConfig"]


#: The command-line options that name the files.
_OPTIONS = {
    "cert": "--tls-cert",
    "key": "--tls-key",
    "client_ca": "--tls-client-ca",
    "client_cert": "--cert",
    "client_key": "--key",
}


class TlsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The files of a server, all in PEM: `cert`, `key` and `client_ca` to listen, the others to reach its nodes."""

    cert: Annotated[str | None, valid("the file of the server's certificate, followed by those of its authorities")] = (
        None
    )
    key: Annotated[str | None, valid("the file of the private key of `cert`")] = None
    client_ca: Annotated[str | None, valid("the file of the authorities that clients must have a certificate of")] = (
        None
    )
    ca: Annotated[str | None, valid("the file of the authorities that nodes must have a certificate of")] = None
    client_cert: Annotated[str | None, valid("the file of the certificate that nodes are shown")] = None
    client_key: Annotated[str | None, valid("the file of the private key of `client_cert`")] = None

    @classmethod
    def given(cls, **files: Path | None) -> TlsConfig:
        """These files, by absolute paths; those that are None are not given."""
        return cls(**{name: str(path.absolute()) for name, path in files.items() if path is not None})

    def checked(self, source: str | None, base: Path) -> TlsConfig:
        """The same with absolute paths, relative ones being below `base`. Raises ConfigError for a missing file.

        `source` is the file of the table; None if it completes options of the command line.
        """
        for one, other in (("cert", "key"), ("key", "cert"), ("client_ca", "cert"), ("client_cert", "client_key")):
            _require(self, one, other, source)
        _require(self, "client_key", "client_cert", source)
        return msgspec.structs.replace(self, **{name: str(base / path) for name, path in self._named().items()})

    def completed(self, other: TlsConfig) -> TlsConfig:
        """A copy with the files of `other` where this has none."""
        return msgspec.structs.replace(other, **self._named())

    def _named(self) -> dict[str, str]:
        return {name: path for name, path in msgspec.structs.asdict(self).items() if path is not None}

    def listening(self) -> dict[str, str]:
        """The options of `datastore serve` that make it listen with these files."""
        options = {"--tls-cert": self.cert, "--tls-key": self.key, "--tls-client-ca": self.client_ca}
        return {option: path for option, path in options.items() if path is not None}

    def files(self) -> TlsFiles | None:
        """What a server listens with; None without TLS. Raises ConfigError for files that are not valid."""
        return None if self.cert is None else TlsFiles(ca=self.client_ca, cert=self.cert, key=self.key)

    def credentials(self, *, token_file: str | None = None, insecure: bool = False) -> Credentials:
        """What nodes are reached with. Raises ConfigError for files that are not valid."""
        return Credentials(
            ca=self.ca, cert=self.client_cert, key=self.client_key, token_file=token_file, insecure=insecure
        )


def _require(config: TlsConfig, one: str, other: str, source: str | None) -> None:
    if getattr(config, one) is not None and getattr(config, other) is None:
        if source is None:
            raise ConfigError(f"{_OPTIONS[other]}: missing; {_OPTIONS[one]} needs it")
        raise ConfigError(f"{source}: tls.{other}: missing; tls.{one} needs it")
