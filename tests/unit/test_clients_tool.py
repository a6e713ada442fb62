"""`make clients` over folders of clients whose Makefiles do nothing but succeed, fail, or miss their toolchain."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools import clients
from tools.clients import Outcome

#: What each target of a client runs, unless a test says otherwise.
GOOD = {"ready": "@true", "check": "@echo checked", "test": "@echo tested", "driver": "@true", "generate": "@echo made"}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose suite passes if it gets the arguments that a test expects."""
    (tmp_path / "Makefile").write_text('test:\n\t@test "$(ARGS)" = "$(EXPECTED)"\n')
    monkeypatch.setenv("EXPECTED", "tests/clients")
    monkeypatch.delenv("DATASTORE_REQUIRE_ALL", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    return tmp_path


def client(root: Path, language: str, **recipes: str) -> None:
    folder = root / "client" / language
    folder.mkdir(parents=True)
    rules = [f"{target}:\n\t{recipe}\n" for target, recipe in (GOOD | recipes).items()]
    (folder / "Makefile").write_text(f".PHONY: {' '.join(GOOD)}\n{''.join(rules)}")


def test_every_client_is_made_and_the_suite_is_run(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    client(root, "go")
    client(root, "rust")
    (root / "client/python").mkdir()
    assert clients.main([], root) == 0
    printed = capfd.readouterr().out
    assert "go          checked\n" in printed
    assert [line.split()[0] for line in printed.splitlines()[-3:]] == ["go", "rust", "suite"]


def test_a_client_without_its_toolchain_is_left_out_with_the_reason(
    root: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client(root, "go")
    client(root, "rust", ready="@echo 'Rust 1.88 or newer: https://rustup.rs'; exit 1")
    assert clients.main([], root) == 0
    assert "rust        left out: Rust 1.88 or newer: https://rustup.rs\n" in capfd.readouterr().out
    monkeypatch.setenv("DATASTORE_REQUIRE_ALL", "1")
    assert clients.main([], root) == 1


def test_a_target_that_fails_fails_the_run_and_the_others_are_made_all_the_same(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    client(root, "go", check="@exit 3")
    client(root, "rust", driver="@exit 3")
    assert clients.main([], root) == 1
    printed = capfd.readouterr().out
    assert printed.count("tested") == 2
    assert "check FAILED" in printed


def test_a_suite_that_fails_fails_the_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client(root, "go")
    monkeypatch.setenv("EXPECTED", "tests/others")
    assert clients.main([], root) == 1


def test_only_the_chosen_client_is_made(
    root: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client(root, "go")
    client(root, "rust", check="@exit 3")
    monkeypatch.setenv("EXPECTED", "tests/clients --client go")
    assert clients.main(["go"], root) == 0
    with pytest.raises(SystemExit):
        clients.main(["cobol"], root)
    assert "unknown client cobol; valid: go rust" in capfd.readouterr().err


def test_generating_makes_only_that_and_runs_no_suite(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    client(root, "go")
    assert clients.main(["--generate"], root) == 0
    printed = capfd.readouterr().out
    assert "made" in printed
    assert "suite" not in printed


def test_the_list_has_a_line_for_each_client() -> None:
    made = Outcome("go", made={"check": (0, 1.2), "test": (2, 31.0)})
    listed = clients.report([made, Outcome("rust", missing="cargo")])
    assert listed == "go          check ok 1 s   test FAILED 31 s\nrust        left out: cargo"
