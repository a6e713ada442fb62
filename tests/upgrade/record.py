"""Records what a release stores and says, for the tests of later ones.

It is run for each release, once that has its tag: `python -m tests.upgrade.record v0.4.0 tests/upgrade/0.4.0.json`.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

from tests.support.earlier import ROOT, checked_out, cluster_of
from tests.upgrade.recording import recording


def main(revision: str, target: str) -> None:
    """Write the revision's LMDB directory, its client's conversation with its proxy, and what that printed."""
    commit = subprocess.run(["git", "rev-parse", revision], cwd=ROOT, capture_output=True, text=True, check=True)
    with tempfile.TemporaryDirectory() as scratch:
        release = checked_out(revision, Path(scratch) / "release")
        directory = Path(scratch) / "data"
        with cluster_of(release, release, directory) as url, recording(url) as (recorded_url, calls):
            release.client(recorded_url, "write")
            printed = release.client(recorded_url, "read")
        stored = zlib.compress((directory / "data.mdb").read_bytes(), level=9)
    found = {
        "revision": commit.stdout.strip(),
        "data.mdb": base64.b64encode(stored).decode(),
        "read": printed,
        "calls": [call.as_json() for call in calls],
    }
    Path(target).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
