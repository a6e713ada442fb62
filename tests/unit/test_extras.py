"""A part that was not installed says how to install it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from datastore.model.extras import require


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("datastore_client", "grpc", "client"),
        ("datastore_client.aio", "grpc", "client"),
        ("datastore_server.cli", "click", "server"),
        ("datastore.lmdb", "lmdb", "lmdb"),
    ],
)
def test_a_missing_package_is_reported_with_the_command_that_helps(module, package, extra):
    code = f"""
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {package!r} else found(name, *rest)
import {module}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: this needs {package}, which is not installed; in the checkout: pip install '.[{extra}]'"
    )


@pytest.mark.parametrize(
    ("module", "store", "package", "extra"),
    [
        ("datastore.redis", "RedisDatastore", "redis", "redis"),
        ("datastore.memcached", "MemcachedDatastore", "pymemcache", "memcached"),
        ("datastore.mongo", "MongoDatastore", "pymongo", "mongodb"),
    ],
)
def test_a_store_without_its_driver_says_so_when_created(
    module: str, store: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
):
    class Untouched:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(name)

        def __getitem__(self, name: str) -> Any:
            raise AssertionError(name)

    monkeypatch.setattr("datastore.model.extras.find_spec", lambda name: None)
    with pytest.raises(ImportError) as raised:
        getattr(import_module(module), store)(Untouched())
    assert (
        str(raised.value) == f"this needs {package}, which is not installed; in the checkout: pip install '.[{extra}]'"
    )


def test_an_installed_package_is_not_imported():
    require("xxhash", "none")


def test_every_extra_that_is_named_exists():
    root = Path(__file__).parents[2]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for room in ("datastore", "client", "server"):
        for path in (root / room).rglob("*.py"):
            for extra in re.findall(r'\brequire\([^)]*"([a-z]+)"\)', path.read_text()):
                assert extra in extras, path


def test_no_text_names_an_installation_from_an_index():
    root = Path(__file__).parents[2]
    texts = [*root.glob("*.md"), *(root / "docs").rglob("*.md"), *(root / "client").rglob("*.md")]
    texts += [path for room in ("datastore", "client", "server", "demo") for path in (root / room).rglob("*.py")]
    texts += [path for path in (root / "deploy").rglob("*") if path.is_file()]
    for path in texts:
        assert not re.search(r"pip install (-e )?'?datastore", path.read_text()), path
