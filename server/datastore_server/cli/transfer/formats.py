"""Which format and compression a file has, by its name."""

from __future__ import annotations

from pathlib import PurePath

import click

__all__ = ["COMPRESSIONS", "DELIMITERS", "FORMATS", "compression_of", "format_of"]

#: The formats, each with the endings of names that mean it.
_ENDINGS = {
    "jsonl": (".jsonl", ".ndjson"),
    "json": (".json",),
    "csv": (".csv",),
    "tsv": (".tsv",),
}
FORMATS = tuple(_ENDINGS)
#: The endings of compressed files, after that of the format.
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
#: What separates the cells of a record where `--delimiter` does not say.
DELIMITERS = {"csv": ",", "tsv": "\t"}


def compression_of(file: str) -> str | None:
    """The compression that a name asks for; None for none."""
    return COMPRESSIONS.get(PurePath(file).suffix.lower())


def format_of(file: str) -> str:
    """The format that a name means; `-` is JSON Lines. UsageError for other names."""
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
