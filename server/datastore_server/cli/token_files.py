"""Files that say where an interrupted command continues: `--resume FILE`."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

import click

from datastore.model.errors import InvalidTokenError

__all__ = ["TOKEN_FILE", "token_in", "write_token"]

#: The type of the option.
TOKEN_FILE: click.Path = click.Path(dir_okay=False, path_type=Path)


def token_in(file: Path | None, command: str) -> bytes | None:
    """The token in a file of `command`; None without a file. Raises InvalidTokenError if it contains something else."""
    if file is None:
        return None
    try:
        return base64.b64decode(file.read_bytes().strip(), validate=True)
    except FileNotFoundError:
        return None
    except binascii.Error:
        raise InvalidTokenError(f"{file} does not contain a token of `datastore {command} --resume`") from None


def write_token(file: Path, token: bytes) -> None:
    """Replace the file at once, so that it always has a whole token."""
    beside = file.with_name(f"{file.name}.new")
    beside.write_bytes(base64.b64encode(token) + b"\n")
    beside.replace(file)
