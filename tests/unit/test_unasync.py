"""What the tool that writes the threaded twins does to a source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tools import unasync

TRICKY = """
async def first(self, calls: Sequence[Callable[[], Awaitable[dict[str, list[int]]]]]) -> Awaitable[None]:
    async with self.lock, other as it:
        async for x in aiter(self):
            yield await (await x.aclose())
    return [y async for y in x if await y.ok] + {await z: 1 async for z in x}
"""


@pytest.mark.parametrize(
    ("source", "twin"),
    [
        ("async def f(): pass", "def f(): pass"),
        ("async  with a as b: pass", "with a as b: pass"),
        ("async for a in b: pass", "for a in b: pass"),
        ("x = await f(await g())", "x = f(g())"),
        ("x = await(f())", "x = (f())"),
        ("[a async for a in b]", "[a for a in b]"),
        ("async def __aexit__(self): await self.aclose()", "def __exit__(self): self.close()"),
        ("x = await anext(aiter(b), None)", "x = next(iter(b), None)"),
        ("raise StopAsyncIteration", "raise StopIteration"),
        ("def f() -> AsyncGenerator[Batch]: ...", "def f() -> Generator[Batch]: ..."),
    ],
)
def test_python_names_are_replaced(source: str, twin: str) -> None:
    assert unasync.unasync(source + "\n") == twin + "\n"


def test_the_type_of_an_async_callable_becomes_that_of_a_plain_one() -> None:
    source = "def f(a: Callable[[int], Awaitable[dict[str, list[int]]]], b: Awaitable[Awaitable[T]]): ...\n"
    assert unasync.unasync(source) == "def f(a: Callable[[int], dict[str, list[int]]], b: T): ...\n"


@pytest.mark.parametrize(
    ("source", "twin"),
    [
        ("from datastore.aio.testing import a", "from datastore.testing import a"),
        ("from datastore.aio.base import a", "from datastore.sync.base import a"),
        ("from datastore_client.aio.remote import a", "from datastore_client.remote import a"),
        ("x: grpc.aio.Channel", "x: grpc.Channel"),
        ("from datastore.aiouring import a", "from datastore.aiouring import a"),
    ],
)
def test_packages_are_mapped_the_longest_first(source: str, twin: str) -> None:
    assert unasync.unasync(source + "\n") == twin + "\n"


@pytest.mark.parametrize(
    ("text", "twin"),
    [
        ("the twin is `datastore.aio.base`", "the twin is `datastore.sync.base`"),
        ("made by `datastore.aio.lift`", "made by `datastore.aio.lift`"),
        ("say `await store.get(key)` here", "say `store.get(key)` here"),
        ("async with store:", "with store:"),
        ("close it (`aclose`)", "close it (`close`)"),
        ("for async stores, which await nothing", "for async stores, which await nothing"),
    ],
)
def test_text_and_comments_change_only_where_they_name_code(text: str, twin: str) -> None:
    assert unasync.unasync(f'"""{text}"""\n# {text}\n') == f'"""{twin}"""\n# {twin}\n'


def test_names_that_only_contain_a_word_stay() -> None:
    source = "my_await = async_names.aclose_all = anext_key = 'nothing'\n"
    assert unasync.unasync(source) == source


def test_code_inside_a_formatted_string_is_changed_too() -> None:
    assert unasync.unasync('x = f"{await f()} and {a.aclose}"\n') == 'x = f"{f()} and {a.close}"\n'


@pytest.mark.parametrize("source", ["import asyncio\n", "x = asyncio.Lock()\n", "from grpc import aio\n"])
def test_code_that_has_no_twin_is_refused_with_its_line(source: str) -> None:
    with pytest.raises(ValueError, match="line 2"):
        unasync.unasync("\n" + source)


def test_nothing_async_remains_of_tricky_code() -> None:
    tree = ast.parse(unasync.unasync(TRICKY))
    colours = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    assert not [node for node in ast.walk(tree) if isinstance(node, colours) or getattr(node, "is_async", False)]


def test_the_twin_is_formatted_and_without_imports_that_it_does_not_need() -> None:
    source = (
        "from collections.abc import AsyncIterable, Awaitable, Iterable\n"
        "async def f(a: AsyncIterable[int] | Iterable[int]) -> Awaitable[int]: return a\n"
    )
    assert unasync.formatted(unasync.unasync(source)) == (
        "from collections.abc import Iterable\n\n\ndef f(a: Iterable[int]) -> int:\n    return a\n"
    )


def test_formatting_a_twin_again_changes_nothing() -> None:
    for _, twin in unasync.pairs():
        assert unasync.formatted(twin.read_text()) == twin.read_text()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one source and its twin."""
    for folders in unasync.FOLDERS:
        for folder in folders:
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / "datastore/aio/store.py").write_text('"""A store."""\n\n\nasync def get() -> int:\n    return 1\n')
    monkeypatch.setattr(unasync, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["unasync.py"])
    assert unasync.main() == 0
    return tmp_path


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda twin: twin.write_text(twin.read_text() + "# more\n"), id="lengthened"),
        pytest.param(lambda twin: twin.write_text(twin.read_text()[:-1]), id="shortened"),
        pytest.param(lambda twin: twin.unlink(), id="missing"),
        pytest.param(lambda twin: twin.with_name("gone.py").write_text(twin.read_text()), id="without a source"),
    ],
)
def test_check_finds_a_twin_that_differs_and_writes_nothing(
    repository: Path, damage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["unasync.py", "--check"])
    assert unasync.main() == 0
    damage(repository / "datastore/sync/store.py")
    before = {path: path.read_text() for path in repository.rglob("*.py")}
    assert unasync.main() == 1
    assert "datastore/sync/" in capsys.readouterr().out
    assert {path: path.read_text() for path in repository.rglob("*.py")} == before


def test_a_twin_names_its_source(repository: Path) -> None:
    text = (repository / "datastore/sync/store.py").read_text()
    assert text.startswith("# Generated by tools/unasync.py from datastore/aio/store.py; do not edit.\n")
    assert text.endswith("def get() -> int:\n    return 1\n")
