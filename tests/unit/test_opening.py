"""A store by its URL: what a scheme opens, and the errors of invalid URLs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import datastore
from datastore import aio, spec
from datastore.aio.lift import LiftedDatastore
from datastore.filesystem import FileSystemDatastore
from datastore.lmdb import LMDBDatastore
from datastore.model.errors import ConfigError, InvalidError, UnsupportedTypeError
from datastore.model.extras import require
from datastore.model.key import Key
from datastore.model.urls import directory_of
from datastore.mongo.config import MongoConfig
from datastore.redis import RedisConfig
from datastore.spec.registry import GROUP

HELLO = Key("hello")


def test_memory_is_a_new_dict_each_time():
    with datastore.open("memory:") as one, datastore.open("memory:") as other:
        assert type(one) is datastore.DictDatastore
        one.put(HELLO, "world")
        assert other.get(HELLO) is None


@pytest.mark.parametrize(("scheme", "store"), [("file", FileSystemDatastore), ("lmdb", LMDBDatastore)])
def test_a_reopened_directory_has_its_entries(scheme: str, store: type, tmp_path: Path):
    url = f"{scheme}://{tmp_path / 'a b%20c'}".replace("%", "%25").replace(" ", "%20")
    with datastore.open(url) as opened:
        assert type(opened) is store
        opened.put(HELLO, b"world")
    assert (tmp_path / "a b%20c").is_dir()
    with datastore.open(url.replace(scheme, scheme.upper(), 1)) as opened:
        assert opened.get(HELLO) == b"world"


@pytest.mark.parametrize("scheme", ["file", "lmdb"])
def test_a_relative_directory_is_below_the_current_one(scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with datastore.open(f"{scheme}:inner/data") as opened:
        opened.put(HELLO, b"world")
    assert (tmp_path / "inner/data").is_dir()


async def test_an_async_store_is_native_or_lifted(tmp_path: Path):
    async with aio.open("memory:") as opened:
        assert type(opened) is aio.DictDatastore
    async with aio.open(f"lmdb://{tmp_path}?durability=async") as opened:
        assert isinstance(opened, LiftedDatastore)
        assert isinstance(opened.blocking, LMDBDatastore)
        await opened.put(HELLO, b"world")
        assert await opened.get(HELLO) == b"world"


@pytest.mark.parametrize("opening", [datastore.open, aio.open])
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "''.*not a store URL.*memory:"),
        ("data", "'data' is not a store URL.*file:data"),
        ("/var/lib/ds", "file:/var/lib/ds"),
        (
            "nosuch://x",
            "unknown scheme 'nosuch'; known are file: grpc: grpcs: lmdb: memcached: memory: mongodb:",
        ),
        ("memory:x", "memory: takes nothing after its colon"),
        ("lmdb:", "names no directory: expected lmdb:///DIRECTORY"),
        ("lmdb://host/data", "'host'; a directory has three slashes: lmdb:///host/data"),
        ("lmdb:///data?durability=never", "durability is sync or async, not 'never'"),
        ("lmdb:///data?nosuch=1", "unknown option 'nosuch'; valid are durability, max_size"),
        ("file://host/data", "three slashes: file:///host/data"),
        ("redis:", "'redis:': expected redis://HOST:PORT/DATABASE"),
        ("redis://h:x/0", "expected redis://HOST:PORT/DATABASE"),
        ("memcached://h:x", "'memcached://h:x': expected memcached://HOST:PORT"),
        ("memcached://h:99999", "expected memcached://HOST:PORT"),
        ("mongodb://h", "expected mongodb://HOST:PORT/DATABASE"),
        ("mongodb://h:99999/db", "expected mongodb://HOST:PORT/DATABASE"),
        ("grpc:", "write grpc://HOST:PORT"),
        ("lmbd:///x", "unknown scheme 'lmbd'.*did you mean lmdb:"),
        ("file://localhost/data", "three slashes: file:///data"),
        ("file:///a\nb", "no control characters; write %0A"),
        *((f"{scheme}://[::1", r"\[::1': expected") for scheme in ("file", "lmdb", "memcached", "mongodb", "redis")),
        ("redis://h/abc", "DATABASE a number"),
        ("redis://h/1/2", "DATABASE a number"),
        ("redis://h/0?protocol=7", "expected redis://HOST:PORT/DATABASE; .*protocol"),
        ("redis://h/0#x", "DATABASE a number"),
        (
            "redis://h/0?nosuch=1",
            "expected redis://HOST:PORT/DATABASE; valid options are prefix, .*, requests and .*nosuch",
        ),
        ("redis://h/0?expire=soon", r"'redis://h/0\?expire=soon': expire is a duration"),
        ("memcached://:secret@h", "expected memcached://HOST:PORT"),
        ("memcached://h#x", "expected memcached://HOST:PORT"),
        ("memcached://a..b", "expected memcached://HOST:PORT"),
        ("mongodb://h/db?nosuch=1", "mongodb://HOST:PORT/DATABASE; valid options are collection, .*; Unknown option"),
        ("mongodb://h/db?aware_datetimes=yes", "aware_datetimes is true or false, not 'yes'"),
        ("mongodb://h/db?maxPoolSize=x", "maxpoolsize must be an integer"),
        ("memcached://h?timeout=soon", "timeout is a duration, e.g. .*, not 'soon'"),
        ("grpc://h?nosuch=1", "unknown option 'nosuch'; valid are timeout, query_timeout, retry"),
        ("mongodb://h/db#x", "expected mongodb://HOST:PORT/DATABASE"),
        ("mongodb://h/db?collection=$x", "collection='.x'"),
        ("mongodb://h/db?collection=", "collection is text, not ''"),
        ("mongodb://h/db?collection=a&collection=b", "collection is given twice"),
    ],
)
def test_invalid_store_urls_are_refused_with_a_valid_form(opening, url: str, said: str):
    with pytest.raises((InvalidError, ConfigError), match=said) as raised:
        opening(url)
    assert isinstance(raised.value, ValueError)


def test_every_option_of_a_kind_with_a_server_may_stand_in_its_url():
    opened = spec.parse_url("mongodb://h/db?aware_datetimes=true&maxPoolSize=5&collection=notes")
    assert opened == MongoConfig(url="mongodb://h/db?maxPoolSize=5", collection="notes", aware_datetimes=True)
    opened = spec.parse_url("redis://h/0?prefix=&socket_timeout=5&expire=2m")
    assert opened == RedisConfig(url="redis://h/0?socket_timeout=5", prefix="", expire=120.0)


@pytest.mark.parametrize("opening", [datastore.open, aio.open])
@pytest.mark.parametrize("wrong", [None, 7, b"memory:", Path("/tmp")])
def test_a_url_is_text(opening, wrong: object):
    with pytest.raises(UnsupportedTypeError, match="url must be a str"):
        opening(wrong)


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [
        ("lmdb:///nowhere", "lmdb", "lmdb"),
        ("redis://127.0.0.1:1/0", "redis", "redis"),
        ("memcached://127.0.0.1:1", "pymemcache", "memcached"),
        ("mongodb://127.0.0.1:1/db", "pymongo", "mongodb"),
        ("grpc://127.0.0.1:1", "grpc", "client"),
    ],
)
def test_a_missing_driver_is_reported_with_the_command_that_installs_it(url: str, package: str, extra: str):
    code = f"""
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {package!r} else found(name, *rest)
import datastore
datastore.open({url!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: this needs {package}, which is not installed; in the checkout: pip install '.[{extra}]'"
    )


def announce(site: Path, name: str, scheme: str, body: str = "return DictDatastore()") -> None:
    """Install a package with a kind of store, as its wheel would. `body` is what opens one."""
    (site / f"{name}.py").write_text(f"""
from dataclasses import dataclass, field

from datastore import DictDatastore
from datastore.spec import Config
from datastore.model.options import TEXT, option


@dataclass(frozen=True, kw_only=True)
class ShelfConfig(Config):
    kind = {scheme!r}
    url_form = "shelf:WORDS"
    words: str = field(metadata=option("anything", TEXT))

    @classmethod
    def from_url(cls, url):
        return cls(words=url)

    def open(self):
        {body}
""")
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{scheme} = {name}:ShelfConfig\n")


STORE_WITH_ITS_WORDS = "store = DictDatastore(); store.words = self.words; return store"


def test_other_packages_add_schemes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    announce(tmp_path, "shelf_of_somebody", "shelf+v2", STORE_WITH_ITS_WORDS)
    monkeypatch.syspath_prepend(tmp_path)
    assert datastore.open("SHELF+v2:top?shelf").words == "shelf+v2:top?shelf"
    lifted = aio.open("shelf+v2:top")
    assert isinstance(lifted, LiftedDatastore)
    assert lifted.blocking.words == "shelf+v2:top"


@pytest.mark.parametrize(
    "url",
    ["mongodb://h1:27017,h2:27018/db", "mongodb://me:secret@h1:1,h2/db", "redis:///0", "redis://h/0/", "redis://h"],
)
def test_the_options_of_a_driver_are_accepted(url: str):
    datastore.open(url).close()


COMPOSED = """
from dataclasses import dataclass, field

from datastore.spec import CHILD, Composed, Config, option


@dataclass(frozen=True, kw_only=True)
class ShelfConfig(Composed):
    kind = "shelf"
    child: Config = field(metadata=option("the store below", CHILD))

    def build(self, stores, below):
        class Shelf(stores.ShimDatastore):
            pass

        return Shelf(below["child"])
"""


async def test_other_packages_add_shims_for_either_colour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    announce(tmp_path, "a_shim_of_somebody", "shelf")
    (tmp_path / "a_shim_of_somebody.py").write_text(COMPOSED)
    monkeypatch.syspath_prepend(tmp_path)
    described = {"kind": "shelf", "child": {"kind": "shelf", "child": "file:data"}}
    monkeypatch.chdir(tmp_path)
    with datastore.open(described) as store:
        store.put(HELLO, b"world")
    async with aio.open(described) as store:
        assert isinstance(store, aio.ShimDatastore)
        assert await store.get(HELLO) == b"world"
    with pytest.raises(InvalidError, match="stores of the kind shelf have no URL"):
        datastore.open("shelf:")


def test_a_kind_without_a_directory_takes_its_options_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    announce(tmp_path, "shelf_with_defaults", "shelf")
    text = (tmp_path / "shelf_with_defaults.py").read_text()
    start, end = text.index("    @classmethod"), text.index("    def open")
    text = (text[:start] + text[end:]).replace("field(", 'field(default="none", ').replace("DictDatastore()", "self")
    (tmp_path / "shelf_with_defaults.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    urls = {"shelf:": "none", "shelf://": "none", "shelf:?words=a%20b": "a b", "shelf:/?words=c": "c"}
    assert {url: spec.parse_url(url).words for url in urls} == urls  # type: ignore[attr-defined]
    for url, said in {
        "shelf:x": "nothing after its colon",
        "shelf:x?words=a": "nothing after",
        "shelf:?w=1": "valid are words",
    }.items():
        with pytest.raises(InvalidError, match=said):
            datastore.open(url)


@pytest.mark.parametrize("url", ["MEMORY:", "File:{}", "GRPC://127.0.0.1:1", "REDIS://127.0.0.1:1/0"])
def test_the_case_of_a_scheme_does_not_matter(url: str, tmp_path: Path):
    datastore.open(url.format(tmp_path)).close()


@pytest.mark.parametrize("opening", [datastore.open, aio.open])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, r"a_shelf.ShelfConfig returned a 'int', not a datastore.(aio.)?Datastore"),
        ("", "lacks a_shelf:ShelfConfig"),
        ("ShelfConfig = 5", "a_shelf:ShelfConfig, must be a subclass of datastore.spec.Config with a `kind`"),
        ("from datastore.spec import Config as ShelfConfig", "with a `kind`"),
    ],
)
def test_a_package_that_does_not_return_a_store_is_named(
    opening, text: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    announce(tmp_path, "a_shelf", "ashelf", "return 5")
    if text is not None:
        (tmp_path / "a_shelf.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "a_shelf", raising=False)
    with pytest.raises(ConfigError, match=said):
        opening("ashelf:x")


def test_a_folder_named_like_a_driver_is_not_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "an_unknown_driver").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"pip install '\.\[x\]'"):
        require("an_unknown_driver", "x")


