"""Certificates for tests: authorities, and files of theirs."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from datastore_client.tls import TlsFiles
from datastore_server.certificates.authority import Authority, Pair, new_authority

HOSTS = ("localhost", "127.0.0.1", "::1")


class Files(NamedTuple):
    """The paths of the files of a server and a client."""

    ca: Path
    cert: Path
    key: Path
    client_cert: Path
    client_key: Path

    def server(self, *, mutual: bool = False) -> TlsFiles:
        """What a server listens with."""
        return TlsFiles(cert=self.cert, key=self.key, ca=self.ca if mutual else None)

    def client(self, *, mutual: bool = False) -> dict[str, Path]:
        """What a client connects with."""
        return {"ca": self.ca} | ({"cert": self.client_cert, "key": self.client_key} if mutual else {})


def write_pair(pair: Pair, cert: Path, key: Path) -> None:
    """Replace a certificate and its key, the key first."""
    for path, content in ((key, pair.key), (cert, pair.cert)):
        temporary = path.with_suffix(".new")
        temporary.write_bytes(content)
        temporary.chmod(0o600)
        temporary.replace(path)


def write_files(directory: Path, authority: Authority | None = None, client: str = "ada") -> Files:
    """Files of a server on this machine, and of a client with this name; of a new authority by default."""
    authority = authority or new_authority("test")
    directory.mkdir(exist_ok=True)
    files = Files(*(directory / name for name in ("ca.pem", "s.pem", "s-key.pem", "c.pem", "c-key.pem")))
    files.ca.write_bytes(authority.pair.cert)
    write_pair(authority.server("server", HOSTS), files.cert, files.key)
    write_pair(authority.client(client), files.client_cert, files.client_key)
    return files
