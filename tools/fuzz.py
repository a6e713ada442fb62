"""Looks for bytes that make a parser fail in another way than it says, guided by coverage (atheris).

    python tools/fuzz.py                       every target, for a minute each
    python tools/fuzz.py --target tokens       one target
    python tools/fuzz.py --seconds 3600        for longer

The targets are the parsers that read what strangers send or write: values and queries of the protocol, keys, resume
and page tokens, TOML files. What makes one fail is printed and left in build/fuzz. Needs `pip install '.[fuzz]'`.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["datastore", "datastore_server"]):
    from datastore import wire
    from datastore.model.errors import DatastoreError
    from datastore.model.key import Key
    from datastore.model.query import Query
    from datastore_server.config import parse_config
    from datastore_server.limits import Limits
    from datastore_server.requests import Requests
    from datastore_server.server_config import parse_server
    from datastore_server.tokens import Token, decode_page_token, decode_token, encode_token

ROOT = Path(__file__).resolve().parent.parent
FOUND = ROOT / "build" / "fuzz"
_REQUESTS = Requests(Limits(), lambda: "1", check_values=True)


def values(data: bytes) -> None:
    """A value is refused, or read, and made again as what it was."""
    wire.check_value(data)
    value = wire.WireValue(data).decode()
    assert wire.WireValue(wire.encode_value(value).data).decode() == value or value != value  # noqa: PLR0124 - NaN


def requests(data: bytes) -> None:
    """Every request is refused with an error of ours, or read."""
    reads = (_REQUESTS.put, _REQUESTS.patch, _REQUESTS.writes, _REQUESTS.keys, _REQUESTS.query, _REQUESTS.page)
    for read in (*reads, _REQUESTS.aggregate, _REQUESTS.patch_matching, _REQUESTS.watch, _REQUESTS.touch):
        with suppress(DatastoreError):
            read(data)


def keys(data: bytes) -> None:
    """A text is refused, or is a key whose text is canonical."""
    key = Key(data.decode("utf-8", "surrogateescape"))
    assert Key(str(key)) == key
    assert str(Key(str(key))) == str(key)


def tokens(data: bytes) -> None:
    """A token is refused, or has a position."""
    with suppress(DatastoreError):
        decode_page_token(data.decode("latin-1"), 1)
    if data:
        decode_token(data, 1).position(Query(Key("/")), None)


def files(data: bytes) -> None:
    """A file is refused with what is wrong, or is a configuration."""
    text = data.decode("utf-8", "replace")
    for parse in (parse_config, parse_server):
        with suppress(DatastoreError):
            parse(text, source="file.toml")


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (values, requests, keys, tokens, files)
}


def seeds(target: str) -> list[bytes]:
    """Where to begin: the golden vectors, and the files in the docs."""
    if target == "keys":
        return [one["given"].encode() for one in _vectors("keys") if isinstance(one.get("given"), str)]
    if target == "tokens":
        return [encode_token(Token(query_hash=1, key="/a", sort_key=b"a", limit=limit)) for limit in (None, 1)]
    if target == "files":
        pages = (ROOT / "docs").glob("*.md")
        return [
            block.encode() for page in pages for block in re.findall("```toml\n(.*?)```", page.read_text(), re.DOTALL)
        ]
    writes = _vectors("wire_writes")
    of_values = [*_vectors("values"), *_vectors("wire_refused")]
    of_requests = [*_vectors("wire_queries"), *_vectors("wire_watches")["requests"], *writes["patches"]]
    return [bytes.fromhex(one["wire"]) for one in (of_values if target == "values" else of_requests)]


def _vectors(name: str) -> Any:
    return json.loads((ROOT / "tests" / "vectors" / f"{name}.json").read_text())


def run(target: str, seconds: int) -> None:
    """Try one target. Ends the process."""
    corpus = FOUND / target
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(target)):
        (corpus / f"seed-{number}").write_bytes(seed)

    def check(data: bytes) -> None:
        # Any other error is a fault.
        with suppress(DatastoreError):
            TARGETS[target](data)

    limits = [f"-max_total_time={seconds}", "-max_len=4096", "-rss_limit_mb=4096", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={FOUND}/{target}-", str(corpus)], check)
    atheris.Fuzz()


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    given = parser.parse_args()
    if given.target is not None:
        run(given.target, given.seconds)
    failed = [
        target
        for target in TARGETS
        # Each ends its process.
        if subprocess.run(
            [sys.executable, __file__, "--target", target, "--seconds", str(given.seconds)], check=False
        ).returncode
    ]
    print(f"failed: {', '.join(failed)}" if failed else "nothing found")
    return bool(failed)


if __name__ == "__main__":
    raise SystemExit(main())
