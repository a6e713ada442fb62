"""`token`: creates, lists and revokes the tokens of a server, in the file that names its callers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from datastore.engine.placement import NAME, NAME_FORM
from datastore.model.errors import ConfigError
from datastore_server.auth.access import Access, Grant, Quota, check_prefix, load_access
from datastore_server.auth.editing import added, edit, removed
from datastore_server.auth.rights import Right, Rights
from datastore_server.auth.secrets import hash_of, new_token
from datastore_server.cli.expiring import expires_in_option
from datastore_server.cli.output import print_json, print_table, say
from datastore_server.cli.settings import Settings, json_option
from datastore_server.cli.transfer.throttle import BYTES_PER_S

__all__ = ["token_command"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_RIGHTS = tuple(map(str, Right))


@click.group("token", short_help="Create, list and revoke the tokens of a server.")
def token_command() -> None:
    """Create, list and revoke the tokens that identify the callers of a server with --tokens FILE.

    The file has a salted hash of each token, and its rights. Servers read it again when it changes, without a restart.
    """


def _tokens_option(function: _Function) -> _Function:
    return click.option(
        "--tokens",
        "path",
        type=click.Path(dir_okay=False, path_type=Path),
        default=Path("tokens.toml"),
        show_default=True,
        envvar="DATASTORE_TOKENS",
        show_envvar=True,
        help="File that names the callers of a server.",
    )(function)


class _RightsType(click.ParamType[tuple[str, ...]]):
    """Rights, separated by commas."""

    name = "rights"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The rights; a usage error, which lists them, for anything else."""
        names = tuple(part.strip() for part in value.split(","))
        for name in names:
            if name not in _RIGHTS:
                self.fail(f"{name!r} is not a right; they are {', '.join(_RIGHTS)}", param, ctx)
        return names


@token_command.command("create", short_help="Add a token, and print it once.")
@click.argument("name")
@click.option(
    "--rights",
    "rights",
    metavar="RIGHT,...",
    type=_RightsType(),
    multiple=True,
    required=True,
    help=f"What it may do below the --prefix that follows: {', '.join(_RIGHTS)}. May be repeated, with its --prefix.",
)
@click.option("--prefix", "prefixes", metavar="KEY", multiple=True, required=True, help="Where: / is everywhere.")
@expires_in_option("It expires so long after now, e.g. 12h, 90d.  [default: never]")
@click.option(
    "--calls-in-hand", type=click.IntRange(min=1), metavar="N", help="How many calls it may have in progress."
)
@click.option("--bytes-per-s", metavar="SIZE", type=BYTES_PER_S, help="How much it may transfer, e.g. 10MiB.")
@_tokens_option
@json_option
@click.pass_obj
def create_command(
    settings: Settings,
    *,
    name: str,
    rights: tuple[tuple[str, ...], ...],
    prefixes: tuple[str, ...],
    expires_in: float | None,
    calls_in_hand: int | None,
    bytes_per_s: int | None,
    path: Path,
) -> None:
    """Add the token NAME to the file, and print it. It cannot be shown again: the file only has its hash.

    \b
    Examples:
      datastore token create shop --rights read,write --prefix /shop > shop.token
      datastore token create proxy --rights admin --prefix /
      datastore token create report --rights read --prefix /shop --rights write --prefix /report --expires-in 90d

    A client reads it from a file: --token-file, DATASTORE_TOKEN_FILE, or token_file in connect().
    """
    if not NAME.fullmatch(name):
        raise click.UsageError(f"{name!r} is not a valid name: expected {NAME_FORM}")
    now = datetime.now(UTC).replace(microsecond=0)
    token = new_token(name)
    grant = Grant(
        name,
        _rights_of(rights, prefixes),
        Quota(calls_in_hand, bytes_per_s),
        hash_of(token),
        None if expires_in is None else now + timedelta(seconds=round(expires_in)),
        now,
    )
    edit(path, lambda text: added(text, grant, str(path)))
    if settings.json:
        print_json({"name": name, "token": token, "tokens": str(path)})
        return
    click.echo(token)
    say(f"This is the only time that the token is shown; {path} has its hash.")


def _rights_of(rights: tuple[tuple[str, ...], ...], prefixes: tuple[str, ...]) -> Rights:
    """Each of several --rights, below the --prefix that follows it."""
    if len(rights) != len(prefixes):
        raise click.UsageError(
            "give as many --prefix as --rights: --rights read --prefix /a --rights write --prefix /b"
        )
    below: dict[str, list[str]] = {}
    for names, prefix in zip(rights, prefixes, strict=True):
        try:
            check_prefix(prefix)
        except ConfigError as error:
            raise click.UsageError(f"--prefix: {error}") from error
        for name in names:
            below.setdefault(name, []).append(prefix)
    return Rights(**{name: tuple(dict.fromkeys(found)) for name, found in below.items()})


@token_command.command("list", short_help="List the tokens and identities, without secrets.")
@_tokens_option
@json_option
@click.pass_obj
def list_command(settings: Settings, *, path: Path) -> None:
    """List the tokens, and the identities of certificates, with their rights."""
    rows = _rows(load_access(path))
    if settings.json:
        print_json(rows)
        return
    print_table(
        ["kind", "name", "rights", "expires", "quota"],
        [[row["kind"], row["name"], _rights_text(row), row["expires"] or "", _quota_text(row)] for row in rows],
    )


def _rows(access: Access) -> list[dict[str, Any]]:
    kinds = [("token", access.tokens), ("identity", access.identities)]
    return [
        {
            "kind": kind,
            "name": grant.name,
            **{right: list(getattr(grant.rights, right)) for right in _RIGHTS},
            "created": None if grant.created is None else grant.created.isoformat(),
            "expires": None if grant.expires is None else grant.expires.isoformat(),
            "calls_in_hand": grant.quota.calls_in_hand,
            "bytes_per_s": grant.quota.bytes_per_s,
        }
        for kind, grants in kinds
        for grant in grants.values()
    ]


def _rights_text(row: dict[str, Any]) -> str:
    return "; ".join(f"{right} {' '.join(row[right])}" for right in _RIGHTS if row[right])


def _quota_text(row: dict[str, Any]) -> str:
    quotas = ("calls_in_hand", "bytes_per_s")
    return ", ".join(f"{name} {row[name]:,}" for name in quotas if row[name] is not None)


@token_command.command("revoke", short_help="Remove a token.")
@click.argument("name")
@_tokens_option
@json_option
@click.pass_obj
def revoke_command(settings: Settings, *, name: str, path: Path) -> None:
    """Remove the token NAME from the file. Servers refuse it within about a second, and end its streams."""
    edit(path, lambda text: removed(text, name, str(path)))
    if settings.json:
        print_json({"revoked": name})
    else:
        say(f"Revoked the token {name}.")
