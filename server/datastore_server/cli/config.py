"""`config`: shows configuration files. Opens no store and contacts no server."""

from __future__ import annotations

import tomllib
from pathlib import Path

import click

from datastore_server.cli.output import print_json
from datastore_server.cli.settings import Settings, json_option
from datastore_server.config import parse_config, show_config
from datastore_server.documents import parse_toml, read_text
from datastore_server.server_config import parse_server, show_server

__all__ = ["config_command"]


@click.group("config", short_help="Show effective configurations.")
def config_command() -> None:
    """Show the effective configuration of a file."""


@config_command.command("show", short_help="Print the effective configuration.")
@click.argument("path", metavar="FILE.toml", type=click.Path(dir_okay=False, path_type=Path))
@json_option
@click.pass_obj
def show_command(settings: Settings, path: Path) -> None:
    """Print the effective configuration of FILE.toml: with all defaults, absolute directories and hidden secrets.

    FILE.toml describes a cluster, or a server with its stores. It is checked like with `serve --check-config`.

    \b
    Example:
      datastore config show cluster.toml
    """
    text, base = read_text(path), path.absolute().parent
    if "server" in parse_toml(text, str(path)):
        shown = show_server(parse_server(text, source=str(path), base=base))
    else:
        shown = show_config(parse_config(text, source=str(path), base=base))
    if settings.json:
        print_json(tomllib.loads(shown))
    else:
        click.echo(shown, nl=False)