def test_two_packages_with_one_scheme_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    announce(tmp_path, "one_shelf", "shelf")
    announce(tmp_path, "other_shelf", "shelf")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"shelf: URLs: one_shelf:ShelfConfig, other_shelf:ShelfConfig; uninstall"):
        datastore.open("shelf:x")


def test_the_error_of_an_unknown_scheme_includes_those_whose_driver_is_missing():
    code = """
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in ("lmdb", "grpc", "redis") else found(name, *rest)
import datastore
try:
    datastore.open("lmbd:x")
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        "known are file: grpc: grpcs: lmdb: memcached: memory: mongodb: redis: rediss:; did you mean lmdb:?"
        in done.stdout
    )


def test_without_any_announced_kind_the_error_suspects_the_installation(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: ())
    for described in ("memory:", {"kind": "memory"}):
        with pytest.raises(ValueError, match=r"known are none: is datastore-grpc installed\? After an update run pip"):
            datastore.open(described)


def test_opening_a_store_for_threads_loads_no_asyncio(tmp_path: Path):
    code = f"import sys, datastore; datastore.open('file:{tmp_path}').close(); assert 'asyncio' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


def test_import_star_keeps_the_builtin_open():
    code = "from datastore import *; from datastore.aio import *; assert open is __builtins__.open"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


@pytest.mark.parametrize(
    ("url", "directory"),
    [
        ("x:///a/b", "/a/b"),
        ("x:a/b", "a/b"),
        ("x:/a", "/a"),
        ("x:///a%20b%25?o=1", "/a b%"),
        ("x:///é", "/é"),
        ("x:///%FF", os.fsdecode(b"/\xff")),
    ],
)
def test_the_directory_of_a_url(url: str, directory: str):
    assert directory_of(url) == directory


@pytest.mark.parametrize("url", ["x:", "x:///", "x://host/a", "x:///a%00b", "x:///a#b"])
def test_a_url_without_a_directory_is_refused(url: str):
    with pytest.raises(InvalidError, match="'x:") as raised:
        directory_of(url)
    assert raised.value.field == "url"


@pytest.mark.parametrize("query", ["fsync=", "fsync=3", "p=1", "fsync=true&fsync=true", "directory=b"])
def test_unknown_options_are_refused(query: str):
    with pytest.raises(InvalidError, match="'file:a"):
        datastore.open(f"file:a?{query}")
