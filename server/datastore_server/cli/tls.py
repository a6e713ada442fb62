"""`tls`: makes certificates to start with, and explains what is wrong with others."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from datastore.model.errors import ConfigError
from datastore_client.tls import TlsFiles
from datastore_server.cli.output import ExitCode, print_json
from datastore_server.cli.settings import CALL_TIMEOUT_S, Settings, json_option, server_options
from datastore_server.config import Address, parse_server_url

if TYPE_CHECKING:
    from datastore_server.certificates.inspection import Report

__all__ = ["tls_command"]

#: The hosts that every certificate of a server is for, besides others.
_LOCAL = ("localhost", "127.0.0.1", "::1")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_DNS_NAME = re.compile(r"(\*\.)?[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")

_DIRECTORY = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


def _hosts(context: click.Context, option: click.Parameter, given: Sequence[str]) -> tuple[str, ...]:
    for host in given:
        if not _DNS_NAME.fullmatch(host) and not Address(host, 0).is_number:
            raise click.BadParameter(f"{host!r} is not a host: expected a name or an IP address, e.g. db1.example.org")
        # gRPC accepts no others.
        if host.startswith("*.") and host.count(".") == 1:
            raise click.BadParameter(
                f"{host!r} matches no host: a wildcard needs a domain of two names after it, e.g. *.nodes.example"
            )
    return tuple(given)


def _named(context: click.Context, option: click.Parameter, given: str) -> str:
    if not _NAME.fullmatch(given):
        raise click.BadParameter(f"{given!r} is not a name: expected letters, digits, and . _ - between them")
    return given


_hosts_option = click.option(
    "--host",
    "hosts",
    metavar="HOST",
    multiple=True,
    callback=_hosts,
    help="A name or IP address at which clients reach the server; repeatable.",
)


@click.group("tls", short_help="Make and check certificates.")
def tls_command() -> None:
    """Make certificates to start with, and find out what is wrong with others."""


@tls_command.command("init", short_help="Make an authority, and certificates for a server and a client.")
@click.argument("directory", metavar="DIR", type=_DIRECTORY)
@_hosts_option
@click.option(
    "--client",
    default="client",
    show_default=True,
    metavar="NAME",
    callback=_named,
    help="What servers call the client.",
)
@json_option
@click.pass_obj
def init_command(settings: Settings, directory: Path, hosts: tuple[str, ...], client: str) -> None:
    """Make, in DIR, a certificate authority, and certificates for a server and a client that it signs.

    The server's is for localhost, 127.0.0.1 and ::1, and for each --host, by default the name of this machine. The
    authority is valid for ten years, the others for 398 days. No file is overwritten. Keep ca-key.pem away
    from the servers: with it anyone can make certificates.

    \b
    Example:
      datastore tls init tls --host db1.example.org --host 10.0.0.1
    """
    from datastore_server.certificates.authority import new_authority

    authority = new_authority(f"datastore CA of {socket.gethostname()}"[:64])
    server = authority.server("server", _with_local(hosts or (socket.gethostname(),)))
    pairs = {"ca": authority.pair, "server": server, client: authority.client(client)}
    if len(pairs) < 3:
        raise click.UsageError(f"--client cannot be {client}: another file has that name")
    files = {name: content for stem, pair in pairs.items() for name, content in _files(stem, pair)}
    paths = _write(directory, files)
    if settings.json:
        print_json({"files": list(map(str, paths))})
        return
    click.echo(f"Made {', '.join(map(str, paths))}.")
    click.echo(
        f"\nA server, and a client:\n"
        f"  datastore serve memory: --tls-cert {directory}/server.pem --tls-key {directory}/server-key.pem\n"
        f"  datastore status --server grpcs://localhost --ca {directory}/ca.pem\n"
        f"\nA server that demands certificates of its clients, and a client:\n"
        f"  datastore serve memory: --tls-cert {directory}/server.pem --tls-key {directory}/server-key.pem"
        f" --tls-client-ca {directory}/ca.pem\n"
        f"  datastore status --server grpcs://localhost --ca {directory}/ca.pem"
        f" --cert {directory}/{client}.pem --key {directory}/{client}-key.pem"
    )


@tls_command.command("issue", short_help="Make one more certificate.")
@click.argument("directory", metavar="DIR", type=_DIRECTORY)
@click.argument("name", callback=_named)
@_hosts_option
@json_option
@click.pass_obj
def issue_command(settings: Settings, directory: Path, name: str, hosts: tuple[str, ...]) -> None:
    """Make NAME.pem and NAME-key.pem in DIR, signed by the authority that `datastore tls init` made there.

    With --host it is for a server at these hosts, without for a client that servers call NAME. To replace a
    certificate, make one with another name, and move its two files over those in use, which are read again.

    \b
    Examples:
      datastore tls issue tls db2 --host db2.example.org
      datastore tls issue tls billing
    """
    from datastore_server.certificates.authority import Authority, Pair

    # Read like those of a server, because the errors are the same.
    pem = TlsFiles(cert=directory / "ca.pem", key=directory / "ca-key.pem").current()
    authority = Authority(Pair(pem.cert or b"", pem.key or b""))
    pair = authority.server(name, _with_local(hosts)) if hosts else authority.client(name)
    paths = _write(directory, dict(_files(name, pair)))
    if settings.json:
        print_json({"files": list(map(str, paths))})
    else:
        click.echo(f"Made {' and '.join(map(str, paths))}.")


def _with_local(hosts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys((*_LOCAL, *hosts)))


def _files(stem: str, pair: Any) -> list[tuple[str, bytes]]:
    return [(f"{stem}.pem", pair.cert), (f"{stem}-key.pem", pair.key)]


def _write(directory: Path, files: dict[str, bytes]) -> list[Path]:
    """Write new files, those of keys readable by their user only. Raises ConfigError if one of them exists."""
    paths = [directory / name for name in files]
    for path in paths:
        if path.exists():
            raise ConfigError(f"{path} already exists and is not overwritten; nothing was written")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path, content in zip(paths, files.values(), strict=True):
        mode = 0o600 if path.name.endswith("-key.pem") else 0o644
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
    return paths


@tls_command.command("check", short_help="Explain what is wrong with a certificate or a server.")
@click.argument("checked", metavar="CERT|URL")
@click.argument("private_key", metavar="[KEY]", required=False, type=_FILE)
@click.option("--host", metavar="HOST", help="Check that the certificate is for this host.")
@click.option("--client", "is_client", is_flag=True, help="Check that the certificate is for a client.")
@server_options()
@click.pass_obj
def check_command(settings: Settings, checked: str, private_key: Path | None, host: str | None, is_client: bool) -> int:
    """Explain what is wrong with the files of a certificate and its private KEY, or with the server at a URL.

    Checked are the dates, the use, the host, the key, and with --ca that an authority there has signed it. A server is
    connected to as other commands do, with --ca, --cert and --key. Exit code 3 if anything is wrong.

    \b
    Examples:
      datastore tls check tls/server.pem tls/server-key.pem --ca tls/ca.pem --host db1.example.org
      datastore tls check grpcs://db1.example.org --ca tls/ca.pem
    """
    if "://" in checked:
        if private_key or host or is_client:
            raise click.UsageError("a server is checked by its URL alone: leave out KEY, --host and --client")
        address = parse_server_url(checked)
        report = _seen(replace(settings, server=address.url), address)
    else:
        from datastore_server.certificates.files import look_at_files

        report = look_at_files(Path(checked), private_key, ca=settings.ca, host=host, is_client=is_client)
    if settings.json:
        print_json(report._asdict())
    else:
        _print_report(report)
    return ExitCode.REFUSED if report.problems else ExitCode.OK


def _seen(settings: Settings, address: Address) -> Report:
    """What a client with these settings sees of a server."""
    from datastore_server.certificates.handshake import look_at_server

    # Its errors are better than those of a handshake.
    settings.credentials()
    pair = None if settings.cert is None or settings.key is None else (settings.cert, settings.key)
    timeout_s = min(settings.timeout_s or CALL_TIMEOUT_S, CALL_TIMEOUT_S)
    return look_at_server(address.host, address.port, ca=settings.ca, pair=pair, timeout_s=timeout_s)


def _print_report(report: Report) -> None:
    if report.certificate is not None:
        click.echo(report.certificate)
    for problem in report.problems:
        click.echo(f"Wrong: {problem}")
    for text in report.expiring:
        click.echo(f"Soon: {text}")
    if not report.problems:
        click.echo("Nothing is wrong.")
