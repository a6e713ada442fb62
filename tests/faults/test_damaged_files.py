"""Data files with flipped bits or without their ends, and directories that cannot be written.

An error says so; there are no wrong answers, other keys are unaffected, and no process ends without a word.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from datastore.lmdb import LMDBDatastore
from datastore.model.entries import Write
from datastore.model.errors import CorruptDataError, UnavailableError
from datastore.model.key import Key
from datastore_client.aio import connect
from tests.support import processes
from tests.support.damaged import CONTENTS

#: How many bits are flipped, one in each copy of a file, by the profile of random tests.
FLIPS = {"quick": 20, "ci": 1000, "soak": 20_000}[settings.get_current_profile_name()]
#: How many of them may hide an entry all the same: LMDB has no checksums of its own structure, i.e. of which page and
#: how many entries follow.
MOST_WRONG = FLIPS // 200


def read_with(flips: list[tuple[int, int]], directory: Path) -> Iterator[str]:
    """How reading went with each flip alone; `crashed` where it ended the program."""
    whole = (directory / "data.mdb").read_bytes()
    while flips:
        (directory / "data.mdb").write_bytes(whole)
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.damaged", str(directory)],
            input="".join(f"{place} {bit}\n" for place, bit in flips),
            capture_output=True,
            check=False,
            text=True,
        )
        lines = done.stdout.splitlines()
        assert len(lines) == len(flips) or done.returncode < 0, done.stderr
        yield from lines
        flips = flips[len(lines) :]
        if flips:
            yield "crashed"
            flips = flips[1:]


@pytest.mark.timeout(0)
def test_a_flipped_bit_gives_no_wrong_answer_and_leaves_other_keys_as_they_are(tmp_path: Path) -> None:
    with LMDBDatastore(tmp_path) as store:
        store.batch_write([Write(*entry) for entry in CONTENTS.items()])
    seed = int(os.environ.get("DATASTORE_FAULTS_SEED") or 7)
    chooser = random.Random(seed)
    size = (tmp_path / "data.mdb").stat().st_size
    flips = [(chooser.randrange(size), chooser.randrange(8)) for _ in range(FLIPS)]
    ends: Counter[str] = Counter()
    wrong = []
    for flip, line in zip(flips, read_with(flips, tmp_path), strict=True):
        end, *details = line.split()
        ends[end] += 1
        if end == "wrong":
            wrong.append((flip, details))
        # A page holds a tenth of the entries at most, unless it is one of the few that lead to others.
        elif end == "right" and int(details[0]) < len(CONTENTS) * 0.9:
            ends["widely"] += 1
    again = f"DATASTORE_FAULTS_SEED={seed} repeats it: {ends} {wrong}"
    assert len(wrong) <= MOST_WRONG, again
    assert ends["right"] > FLIPS * 0.9, again
    assert ends["widely"] <= FLIPS / 50, again


KEYS = [Key(f"/K:{number:04}") for number in range(300)]


async def fill(node: processes.ServerProcess) -> None:
    async with connect(node.url) as store:
        outcomes = await store.batch_write([Write(key, "x" * 1000) for key in KEYS])
        assert not any(outcome.error for outcome in outcomes)


async def test_a_node_whose_file_is_truncated_while_it_runs_ends_with_a_reason_and_does_not_start_again(
    tmp_path: Path,
) -> None:
    with processes.node(tmp_path / "data") as node:
        await fill(node)
        os.truncate(tmp_path / "data" / "data.mdb", node.data_bytes // 2)
        async with connect(node.url, retry=False) as store:
            # Nothing is answered wrongly until it reads a page that is gone.
            with pytest.raises(UnavailableError):
                for key in KEYS:
                    assert await store.get(key) == "x" * 1000
        assert node.stop() != 0
        log = (tmp_path / "data.log").read_text()
        assert "Bus error" in log
        assert "datastore/lmdb/reading.py" in log
        with pytest.raises(AssertionError, match=r"CORRUPT_DATA: the data file in .* was truncated.* restore it"):
            node.start()


@pytest.mark.long
async def test_a_damaged_entry_is_an_error_of_its_own_at_a_node(tmp_path: Path) -> None:
    with processes.node(tmp_path / "data") as node:
        async with connect(node.url) as store:
            for key in KEYS[:3]:
                await store.put(key, f"the value of {key}")
        node.kill()
        data = tmp_path / "data" / "data.mdb"
        data.write_bytes(
            data.read_bytes().replace(f"the value of {KEYS[1]}".encode(), b"another value!".ljust(20)[:20])
        )
        node.start()
        async with connect(node.url) as store:
            with pytest.raises(CorruptDataError, match=str(KEYS[1])):
                await store.get(KEYS[1])
            found = await store.batch_get(KEYS[:3])
            assert [type(outcome.error) for outcome in found] == [type(None), CorruptDataError, type(None)]
            # It is repaired by a put.
            await store.put(KEYS[1], "new")
            assert await store.get(KEYS[1]) == "new"


#: Runs a command to which permissions apply even if the user is root: without CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
WITHOUT_OVERRIDE = """
import ctypes, os, sys
for capability in (1, 2):
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.parametrize("is_new", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_node_does_not_start_in_a_directory_that_it_cannot_write_and_names_it(tmp_path: Path, is_new: bool) -> None:
    directory = tmp_path / "data"
    if is_new:
        directory.mkdir()
    else:
        with LMDBDatastore(directory) as store:
            store.put(KEYS[0], b"1")
        for path in directory.iterdir():
            path.chmod(0o444)
    directory.chmod(0o555)
    serving = [sys.executable, "-m", "datastore_server.cli", "serve", f"lmdb:{directory}", "--listen", "127.0.0.1:0"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_OVERRIDE, *serving], check=False, capture_output=True, text=True
    )
    directory.chmod(0o755)
    assert done.returncode == 5
    assert "STORE" in done.stderr
    assert f"{directory} cannot be used as a data directory" in done.stderr
    assert "Permission denied" in done.stderr
    with LMDBDatastore(directory) as store:
        assert store.get(KEYS[0]) == (None if is_new else b"1")


