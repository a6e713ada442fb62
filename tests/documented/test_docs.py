"""The examples of the library's documents, run as they stand: what follows `>>>`, and whole modules."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
LIBRARY = ROOT / "docs/library.md"


def blocks(document: Path, language: str) -> list[str]:
    """The code blocks of a document in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)


def test_every_example_of_the_tour_does_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "\n".join(blocks(LIBRARY, "pycon"))
    example = doctest.DocTestParser().get_doctest(text, {}, "library.md", str(LIBRARY), 0)
    result = doctest.DocTestRunner().run(example)
    assert (result.failed, result.attempted > 25) == (0, True)


def test_the_store_of_ones_own_stands_the_suite(tmp_path: Path) -> None:
    (tmp_path / "test_shelf.py").write_text("\n".join(blocks(LIBRARY, "python")))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) > 20
