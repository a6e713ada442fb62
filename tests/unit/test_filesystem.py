"""Files: their paths and contents, and what happens if writing fails."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import datastore
from datastore import core
from datastore.filesystem import FileSystemDatastore, content, disk, ensure_directory_exists, paths
from datastore.model.entries import Position
from datastore.model.errors import (
    CorruptDataError,
    InvalidError,
    InvalidValueError,
    StoreError,
    StoreFullError,
    UnsupportedTypeError,
)
from datastore.model.key import Key
from datastore.model.query import Query

VECTORS = json.loads((Path(__file__).parent.parent / "vectors/file_paths.json").read_text())
HELLO = Key("hello")


@pytest.fixture
def files(tmp_path: Path) -> FileSystemDatastore:
    return FileSystemDatastore(tmp_path / "root")


def tree(root: Path) -> list[str]:
    """All files below a directory."""
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


# Paths


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["key"])
def test_a_key_has_the_file_of_its_vector(vector: dict[str, str]):
    key = Key(vector["key"])
    assert paths.relative_file(key) == vector["path"]
    assert paths.key_of_file(vector["path"]) == key
    if "folding" in vector:
        assert paths.relative_file(key, folding=True) == vector["folding"]
        assert paths.key_of_file(vector["folding"]) == key


def test_long_names_are_shortened_to_hashes():
    long = Key("/x:" + "é" * 100)
    assert paths.relative_file(long) == f"x/%long-{hashlib.sha256(str(long).encode()).hexdigest()}.obj"
    above = Key("/" + "d" * 300 + "/a")
    assert paths.relative_file(above) == f"%long-{hashlib.sha256(b'd' * 300).hexdigest()}/a~.obj"
    deep = Key("/d" * 511)
    assert paths.relative_file(deep) == f"%path-{hashlib.sha256(b'/d' * 510).hexdigest()}/d~.obj"


def generated_keys(count: int) -> Iterator[Key]:
    """Keys of every kind, the same each time."""
    chooser = random.Random(2026)
    letters = [
        "a",
        "b",
        "A",
        "B",
        ".",
        "..",
        ":",
        "::",
        "/",
        "%",
        "~",
        "-",
        "é",
        "e\u0301",
        ".obj",
        ".OBJ",
        " ",
        "%41",
        "x" * 90,
    ]
    for _ in range(count):
        yield Key("".join(chooser.choice(letters) for _ in range(chooser.randrange(1, 9))))


@pytest.mark.parametrize("folding", [False, True])
def test_no_two_keys_share_a_file_and_no_file_is_outside_the_root(folding: bool):
    found: dict[str, Key] = {}
    for key in set(generated_keys(300 * settings().max_examples)):
        relative = paths.relative_file(key, folding=folding)
        assert os.path.normpath(relative) == relative
        assert not relative.startswith(("/", "."))
        assert all(0 < len(name) <= 255 for name in relative.split("/"))
        name = relative.lower() if folding else relative
        assert found.setdefault(name, key) == key
        assert paths.is_shortened(relative) or paths.key_of_file(relative) == key
        assert relative.startswith(paths.relative_directory(key.path, folding=folding))
    assert len(found) > 100 * settings().max_examples
    # A file is never where a directory has to be.
    directories = {name.rsplit("/", depth)[0] for name in found for depth in range(1, name.count("/") + 1)}
    assert directories.isdisjoint(found)


@given(st.text(max_size=30))
def test_any_file_name_belongs_to_at_most_one_key(relative: str):
    key = paths.key_of_file(relative)
    assert key is None or isinstance(key, Key)


# Content


@pytest.mark.parametrize(
    "value",
    [
        "",
        "a",
        "é\r\n\n\r",
        "\ufeff",
        "%datastore 1 bytes\n",
        "%datastore 1 ",
        b"",
        b"\xff\x00",
        b"text",
        b"%datastore 1 str\n",
    ],
    ids=repr,
)
def test_a_value_comes_back_byte_by_byte(files: FileSystemDatastore, value: Any):
    for key in (HELLO, Key("/" + "x" * 400)):
        files.put(key, value)
        found = files.get(key)
        assert (type(found), found) == (type(value), value)
        assert [entry.value for entry in files.query(Query(Key("/"))).entries() if entry.key == key] == [value]


def test_text_is_stored_unchanged(files: FileSystemDatastore):
    files.put(HELLO, "wörld\r\n")
    assert Path(files.object_path(HELLO)).read_bytes() == "wörld\r\n".encode()
    files.put(HELLO, bytearray(b"\x00"))
    assert Path(files.object_path(HELLO)).read_bytes() == b"%datastore 1 bytes\n\x00"
    assert files.get(HELLO) == b"\x00"


@pytest.mark.parametrize(("held", "value"), [(b"plain\n", "plain\n"), (b"\xff\xfe", b"\xff\xfe"), (b"", "")])
def test_a_file_of_another_program_is_text_or_bytes(files: FileSystemDatastore, held: bytes, value: Any):
    Path(files.object_path(HELLO)).write_bytes(held)
    assert files.get(HELLO) == value
    assert list(files.query(Query(Key("/")))) == [value]


@pytest.mark.parametrize("held", [b"%datastore 1 text\nx", b"%datastore 1 str", b"%datastore 1 str\n\xff"])
def test_a_malformed_header_raises(files: FileSystemDatastore, held: bytes):
    Path(files.object_path(HELLO)).write_bytes(held)
    for read in (lambda: files.get(HELLO), lambda: list(files.query(Query(Key("/"))))):
        with pytest.raises(CorruptDataError, match=r"hello\.obj"):
            read()


def test_a_shortened_file_names_its_key(files: FileSystemDatastore):
    long, other = Key("/" + "x" * 400), Key("/" + "y" * 400)
    files.put(long, "text")
    Path(files.object_path(long)).rename(files.object_path(other))
    with pytest.raises(CorruptDataError, match="does not name"):
        files.get(other)
    assert list(files.query(Query(Key("/")))) == []


@pytest.mark.parametrize(
    "wrong", [1, 1.5, {"a": 1}, ["a"], object(), memoryview(b"a")], ids=lambda wrong: type(wrong).__name__
)
def test_other_types_are_refused_and_the_old_value_stays(files: FileSystemDatastore, wrong: Any):
    files.put(HELLO, "old")
    with pytest.raises(UnsupportedTypeError, match=f"str and bytes, got {type(wrong).__name__}: wrap"):
        files.put(HELLO, wrong)
    with pytest.raises(InvalidValueError, match="lone surrogate at 1"):
        files.put(HELLO, "a\udc80")
    assert files.get(HELLO) == "old"
    assert tree(Path(files.root)) == ["hello.obj"]


def test_a_header_is_read_only_if_there_is_one():
    assert content.header_key(b"%datastore 1 str /a\nx") == "/a"
    for other in (
        b"",
        b"x",
        b"%datastore 1 str\nx",
        b"%datastore 1 what /a\n",
        b"%datastore 1 str /a",
        b"%datastore 1 str \xff\n",
    ):
        assert content.header_key(other) is None


# Queries


@pytest.mark.parametrize("folding", [False, True])
def test_a_recursive_query_finds_entries_below_instances(tmp_path: Path, folding: bool):
    files, model = FileSystemDatastore(tmp_path), core.DictDatastore()
    files._folding = folding
    keys = set(generated_keys(1000)) | set(map(Key, ["/a:b:c/d", "/:a:b/c", "/a:b:c:e/d", f"/a:b:{'x' * 300}/d"]))
    for key in keys:
        for held in (files, model):
            held.put(key, str(key))
    scopes = {key for key in keys if str(key).count(":") == 1 and len(str(key)) < 12}
    assert len(scopes) > 20
    for scope in [*scopes, Key("/a:b"), Key("/:a")]:
        query = Query(scope, recursive=True)
        assert list(files.query(query)) == list(model.query(query))
    files.put(Key("/a:b:c/d"), "found")
    assert "found" in list(files.query(Query(Key("/a:b"), recursive=True)))


@pytest.mark.parametrize(
    ("query", "read"),
    [
        (Query(Key("/c"), limit=1), 1),
        (Query(Key("/c"), limit=2, offset=3), 5),
        (Query(Key("/c")).filter("__key__", "=", Key("/c:07")), 1),
        (Query(Key("/c"), limit=2).filter("__key__", ">", Key("/c:07")), 2),
        (Query(Key("/c"), start_after=Position(b"", Key("/c:96"))), 3),
        (Query(Key("/c"), keys_only=True), 0),
        (Query(Key("/c"), keys_only=True, limit=2).order("-__key__"), 0),
        (Query(Key("/c"), limit=1).order("-__key__"), 100),
        (Query(Key("/c"), limit=1, keys_only=True).filter("n", "=", 1), 100),
    ],
    ids=repr,
)
def test_a_query_reads_no_file_that_cannot_matter(
    files: FileSystemDatastore, monkeypatch: pytest.MonkeyPatch, query: Query, read: int
):
    model = core.DictDatastore()
    for number in range(100):
        for held in (files, model):
            held.put(Key(f"/c:{number:02}"), str(number))
    reads = []
    monkeypatch.setattr(disk, "read", lambda path, original=disk.read: (reads.append(path), original(path))[1])
    assert list(files.query(query).entries()) == list(model.query(query).entries())
    assert len(reads) == read


def test_entries_beyond_a_limit_may_be_damaged(files: FileSystemDatastore):
    files.put(Key("a"), "1")
    Path(files.object_path(Key("b"))).write_bytes(b"%datastore 1 nosuch\nx")
    assert list(files.query(Query(Key("/"), limit=1))) == ["1"]
    with pytest.raises(CorruptDataError, match=r"b\.obj"):
        list(files.query(Query(Key("/"), limit=2)))


# The root, and other files in it


@pytest.mark.parametrize(
    ("root", "kind", "says"),
    [
        ("", InvalidError, "root must name a directory, not ''"),
        ("a\0b", InvalidError, "root must name a directory, not 'a.x00b'"),
        (None, UnsupportedTypeError, "root must be a str or a path, got NoneType"),
        (5, UnsupportedTypeError, "root must be a str or a path, got int"),
        (b"root", UnsupportedTypeError, "root must be a str or a path, got bytes"),
    ],
    ids=repr,
)
def test_a_root_that_names_no_directory_is_refused(root: Any, kind: type[Exception], says: str):
    with pytest.raises(kind, match=says):
        FileSystemDatastore(root)


def test_a_file_in_place_of_a_directory_is_an_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(RuntimeError, match="but is a file"):
            ensure_directory_exists(wrong)
        with pytest.raises(RuntimeError, match="but is a file") as raised:
            FileSystemDatastore(wrong)
        assert isinstance(raised.value, StoreError)
    ensure_directory_exists(tmp_path / "a/b")
    ensure_directory_exists(tmp_path / "a/b")


def test_foreign_files_are_skipped(files: FileSystemDatastore):
    files.put(HELLO, "world")
    root = Path(files.root)
    for name in ("notes.txt", ".tmp-left", "%zz.obj", "a b.obj", "UPPER~tt.obj", "x~u.obj", ".hidden.obj"):
        (root / name).write_text("foreign")
    (root / "directory.obj").mkdir()
    for recursive in (False, True):
        assert list(files.query(Query(Key("/"), recursive=recursive))) == ["world"]
    files.put(Key("ignored"), "x")
    files.ignore_list = ["ignored.obj"]  # type: ignore[misc]
    assert list(files.query(Query(Key("/")))) == ["world"]


def test_links_to_directories_are_not_followed(files: FileSystemDatastore, tmp_path: Path):
    outside = FileSystemDatastore(tmp_path / "outside")
    outside.put(Key("/s:secret"), "x")
    files.put(HELLO, "world")
    (Path(files.root) / "s").symlink_to(tmp_path / "outside/s")
    assert list(files.query(Query(Key("/"), recursive=True))) == ["world"]


def test_pipes_and_circular_links_are_not_entries(files: FileSystemDatastore):
    os.mkfifo(files.object_path(HELLO))
    Path(files.object_path(Key("loop"))).symlink_to("loop.obj")
    files.put(Key("good"), "v")
    assert files.get(HELLO) is None
    assert files.contains(HELLO) is False
    assert list(files.query(Query(Key("/")))) == ["v"]
    for read in (files.get, files.contains):
        with pytest.raises(StoreError, match="/loop: "):
            read(Key("loop"))


@pytest.mark.parametrize("fails", ["open", "stat"])
def test_an_unreadable_file_is_never_reported_as_absent(
    files: FileSystemDatastore, monkeypatch: pytest.MonkeyPatch, fails: str
):
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    files.put(HELLO, "world")
    monkeypatch.setattr(disk.os, fails, refuse)
    with pytest.raises(StoreError, match="/hello: Permission denied"):
        files.get(HELLO) if fails == "open" else files.contains(HELLO)


def test_keys_that_differ_in_case_are_one_if_configured(tmp_path: Path):
    files = FileSystemDatastore(tmp_path, case_sensitive=False)
    files.put(Key("/A:B"), "x")
    assert tree(tmp_path) == ["a/b.obj"]
    assert files.get(Key("/a:B")) == "x"
    (tmp_path / "a/B.obj").write_text("foreign")
    assert list(files.query(Query(Key("/A"))).entries()) == [(Key("/a:b"), "x")]


def test_the_paths_of_a_store(files: FileSystemDatastore):
    key = Key("/a:b/c")
    assert files.relative_path(key) == "a/b/c"
    assert files.path(key) == f"{files.root}/a/b/c"
    assert files.relative_object_path(key) == "a/b/c.obj"
    assert files.object_path(key) == f"{files.root}/a/b/c.obj"
    assert FileSystemDatastore.object_extension == ".obj"


def test_a_url_has_options(tmp_path: Path):
    opened = datastore.open(f"file://{tmp_path}?case_sensitive=false&fsync=true")
    assert isinstance(opened, FileSystemDatastore)
    assert not opened.case_sensitive
    assert opened.describe().capability.durability.value == "sync"
    with pytest.raises(InvalidError, match="unknown option 'mode'; valid are fsync, case_sensitive"):
        datastore.open(f"file://{tmp_path}?mode=1")


def test_deleting_leaves_directories_and_other_files(files: FileSystemDatastore):
    files.put(Key("/a:b"), "x")
    files.delete(Key("/a:b"))
    assert (Path(files.root) / "a").is_dir()
    assert tree(Path(files.root)) == []


# Faults


@pytest.mark.parametrize("old", [None, "old"])
@pytest.mark.parametrize("fails", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, StoreFullError), (errno.EIO, StoreError)])
def test_a_put_that_fails_at_any_step_leaves_the_old_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str | None, fails: str, number: int, kind: type[Exception]
):
    files = FileSystemDatastore(tmp_path, fsync=True)
    key = Key("/a:b")
    if old is not None:
        files.put(key, old)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    class Failing:
        def __init__(self, path: str) -> None:
            self.file = Path(path).open("xb")  # noqa: SIM115

        def __enter__(self) -> Failing:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> None:
            self.file.write(data[:1])
            fail()

    if fails == "open":
        monkeypatch.setattr(disk, "write", fail)
    elif fails == "write":
        monkeypatch.setattr(disk, "open", lambda path, mode: Failing(path), raising=False)
    else:
        monkeypatch.setattr(disk.os, fails, fail)
    with pytest.raises(kind, match="/a:b: "):
        files.put(key, "new and longer")
    monkeypatch.undo()
    assert files.get(key) == old
    assert tree(tmp_path) == ([] if old is None else ["a/b.obj"])


def test_a_directory_that_cannot_be_synced_is_reported_although_the_value_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    files = FileSystemDatastore(tmp_path, fsync=True)
    files.put(Key("/a:b"), "old")

    def fail(_: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(disk, "sync_directory", fail)
        for write in (lambda: files.put(Key("/a:b"), "new"), lambda: files.delete(Key("/a:b"))):
            with pytest.raises(StoreError, match="/a:b: "):
                write()
    assert tree(tmp_path) == []


def test_all_directories_down_to_a_file_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    synced = []
    monkeypatch.setattr(disk, "sync_directory", synced.append)
    root = tmp_path / "new/root"
    files = FileSystemDatastore(root, fsync=True)
    assert set(synced) == {str(tmp_path), str(tmp_path / "new")}
    synced.clear()
    # Created by another process, which may not have synced it yet.
    (root / "a/b").mkdir(parents=True)
    files.put(Key("/a:b/c:d"), "x")
    assert synced == [str(root / "a/b/c"), str(root / "a/b"), str(root / "a"), str(root)]


def test_the_root_of_all_directories_is_a_root_too(files: FileSystemDatastore, monkeypatch: pytest.MonkeyPatch):
    synced: list[str] = []
    files.root, files._fsync = "/", True
    monkeypatch.setattr(disk, "write", lambda *_, **__: None)
    monkeypatch.setattr(disk.os, "replace", lambda *_: None)
    monkeypatch.setattr(disk, "sync_directory", synced.append)
    files.put(HELLO, "x")
    files.put(Key("/a:b/c:d"), "x")
    assert [path.replace("//", "/") for path in synced] == ["/", "/a/b/c", "/a/b", "/a", "/"]


KILLED = """
import os, signal, sys
from datastore.model.key import Key
from datastore.filesystem import FileSystemDatastore
step = int(sys.argv[2])
calls = 0