#: Writes while nothing can be written for a moment, again and again, until that was in the middle of a commit.
UNWRITABLE = """
import logging, resource, sys, threading, time
from datastore.lmdb import LMDBDatastore
from datastore.model.errors import StoreFullError, UnavailableError
from datastore.model.key import Key

lines = []
handler = logging.Handler()
handler.emit = lambda record: lines.append(record.getMessage())
logging.getLogger("datastore").addHandler(handler)
logging.getLogger("datastore").setLevel(logging.INFO)

ended = threading.Event()

def limit():
    while not ended.is_set():
        for most, seconds in ((0, 0.0005), (resource.RLIM_INFINITY, 0.003)):
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
            time.sleep(seconds)

store = LMDBDatastore(sys.argv[1], keep_changes=True)
limiting = threading.Thread(target=limit, daemon=True)
limiting.start()
possible = {}
number = 0
while sum("is open again" in line for line in lines) < 1:
    number += 1
    key = Key(f"/k:{number % 20}")
    values = possible.setdefault(key, {None})
    try:
        store.put(key, str(number))
        values.clear()
        values.add(str(number))
    except StoreFullError:
        pass
    except UnavailableError as error:
        if error.retry_after_s is None:
            values.add(str(number))
    try:
        assert store.get(key) in values
    except UnavailableError as error:
        assert error.retry_after_s
ended.set()
limiting.join()
store.close()
with LMDBDatastore(sys.argv[1]) as store:
    for key, values in possible.items():
        assert store.get(key) in values, (key, store.get(key), values)
print("whole")
"""


@pytest.mark.long("a disk that fails in the middle of a commit")
def test_a_store_that_fails_in_the_middle_of_a_commit_is_opened_again_and_is_whole(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNWRITABLE, str(tmp_path / "data")], check=False, capture_output=True, text=True
    )
    assert done.stdout == "whole\n", done.stderr
