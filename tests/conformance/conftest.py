"""Servers of other engines, one of each for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.engines import Engine, engine


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with engine("redis", tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def memcached_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with engine("memcached", tmp_path_factory.mktemp("memcached")) as server:
        yield server


@pytest.fixture(scope="session")
def mongodb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with engine("mongodb", tmp_path_factory.mktemp("mongodb")) as server:
        yield server