def count(event, arguments):
    # Audit hooks see opening, renaming and the like, one by one.
    global calls
    if event in ("open", "os.rename", "os.mkdir"):
        calls += 1
        if calls == step:
            os.kill(os.getpid(), signal.SIGKILL)

files = FileSystemDatastore(sys.argv[1], fsync=True)
sys.addaudithook(count)
files.put(Key("/a:b"), "new" * 1000)
print("done")
"""


@pytest.mark.parametrize("old", [None, "old"])
def test_a_put_killed_at_any_step_leaves_the_old_value_or_the_new(tmp_path: Path, old: str | None):
    import sys

    finished = False
    for step in range(1, 12):
        root = tmp_path / str(step)
        files = FileSystemDatastore(root)
        if old is not None:
            files.put(Key("/a:b"), old)
        done = subprocess.run(
            [sys.executable, "-c", KILLED, root, str(step)], capture_output=True, text=True, check=False
        )
        assert FileSystemDatastore(root).get(Key("/a:b")) in (old, "new" * 1000)
        found = list(files.query(Query(Key("/"), recursive=True)))
        assert found in ([] if old is None else [old], ["new" * 1000])
        if done.stdout:
            finished = True
            break
        assert done.returncode == -9, done.stderr
    assert finished
    assert step > 3


def test_a_full_disk_is_reported_and_loses_nothing(tmp_path: Path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        # The same fault, injected, is in the tests above.
        return
    try:
        files = FileSystemDatastore(disk)
        files.put(HELLO, "old")
        with pytest.raises(StoreFullError, match="/hello"):
            files.put(HELLO, b"x" * 1_000_000)
        assert files.get(HELLO) == "old"
        assert tree(disk) == ["hello.obj"]
        files.put(HELLO, "new")
        assert files.get(HELLO) == "new"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_directory_in_place_of_a_file_means_absent(files: FileSystemDatastore):
    Path(files.object_path(HELLO)).mkdir()
    assert files.get(HELLO) is None
    assert files.contains(HELLO) is False
    files.delete(HELLO)
    with pytest.raises(StoreError, match="/hello"):
        files.put(HELLO, "x")
    assert tree(Path(files.root)) == []
    assert Path(files.object_path(HELLO)).is_dir()


def test_a_file_in_place_of_a_directory_means_absent(files: FileSystemDatastore):
    (Path(files.root) / "a").write_text("")
    assert files.get(Key("/a:b")) is None
    files.delete(Key("/a:b"))
    assert list(files.query(Query(Key("/a")))) == []
    with pytest.raises(StoreError, match="/a:b"):
        files.put(Key("/a:b"), "x")


def test_files_have_the_mode_that_the_umask_gives(files: FileSystemDatastore):
    files.put(HELLO, "x")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(Path(files.object_path(HELLO)).stat().st_mode) == 0o666 & ~mask


# Custom extensions and layouts.

TREE = [
    Key(text)
    for text in ("/", "/a", "/a/b", "/a:b", "/a/T:x", "/a.json", "/a.json/b", "/x.obj/y", "/:b", "/a/" + "k" * 300)
]


def extended(root: Path, extension: str, *, instance: bool) -> FileSystemDatastore:
    cls = FileSystemDatastore if instance else type("Own", (FileSystemDatastore,), {"object_extension": extension})
    store = cls(root)
    if instance:
        store.object_extension = extension
    return store


def entries_of(store: Any) -> dict[Key, Any]:
    return dict(store.query(Query(Key("/"), recursive=True)).entries())


@pytest.mark.parametrize("instance", [False, True])
@pytest.mark.parametrize("extension", [".json", ".obj", ".JSON", ".a.b", "." + "e" * 99])
def test_all_operations_work_with_another_extension(tmp_path: Path, extension: str, instance: bool):
    store, model = extended(tmp_path, extension, instance=instance), core.DictDatastore()
    for key in TREE:
        for each in (store, model):
            each.put(key, str(key))
    assert [name for name in tree(tmp_path) if not name.endswith(extension)] == []
    assert entries_of(store) == entries_of(model)
    for key in TREE:
        assert (store.get(key), store.contains(key)) == (str(key), True)
        assert list(store.query(Query(key)).entries()) == list(model.query(Query(key)).entries())
        if key.parent != key:
            assert (tmp_path / store.relative_object_path(key)).is_file()
    over = core.ShardedDatastore([core.TieredDatastore([core.DictDatastore(), store])])
    assert entries_of(over) == entries_of(model)
    for key in TREE:
        store.delete(key)
    assert entries_of(store) == {}


def test_files_with_another_extension_are_ignored(tmp_path: Path):
    ours, theirs = extended(tmp_path, ".json", instance=True), FileSystemDatastore(tmp_path)
    ours.put(Key("/a"), "ours")
    theirs.put(Key("/a"), "theirs")
    assert (entries_of(ours), entries_of(theirs)) == ({Key("/a"): "ours"}, {Key("/a"): "theirs"})


@pytest.mark.parametrize("extension", ["", "json", ".", "./x", ".a/b", ".a b", ".é", ".a%", "." + "e" * 100, 3, None])
def test_an_extension_that_files_cannot_have_is_refused(tmp_path: Path, extension: Any):
    store = extended(tmp_path, extension, instance=True)
    for call in (lambda: store.get(HELLO), lambda: store.put(HELLO, "x"), lambda: list(store.query(Query(Key("/"))))):
        with pytest.raises((InvalidError, UnsupportedTypeError), match="object_extension must be"):
            call()
    assert tree(tmp_path) == []


LAYOUTS: dict[str, dict[str, Any]] = {
    "flat": {"relative_object_path": lambda self, key: f"{hashlib.sha256(str(key).encode()).hexdigest()}.dat"},
    "by letter": {
        "relative_object_path": lambda self, key: f"{str(key)[1:2]}/{super(type(self), self).relative_object_path(key)}"
    },
    "another root": {"object_path": lambda self, key: f"{self.root}/deeper/../deeper/{self.relative_object_path(key)}"},
    "directories": {"relative_path": lambda self, key: "d" + super(type(self), self).relative_path(key)},
    "as in 0.3.0": {
        "relative_path": lambda self, key: str(key).replace(":", "/")[1:],
        "relative_object_path": lambda self, key: self.relative_path(key) + self.object_extension,
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_entries_are_found_where_an_override_puts_them(tmp_path: Path, layout: str):
    store, model = type("Own", (FileSystemDatastore,), LAYOUTS[layout])(tmp_path), core.DictDatastore()
    keys = [Key(text) for text in ("/a", "/a/b", "/a/T:x", "/b/c/d")]
    for key in keys:
        for each in (store, model):
            each.put(key, str(key))
            each.put(key.child("bytes"), b"\xff")
    assert entries_of(store) == entries_of(model)
    for key in keys:
        assert (store.get(key), store.contains(key)) == (str(key), True)
        assert list(store.query(Query(key)).entries()) == list(model.query(Query(key)).entries())
        assert Path(store.object_path(key)).is_file()
        store.delete(key)
        assert not store.contains(key)


def test_two_keys_in_one_file_are_detected(tmp_path: Path):
    store = type("Own", (FileSystemDatastore,), {"relative_object_path": lambda self, key: "one.dat"})(tmp_path)
    store.put(Key("/a"), "a")
    store.put(Key("/b"), "b")
    assert store.get(Key("/b")) == "b"
    with pytest.raises(CorruptDataError, match="header does not name the key /a"):
        store.get(Key("/a"))


def test_files_of_another_program_are_read_where_an_override_looks(tmp_path: Path):
    store = type("Own", (FileSystemDatastore,), {"relative_object_path": lambda self, key: f"{key.name}.txt"})(tmp_path)
    (tmp_path / "x.txt").write_text("theirs")
    assert store.get(Key("/any/x")) == "theirs"


def test_a_file_that_no_query_would_find_is_refused(tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    own = {"object_path": lambda self, key: f"{elsewhere}/{key.name}.dat"}
    store = type("Own", (FileSystemDatastore,), own)(tmp_path / "root")
    with pytest.raises(InvalidError, match="object_path"):
        store.put(Key("/c/a"), "x")
    assert not elsewhere.exists()
    found = type("Own", (FileSystemDatastore,), {**own, "path": lambda self, key: str(elsewhere)})(tmp_path / "root")
    found.put(Key("/c/a"), "x")
    assert list(found.query(Query(Key("/c"))).entries()) == [(Key("/c/a"), "x")]


def test_no_read_or_query_sees_a_system_record(tmp_path: Path) -> None:
    with FileSystemDatastore(tmp_path) as store:
        assert store.read_system("placement") is None
        for content in (b"\x00first", b""):
            store.write_system("placement", content)
            assert store.read_system("placement") == content
        store.write_system("x.obj", b"1")
        store.put(Key("/a"), "1")
        everything = Query(Key("/"), recursive=True)
        assert [entry.key for entry in store.query(everything).entries()] == [Key("/a")]
        assert store.get(Key("/.datastore/x")) is None


def test_a_root_that_is_gone_raises_instead_of_having_no_record(tmp_path: Path) -> None:
    with FileSystemDatastore(tmp_path / "root") as store:
        (tmp_path / "root").rename(tmp_path / "elsewhere")
        with pytest.raises(StoreError, match="root is gone"):
            store.read_system("placement")


def test_a_url_names_the_extension_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "note.md").write_text("# Hello")
    (tmp_path / "other.txt").write_text("no entry")
    with datastore.open(f"file://{tmp_path}?extension=.md") as store:
        assert [tuple(entry) for entry in store.query(Query(Key("/"))).entries()] == [(Key("/note"), "# Hello")]
        store.put(Key("/b"), "2")
    assert (tmp_path / "b.md").read_text() == "2"
    with pytest.raises(InvalidError, match="must be a dot"):
        datastore.open(f"file://{tmp_path}?extension=md")
