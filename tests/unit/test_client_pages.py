"""What the pages show of a sample: the marked lines, and of all operations."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import client_pages
from tools.client_pages import OPERATIONS


def sample(root: Path, language: str, operations: list[str], mark: str) -> None:
    lines = [
        f"    {mark} [{name}]\n    {name}(\n        1)\n\n    {mark} [/{name}]\n    shown();\n" for name in operations
    ]
    folder = root / "client" / language / "samples/operations"
    folder.mkdir(parents=True)
    (folder / "sample").write_text("".join(lines))
    (folder / "readme").write_text("nothing marked\n")


def test_an_operation_is_shown_without_its_indentation_in_the_order_of_the_languages(tmp_path: Path) -> None:
    sample(tmp_path, "go", [*OPERATIONS], "//")
    sample(tmp_path, "python", [*OPERATIONS], "#")
    found = client_pages.samples(tmp_path)
    assert [*found] == ["python", "go"]
    assert found["go"]["put"] == "put(\n    1)\n"
    shown = client_pages.operations(found)
    assert shown.startswith("### Connect\n")
    assert "```python\nput(\n    1)\n```\n\n```go\nput(\n    1)\n```\n" in shown
    assert client_pages.shown(found).count("```go\n") == 1


def test_a_sample_that_lacks_an_operation_is_named(tmp_path: Path) -> None:
    sample(tmp_path, "go", [name for name in OPERATIONS if name != "watch"], "//")
    with pytest.raises(ValueError, match="the samples of go lack watch"):
        client_pages.samples(tmp_path)
