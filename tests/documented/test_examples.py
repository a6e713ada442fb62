"""The documentation's examples, run unchanged."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest


def test_every_example_of_the_documentation_does_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testfile(str(Path(__file__).with_name("examples.txt")), module_relative=False, encoding="utf-8")
    assert result.failed == 0
    assert result.attempted > 150
