"""The options with which servers listen over TLS."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from datastore_server.cli.settings import all_options
from datastore_server.tls_config import TlsConfig

__all__ = ["insecure_option", "tls_options"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_FILE = click.Path(dir_okay=False, path_type=Path)


def tls_options(function: _Function) -> _Function:
    """Add `--tls-cert`, `--tls-key` and `--tls-client-ca`, given to the command as one TlsConfig, `tls`."""

    @wraps(function)
    def command(
        *arguments: Any, tls_cert: Path | None, tls_key: Path | None, tls_client_ca: Path | None, **rest: Any
    ) -> Any:
        tls = TlsConfig.given(cert=tls_cert, key=tls_key, client_ca=tls_client_ca)
        return function(*arguments, tls=tls, **rest)

    add = all_options(
        click.option("--tls-cert", type=_FILE, metavar="FILE", help="Certificate of the server, in PEM; turns on TLS."),
        click.option("--tls-key", type=_FILE, metavar="FILE", help="Private key of --tls-cert, in PEM."),
        click.option(
            "--tls-client-ca",
            type=_FILE,
            metavar="FILE",
            help="Demand a certificate of clients, signed by an authority in this file.",
        ),
    )
    return add(command)  # type: ignore[return-value]


def insecure_option(function: _Function) -> _Function:
    """Add `--insecure`."""
    return click.option(
        "--insecure",
        is_flag=True,
        help="Allow connections from other machines without TLS: anyone on the network can read and change everything.",
    )(function)
