"""The options that commands share, and the syntax of keys. Knows click, but not the network."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import click
from click.core import ParameterSource

from datastore.model.deadline import check_timeout
from datastore.model.errors import ConfigError, InvalidError
from datastore.model.key import Key
from datastore_client.channel import parse_target
from datastore_client.tls import Credentials, check_use
from datastore_server.config import DEFAULT_LISTEN, parse_server_url

__all__ = [
    "CALL_TIMEOUT_S",
    "KEY",
    "Settings",
    "all_options",
    "certificate_options",
    "credential_options",
    "json_option",
    "server_argument",
    "server_options",
]

#: The default timeout of a call in seconds: long enough for a busy server.
CALL_TIMEOUT_S = 30.0

_Function = TypeVar("_Function", bound=Callable[..., Any])
#: What makes the callback of an option that is stored in a field of the Settings.
_StoreOf: TypeAlias = Callable[[str], Callable[[click.Context, click.Parameter, Any], None]]


@dataclass(frozen=True)
class Settings:
    """The server, the timeout, and whether to print machine-readable output."""

    server: str = f"grpc://{DEFAULT_LISTEN}"
    #: Files for a server with TLS.
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    #: Which of these are on the command line; those of the environment may be for other servers.
    given: frozenset[str] = frozenset()
    #: The token that identifies the caller, and whether to send it without encryption.
    token_file: Path | None = None
    insecure: bool = False
    #: None for the defaults: CALL_TIMEOUT_S for a call, and an hour for a query.
    timeout_s: float | None = None
    json: bool = False

    def credentials(self) -> Credentials:
        """What servers are reached with. Raises ConfigError for files that are not valid, or would be ignored."""
        check_use(self.server, **{name: getattr(self, name) for name in sorted(self.given)})
        return Credentials(ca=self.ca, cert=self.cert, key=self.key, token_file=self.token_file, insecure=self.insecure)

    def credentials_at(self, name: str) -> Credentials | None:
        """The same for the server at a URL that a command was given; None for the name of anything else."""
        return replace(self, server=name).credentials() if name.startswith(("grpc:", "grpcs:")) else None


class _TimeoutType(click.ParamType[float]):
    """A timeout in seconds, with the range of the client's."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number in this text; a usage error, with what is valid, for anything else."""
        try:
            number = float(value)
        except ValueError:
            number = value
        try:
            return check_timeout(number, "it")
        except InvalidError as error:
            self.fail(str(error), param, ctx)


def _store(field: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """A callback that stores an option's value in the context's Settings."""

    def keep(context: click.Context, _option: click.Parameter, value: Any) -> None:
        settings = context.obj or Settings()
        context.obj = settings if value is None else replace(settings, **{field: value})

    return keep


def _store_certificate(field: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """The same for a file that only TLS uses; `Settings.given` notes whether it is on the command line."""

    def keep(context: click.Context, option: click.Parameter, value: Any) -> None:
        _store(field)(context, option, value)
        if context.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE:
            context.obj = replace(context.obj, given=context.obj.given | {field})

    return keep


def _checked_server(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if value is not None:
        try:
            value = parse_server_url(value).url
            # `connect` would refuse it too, e.g. port 0, but not as a usage error.
            parse_target(value)
        except ConfigError as error:
            raise click.BadParameter(str(error), context, option) from error
    _store("server")(context, option, value)


def all_options(*options: Callable[[Any], Any]) -> Callable[[_Function], _Function]:
    """Several decorators as one, in the order in which `--help` lists the options."""

    def add(function: _Function) -> _Function:
        """Add these options to a command."""
        for option in reversed(options):
            function = option(function)
        return function

    return add


def json_option(function: _Function) -> _Function:
    """Add `--json`. An option after the command's name overrides one before it."""
    return click.option(
        "--json",
        is_flag=True,
        default=None,
        expose_value=False,
        callback=_store("json"),
        help="Print machine-readable JSON.",
    )(function)


def _file_option(name: str, text: str, outermost: bool, store: _StoreOf = _store) -> Callable[[Any], Any]:
    """The option for one of the files with which servers are reached; `store` makes its callback."""
    return click.option(
        f"--{name.replace('_', '-')}",
        # Not `name`: a command may have an argument KEY.
        f"server_{name}",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        envvar=f"DATASTORE_{name.upper()}" if outermost else None,
        show_envvar=outermost,
        expose_value=False,
        callback=store(name),
        help=text,
    )


def certificate_options(*, outermost: bool = False) -> list[Callable[[Any], Any]]:
    """`--ca`, `--cert` and `--key`: how servers with TLS are reached."""
    texts = {
        "ca": "Authorities to trust in servers with TLS.  [default: the system's]",
        "cert": "Certificate for servers that demand one.",
        "key": "Private key of --cert.",
    }
    return [_file_option(name, text, outermost, _store_certificate) for name, text in texts.items()]


def credential_options(*, outermost: bool = False, has_own_key: bool = False) -> Callable[[_Function], _Function]:
    """Add the files that a server is reached with, like `server_options`."""
    return all_options(
        *certificate_options(outermost=outermost)[: 2 if has_own_key else 3],
        _file_option("token_file", "Token for servers that want one, by `datastore token create`.", outermost),
        click.option(
            "--insecure",
            is_flag=True,
            default=None,
            envvar="DATASTORE_INSECURE" if outermost else None,
            show_envvar=outermost,
            expose_value=False,
            callback=_store("insecure"),
            help="Send the token to other machines without encryption, too.",
        ),
    )


def server_options(*, outermost: bool = False, has_own_key: bool = False) -> Callable[[_Function], _Function]:
    """Add `--server`, its files, `--timeout` and `--json`, before or after the command's name; the last counts.

    The environment variables belong to the outermost command only, or they would override an option there. A command
    whose `--key` is another option gets that of the server before its name.
    """
    return all_options(
        click.option(
            "--server",
            metavar="URL",
            envvar="DATASTORE_SERVER" if outermost else None,
            show_envvar=outermost,
            expose_value=False,
            callback=_checked_server,
            help=f"Server to talk to; grpcs: for TLS.  [default: grpc://{DEFAULT_LISTEN}]",
        ),
        credential_options(outermost=outermost, has_own_key=has_own_key),
        click.option(
            "--timeout",
            type=_TimeoutType(),
            metavar="SECONDS",
            expose_value=False,
            callback=_store("timeout_s"),
            help=f"Timeout of a call or query; inf for no limit.  [default: {CALL_TIMEOUT_S:.0f}; a query: an hour]",
        ),
        json_option,
    )


def server_argument(function: _Function) -> _Function:
    """Add the argument URL, another way to write `--server`."""
    url = click.argument("url", required=False, metavar="[URL]", expose_value=False, callback=_checked_server)
    return url(function)


class _KeyType(click.ParamType[Key]):
    """A key on the command line. A URL in its place is a likely mistake, and the error says what to do."""

    name = "key"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Key:
        """The key in this text; a usage error for a URL, and the library's error for an invalid key."""
        if isinstance(value, Key):
            return value
        if re.match(r"memory:$|[a-z][a-z0-9+.-]*:/", value):
            self.fail(_url_for_key(value), param, ctx)
        return Key(value)


def _url_for_key(text: str) -> str:
    if text.startswith(("grpc:", "grpcs:")):
        return f"{text} is a server, not a key. Name it with --server {text} and give a key, e.g. /Person:ada."
    return (
        f"{text} names a store, not a key (keys begin with a slash, e.g. /Person:ada). Commands ask a server; "
        f"start one for this store with\n  datastore serve {text}\nand then give the key alone."
    )


KEY = _KeyType()
