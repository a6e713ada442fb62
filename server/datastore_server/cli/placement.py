"""`placement`: shows and changes which shard owns which slots."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from datastore.model.errors import ConfigError, DatastoreError
from datastore_server.auth_config import AuthConfig
from datastore_server.cli.output import ExitCode, Terminated, print_json, print_table, say
from datastore_server.cli.settings import Settings, all_options, json_option
from datastore_server.cli.transfer.interruption import run_terminable
from datastore_server.config import Config, load_config, parse_server_url
from datastore_server.coordination import moving
from datastore_server.coordination.checking import check
from datastore_server.coordination.comparison import Answer
from datastore_server.coordination.moving import Options, Plan
from datastore_server.coordination.survey import Node, surveyed
from datastore_server.counting import counted

__all__ = ["placement_command"]

_config_argument = click.argument("config_path", metavar="CONFIG.toml", type=click.Path(dir_okay=False, path_type=Path))


def _config(settings: Settings, path: Path) -> Config:
    """The configuration in a file; a token of the command line or the environment overrides that of the file."""
    config = load_config(path)
    token_file = None if settings.token_file is None else str(settings.token_file.absolute())
    given = AuthConfig(token_file=token_file, insecure=settings.insecure)
    return msgspec.structs.replace(config, auth=given.completed(config.auth))


def _pairs(what: str) -> Callable[[click.Context, click.Parameter, Sequence[str]], dict[str, str]]:
    """A callback that parses `A=B` values into a dict."""

    def parse(context: click.Context, option: click.Parameter, values: Sequence[str]) -> dict[str, str]:
        pairs = {}
        for value in values:
            left, equals, right = value.partition("=")
            if not (left and equals and right) or left in pairs:
                raise click.BadParameter(f"{value!r}: expected {what}, each name once", context, option)
            pairs[left] = right
        return pairs

    return parse


def _names(context: click.Context, option: click.Parameter, values: Sequence[str]) -> frozenset[str]:
    return frozenset(values)


def _addresses(context: click.Context, option: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    addresses = _pairs("NAME=grpc://HOST:PORT")(context, option, values)
    for url in addresses.values():
        parse_server_url(url)
    return addresses


#: The options that all changes have, as `Options` takes them.
_change_options = all_options(
    click.option(
        "--rename",
        "renames",
        metavar="OLD=NEW",
        multiple=True,
        callback=_pairs("OLD=NEW"),
        help="Rename the shard OLD to NEW, its name in CONFIG.toml. No entries move.",
    ),
    click.option(
        "--replace",
        "replaced",
        metavar="NAME",
        multiple=True,
        callback=_names,
        help="Accept that the entries of this shard are lost and its node is new and empty.",
    ),
    click.option(
        "--node",
        "addresses",
        metavar="NAME=URL",
        multiple=True,
        callback=_addresses,
        help="Address of the node of a shard that CONFIG.toml no longer has.  [default: the recorded one]",
    ),
)


@click.group("placement", short_help="Show and change which shard owns which keys.")
def placement_command() -> None:
    """Show and change which shard owns which keys.

    Each node of a cluster records which of the 16,384 slots it owns. CONFIG.toml lists the wanted shards; if the two
    differ, proxies refuse to serve. After editing the file, `plan` shows what would move, and `apply` moves it.

    \b
    Example, after adding a [[shards]] to cluster.toml and starting its node:
      datastore placement plan cluster.toml
      datastore placement apply cluster.toml --offline
    """


@placement_command.command("show", short_help="Show the placement of every node.")
@_config_argument
@json_option
@click.pass_obj
def show_command(settings: Settings, config_path: Path) -> int:
    """Show the placement that each node of the cluster reports."""
    config = _config(settings, config_path)
    rows = asyncio.run(_shown(config))
    if settings.json:
        print_json(rows)
    else:
        columns = ["shard", "address", "is", "cluster", "epoch", "slots", "state", "node"]
        print_table(columns, [[row[column] for column in columns] for row in rows])
        for row in rows:
            if "error" in row:
                say(f"{row['shard']}: {row['error']}")
    return ExitCode.OK if all(row["state"] != "unreachable" for row in rows) else ExitCode.UNAVAILABLE


async def _shown(config: Config) -> list[dict[str, Any]]:
    async with surveyed(config, {}) as survey:
        rows = [_row(node) for node in survey.nodes]
        rows += [
            {"shard": name, "address": survey.urls[name], "state": "unreachable", "error": str(error)}
            | dict.fromkeys(["is", "cluster", "epoch", "slots", "node"])
            for name, error in survey.missing.items()
        ]
    return rows


def _row(node: Node) -> dict[str, Any]:
    placement = node.answer.placement
    current = placement.current
    return {
        "shard": node.name or None,
        "address": node.url,
        "is": placement.shard or None,
        "cluster": current.cluster if current else None,
        "epoch": placement.epoch,
        "slots": node.answer.owned_slots,
        "state": _state(node.answer),
        "node": placement.node_id,
        "error": None,
    }


def _state(answer: Answer) -> str:
    placement = answer.placement
    if placement.pending is not None:
        return f"moving to epoch {placement.pending.epoch}"
    if placement.current is None:
        return "not placed, empty" if answer.is_empty else "not placed, holds entries"
    if answer.is_provisional:
        return "placed itself, empty"
    return "placed" if placement.shard else "removed"


@placement_command.command("check", short_help="Compare the configuration with the nodes.")
@_config_argument
@json_option
@click.pass_obj
def check_command(settings: Settings, config_path: Path) -> int:
    """Compare CONFIG.toml with its nodes, as a proxy does before it serves.

    Exit code 3 if they differ or a change is not finished, even if only copies of moved entries await deletion; each
    finding comes with the command that resolves it. Exit code 4 if a node does not answer.
    """
    config = _config(settings, config_path)
    found = asyncio.run(check(config, str(config_path)))
    if settings.json:
        print_json(
            {
                "differences": [one.as_dict() for one in found.all],
                "unreachable": {name: str(error) for name, error in found.missing.items()},
            }
        )
    else:
        for difference in found.all:
            click.echo(str(difference))
        for name, error in found.missing.items():
            say(f"shard {name} does not answer: {error}")
        if not found.all and not found.missing:
            click.echo(f"The nodes match {config_path}.")
    if found.all:
        return ExitCode.REFUSED
    return ExitCode.UNAVAILABLE if found.missing else ExitCode.OK


@placement_command.command("plan", short_help="Show what apply would move.")
@_config_argument
@_change_options
@json_option
@click.pass_obj
def plan_command(settings: Settings, /, config_path: Path, **change: Any) -> None:
    """Show what `apply` would move to make the cluster match CONFIG.toml. Changes nothing."""
    options = Options(**change)
    plan = asyncio.run(moving.plan(_config(settings, config_path), str(config_path), options))
    if settings.json:
        print_json(_plan_json(plan))
        return
    _print_plan(plan)
    if plan.target is not plan.current:
        words = ["datastore", "placement", "apply", str(config_path)]
        words += [f"--rename={old}={new}" for old, new in options.renames.items()]
        words += [f"--replace={name}" for name in sorted(options.replaced)]
        words += _node_words(options)
        words += ["--offline"] if plan.size.entries else []
        click.echo(f"To do it:\n  {shlex.join(words)}")


@placement_command.command("apply", short_help="Make the cluster match the configuration.")
@_config_argument
@click.option("--offline", is_flag=True, help="Move entries. The cluster refuses writes until that is done.")
@click.option("--adopt", is_flag=True, help="Place nodes that hold entries already, after checking each key.")
@click.option(
    "--lost",
    metavar="NAME",
    multiple=True,
    callback=_names,
    help="Finish an interrupted change without the node of this removed shard, which is lost with what was not copied.",
)
@_change_options
@json_option
@click.pass_obj
def apply_command(settings: Settings, /, config_path: Path, **change: Any) -> None:
    """Make the cluster match CONFIG.toml: add, remove or rename shards, or change shard_by.

    All nodes must be running, including those to be removed. Entries are copied to their new nodes, counts and
    checksums are compared, every node switches to the new epoch, and only then are the old copies deleted. If it is
    interrupted, at any point, run the same command again. Restart proxies with the new CONFIG.toml afterwards.
    """
    options = Options(**change)
    try:
        plan = run_terminable(moving.apply(_config(settings, config_path), str(config_path), options, say))
    except (KeyboardInterrupt, Terminated, DatastoreError) as error:
        if not isinstance(error, ConfigError):
            _say_how_to_continue(settings, config_path, options)
        raise
    if plan.target is not plan.current:
        say(f"Restart the proxies that were started before {config_path} was changed.")
    if settings.json:
        print_json(_plan_json(plan))
    else:
        click.echo(f"{plan.target.cluster} is at epoch {plan.target.epoch}: {', '.join(plan.target.shards)}")


def _say_how_to_continue(settings: Settings, config_path: Path, options: Options) -> None:
    """Say what an interrupted command left of a change, and how to continue."""
    cancel = f"To cancel it:\n  {_abort_line(config_path, options)}"
    again = "To finish it, run the same command again."
    try:
        left = asyncio.run(moving.unfinished(_config(settings, config_path), options))
    except (DatastoreError, KeyboardInterrupt):
        say(f"If the change was begun, writes are refused until it is finished. {again} {cancel}")
        return
    if left is None:
        return
    if not left.refuses_writes:
        say(f"The cluster is at epoch {left.epoch}. Copies of entries that moved away are not deleted yet. {again}")
        return
    text = f"The change to epoch {left.epoch} is not finished, and writes are refused until it is. {again}"
    say(f"{text} {cancel}" if left.may_be_cancelled else text)


def _abort_line(config_path: Path, options: Options) -> str:
    return shlex.join(["datastore", "placement", "abort", str(config_path), *_node_words(options)])


def _node_words(options: Options) -> list[str]:
    return [f"--node={name}={url}" for name, url in options.addresses.items()]


@placement_command.command("abort", short_help="Cancel an unfinished change.")
@_config_argument
@_change_options
@click.pass_obj
def abort_command(settings: Settings, /, config_path: Path, **change: Any) -> None:
    """Cancel a change that `apply` did not finish, and allow writes again. Nothing has been deleted by it."""
    try:
        run_terminable(moving.abort(_config(settings, config_path), str(config_path), Options(**change), say))
    except (KeyboardInterrupt, Terminated):
        say("Run the same command again: until the change is cancelled on every node, writes may be refused.")
        raise


def _plan_json(plan: Plan) -> dict[str, Any]:
    return {
        "cluster": plan.current.cluster,
        "epoch": plan.current.epoch,
        "next_epoch": plan.target.epoch,
        "shards": list(plan.target.shards),
        "moves": [
            {
                "from": move.source,
                "to": move.target,
                "slots": len(move.slots),
                "entries": move.size.entries,
                "bytes": move.size.bytes,
            }
            for move in plan.moves
        ],
    }


def _print_plan(plan: Plan) -> None:
    if plan.target is plan.current:
        click.echo(f"{plan.current.cluster} is at epoch {plan.current.epoch}, as configured: nothing would move.")
        return
    click.echo(f"{plan.current.cluster} goes from epoch {plan.current.epoch} to {plan.target.epoch}:")
    print_table(
        ["from", "to", "slots", "entries", "bytes"],
        [
            [move.source, move.target, f"{len(move.slots):,}", f"{move.size.entries:,}", f"{move.size.bytes:,}"]
            for move in plan.moves
        ],
    )
    click.echo(f"To move: {counted(plan.size.entries, 'entries')}, {counted(plan.size.bytes, 'bytes')}.")
