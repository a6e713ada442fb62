"""The format and compression of a file, by its name."""

from __future__ import annotations

from pathlib import PurePath

import click

__all__ = ["COMPRESSIONS", "DELIMITERS", "FORMATS", "compression_of", "format_of"]

#: The formats, each with its file name endings.
_ENDINGS = {"jsonl": (".jsonl", ".ndjson"), "json": (".json",), "csv": (".csv",), "tsv": (".tsv",)}
FORMATS = tuple(_ENDINGS)
#: The endings of compressed files, which follow that of the format.
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
#: The default of `--delimiter`, by format.
DELIMITERS = {"csv": ",", "tsv": "\t"}


def compression_of(file: str) -> str | None:
    """The compression for a file name; None for none."""
    return COMPRESSIONS.get(PurePath(file).suffix.lower())


def format_of(file: str) -> str:
    """The format for a file name; `-` is JSON Lines. UsageError for other names."""
    if file == "-":
        return "jsonl"
    path = PurePath(file)
    ending = (PurePath(path.stem) if compression_of(file) else path).suffix.lower()
    for name, endings in _ENDINGS.items():
        if ending in endings:
            return name
    known = ", ".join(ending for endings in _ENDINGS.values() for ending in endings)
    raise click.UsageError(
        f"{file}: the name ends in none of {known}, each with or without {' or '.join(COMPRESSIONS)}; "
        f"say --format {'|'.join(FORMATS)}"
    )
