"""`verify`: whether a store or a backup is sound."""

from __future__ import annotations

import click

from datastore_server.backups.checking import Verdict, verify
from datastore_server.cli.output import ExitCode, print_json, say
from datastore_server.cli.progress import progress
from datastore_server.cli.settings import Settings, credential_options, json_option
from datastore_server.cli.transfer.interruption import run_terminable
from datastore_server.counting import counted

__all__ = ["verify_command"]


@click.command("verify", short_help="Check whether a store or a backup is sound.")
@click.argument("target", metavar="TARGET")
@credential_options()
@json_option
@click.pass_obj
def verify_command(settings: Settings, target: str) -> int:
    """Read all of TARGET, change nothing, and report what is wrong. Exit code 5 if anything is.

    \b
    TARGET is one of
      grpc://HOST:PORT    a node on LMDB, while it serves
      CONFIG.toml         all nodes of the cluster
      lmdb:///DIRECTORY   the directory of a node on this machine, running or not
      DIRECTORY           backups: each file, and that each backup has all entries that the nodes had

    Of a store it checks each record's checksum and key, that the node owns it, that the index has every entry that
    expires, and that the log of changes agrees with the entries.

    \b
    Examples:
      datastore verify grpc://10.0.0.1:7420
      datastore verify /backups/cluster
    """
    with progress(target, unit="entries") as reported:
        verdict = run_terminable(verify(target, reported.advance, settings.credentials_at(target)))
    _report(settings, target, verdict)
    return ExitCode.FAILED if verdict.found else ExitCode.OK


def _report(settings: Settings, target: str, verdict: Verdict) -> None:
    if settings.json:
        print_json({"entries": verdict.entries, "found": verdict.found, "findings": verdict.findings})
        return
    for finding in verdict.findings:
        click.echo(finding)
    if verdict.found > len(verdict.findings):
        click.echo(f"and {verdict.found - len(verdict.findings):,} more")
    checked = f"{counted(verdict.entries, 'entries')} of {target} checked"
    say(f"{checked}: {counted(verdict.found, 'faults')} found." if verdict.found else f"{checked}: sound.")
