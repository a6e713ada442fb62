"""The code blocks of README and docs, run unchanged, each according to its language."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import datastore
from datastore import Key, Query, aio, spec
from datastore.model.errors import ConfigError, InvalidError
from datastore_client import connect
from datastore_server.config import load_config, tiers_of
from datastore_server.server_config import load_server
from tests.support import clusters
from tests.support.commands import server_process
from tests.support.local_clusters import Running, cluster
from tests.support.waiting import PATIENCE_S
from tools import client_pages

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
README, BACKENDS, SERVING = ROOT / "README.md", ROOT / "docs/backends.md", ROOT / "docs/serving.md"
CLIENTS = ROOT / "docs/clients.md"
TIERS, MONITORING, SECURITY = ROOT / "docs/tiers.md", ROOT / "docs/monitoring.md", ROOT / "docs/security.md"
#: Pages with examples at the prompt of Python, which run in one session a page.
AT_THE_PROMPT = [page for page in PAGES if "```pycon" in page.read_text() and page != CLIENTS]
#: Languages and the pages that have them; `text` is for pictures and messages.
EXPECTED = {
    # Run by tests/clients, as are those of CLIENTS.
    "go": [ROOT / "docs/protocol.md"],
    "typescript": [ROOT / "docs/protocol.md"],
    "pycon": [*AT_THE_PROMPT, CLIENTS],
    "python": [README, BACKENDS, ROOT / "docs/collections.md"],
    "sh": [
        README,
        ROOT / "docs/benchmarking.md",
        ROOT / "docs/cli.md",
        ROOT / "docs/configuration.md",
        ROOT / "docs/protocol.md",
        SERVING,
        MONITORING,
        SECURITY,
        ROOT / "docs/operations.md",
        ROOT / "docs/writing-a-client.md",
    ],
    "toml": [
        BACKENDS,
        ROOT / "docs/compositions.md",
        ROOT / "docs/configuration.md",
        SERVING,
        TIERS,
        MONITORING,
        SECURITY,
        ROOT / "docs/operations.md",
    ],
}
#: What is cut from the samples of the clients.
for language in client_pages.samples():
    EXPECTED.setdefault(language, []).extend([CLIENTS] + [README] * (language in client_pages.IN_README))
ADDRESS = "127.0.0.1:7420"


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def run(command: list[str], directory: Path, **environment: str) -> str:
    """What a command prints. It must succeed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), str(ROOT / "build"), os.environ["PATH"]])
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The cluster that the README has its reader start, on a free port."""
    line = shlex.split(blocks(README, "sh")[2])
    assert line[:2] == ["datastore", "cluster"]
    directory, port = line.index("--directory"), line.index("--port")
    assert line[port + 1] == ADDRESS.rpartition(":")[2]
    options = [word for place, word in enumerate(line) if place not in (0, 1, directory, directory + 1, port, port + 1)]
    with cluster(tmp_path_factory.mktemp("readme") / line[directory + 1], *options, "--port", "0") as running:
        yield running


def test_every_block_is_of_a_language_that_is_run():
    for page in PAGES:
        fences = re.findall(r"^```(.*)$", page.read_text(), re.MULTILINE)
        assert fences[1::2] == [""] * (len(fences) // 2), page
        languages = set(fences[::2]) - {"text"}
        assert languages == {language for language, pages in EXPECTED.items() if page in pages}, page


@pytest.mark.parametrize("page", AT_THE_PROMPT, ids=lambda page: page.name)
def test_the_prompt_examples_of_a_page_print_what_it_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for text in blocks(page, "toml")[:1]:
        # The file that the page names.
        (tmp_path / "stores.toml").write_text(text)
    check_prompt(page, {})


def test_the_prompt_examples_of_clients_print_what_the_page_shows() -> None:
    with server_process("serve", "memory:", "--listen", "127.0.0.1:0") as ready, connect(ready["url"]) as store:
        check_prompt(CLIENTS, {"store": store})


def check_prompt(page: Path, names: dict[str, Any]) -> None:
    """Run the examples at the prompt of a page, in one session that begins with these names."""
    text = "\n".join(blocks(page, "pycon"))
    example = doctest.DocTestParser().get_doctest(text, names, page.name, str(page), 0)
    result = doctest.DocTestRunner().run(example)
    assert (result.failed, result.attempted > 5) == (0, True)


@pytest.mark.long("the suite over the backends of docs/backends.md")
def test_the_documented_backends_pass_the_suite(tmp_path: Path):
    (tmp_path / "test_shelf.py").write_text("\n".join(blocks(BACKENDS, "python")))
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    # Few random examples, as other tests have.
    profile = 'from hypothesis import settings\nsettings.register_profile("few", max_examples=10)\n'
    (tmp_path / "conftest.py").write_text(f'{profile}settings.load_profile("few")\n')
    options = ["-q", "-p", "no:cacheprovider", "-c", str(tmp_path / "pytest.ini")]
    printed = run([sys.executable, "-m", "pytest", *options, str(tmp_path)], tmp_path)
    assert int(re.findall(r"(\d+) passed", printed)[0]) > 100


async def test_the_backend_of_another_package_is_a_kind_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its module, its Config and its entry point as the page shows them, and nothing else."""
    ((group, names),) = tomllib.loads(blocks(BACKENDS, "toml")[0])["project"]["entry-points"].items()
    ((kind, target),) = names.items()
    module = target.partition(":")[0]
    shelf, *_, config = (text for text in blocks(BACKENDS, "python") if "pytest" not in text and "aio" not in text)
    (tmp_path / f"{module}.py").write_text(f"{shelf}\n{config}")
    info = tmp_path / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{kind} = {target}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with datastore.open("shelf:?boards=3") as store:
        store.put(Key("/a"), 1)
        assert store.get(Key("/a")) == 1
    composition = {"kind": "sharded", "children": ["shelf:", {"kind": "shelf", "boards": 3}]}
    with datastore.open(composition) as store:
        store.put(Key("/a"), 1)
        assert list(store.query(Query(Key("/")))) == [1]
    async with aio.open(composition) as lifted:
        await lifted.put(Key("/a"), 1)
        assert [value async for value in lifted.query(Query(Key("/")))] == [1]
    tree = spec.parse_tree({"store": {"main": composition}})
    assert spec.parse_tree(tomllib.loads(spec.dump_tree(tree)), "main") == tree
    with pytest.raises(ConfigError, match=r"^stores.toml: store.main.bords: unknown key; .* did you mean boards\?"):
        spec.parse_tree({"store": {"main": {"kind": "shelf", "bords": 3}}}, source="stores.toml")
    with pytest.raises(InvalidError, match=r"unknown scheme 'shelv'.* shelf:.*; did you mean shelf:"):
        datastore.open("shelv:")


def test_the_setup_commands_name_existing_files(tmp_path: Path):
    # The commands that run this test, and an interactive shell.
    make, activate, *_ = blocks(README, "sh")
    for line in make.splitlines():
        run(["make", "--dry-run", *shlex.split(line, comments=True)[1:]], ROOT)
    assert activate == "source .venv/bin/activate\n"


def test_the_readme_on_the_command_line_and_from_python(running: Running, tmp_path: Path):
    commands = blocks(README, "sh")[3]
    printed = run(["bash", "-euc", commands], tmp_path, DATASTORE_SERVER=running.url)
    # What `get` and `query` print, the count, and the status.
    assert [printed.count(text) for text in ("Samedan", "Zurich", "\n2\n")] == [2, 1, 1]
    assert "shard-3" in printed
    over_server, alone = blocks(README, "python")
    assert ADDRESS in over_server
    printed = run([sys.executable, "-c", over_server.replace(f"grpc://{ADDRESS}", running.url)], tmp_path)
    assert "Samedan\nZurich\n" in printed
    assert run([sys.executable, "-c", alone], tmp_path) == "['world']\n"


@pytest.mark.parametrize(("page", "number"), [(README, 4), (ROOT / "docs/protocol.md", 0)], ids=["readme", "protocol"])
def test_grpcurl_needs_no_files(page: Path, number: int, running: Running, tmp_path: Path):
    if shutil.which("grpcurl", path=os.pathsep.join([str(ROOT / "build"), os.environ["PATH"]])) is None:
        pytest.skip("no grpcurl: make engines, which needs Go")
    with connect(running.url) as store:
        store.put(Key("/Airport:LSZS"), {"country": "CH"})
    commands = blocks(page, "sh")[number]
    assert ADDRESS in commands
    printed = run(["bash", "-euc", commands.replace(ADDRESS, running.url.removeprefix("grpc://"))], tmp_path)
    assert '"/Airport:LSZS"' in printed
    assert '"CH"' in printed


def test_the_documented_proxy_is_a_store():
    names: dict[str, object] = {}
    exec(blocks(ROOT / "docs/collections.md", "python")[0], names)
    key = Key("/by-hand/x")
    # Nodes without a cluster: others refuse keys that their proxy would send elsewhere.
    with clusters.background() as loop, loop.running(clusters.node()) as one, loop.running(clusters.node()) as other:
        with names["cluster"]([one.url, other.url]) as store:  # type: ignore[operator]
            store.put(key, 1)
            assert store.get(key) == 1


@pytest.mark.long("the commands of docs/benchmarking.md")
def test_the_documented_benchmarks_measure_a_cluster(running: Running, tmp_path: Path) -> None:
    (commands,) = blocks(ROOT / "docs/benchmarking.md", "sh")
    assert "--duration 30s" in commands
    short = commands.replace("--duration 30s", "--duration 200ms --warm-up 0 --keys 100")
    printed = run(["bash", "-euc", short], tmp_path, DATASTORE_SERVER=running.url)
    assert "p99 ms" in printed
    assert "with 64 calls in flight" in printed


@pytest.mark.long
def test_the_explanation_of_the_command_line_is_a_real_one(tmp_path: Path) -> None:
    (shown,) = (text for text in blocks(ROOT / "docs/cli.md", "text") if "--explain" in text)
    command, _, expected = shown.partition("\n")
    with cluster(tmp_path / "my-cluster", "--nodes", "2", "--port", "0") as running:
        with connect(running.url) as store:
            store.batch_write(
                [
                    datastore.Write(
                        Key(f"/City:{number:03}"), {"country": "CH" if number % 3 else "AT", "people": number}
                    )
                    for number in range(1000)
                ]
            )
        printed = run(shlex.split(command.removeprefix("$ ")), tmp_path, DATASTORE_SERVER=running.url)
    # Times, ports and the place of the directory differ.
    masks = [(r"[0-9.]+ ms", "T ms"), (r"127\.0\.0\.1:\d+", "ADDRESS"), (r"lmdb \(.*?my-cluster", "lmdb (my-cluster")]
    for pattern, mask in masks:
        printed, expected = re.sub(pattern, mask, printed), re.sub(pattern, mask, expected)
    assert printed == expected


def test_the_shell_accepts_the_completion_line(tmp_path: Path):
    lines = blocks(ROOT / "docs/cli.md", "sh")[-1].splitlines()
    shells = {line.rsplit("# ", 1)[1].split(",")[0]: line for line in lines}
    assert list(shells) == ["bash", "zsh", "fish"]
    for shell, line in shells.items():
        # bash is everywhere; the others are tested if installed.
        if shell == "bash" or shutil.which(shell):
            run([shell, "-c", line], tmp_path)


@pytest.mark.long
def test_a_cluster_gets_a_cache_as_shown(tmp_path: Path):
    one, shared, *_ = blocks(TIERS, "toml")
    with cluster(tmp_path, "--nodes", "1") as running:
        running.cli("put", "/airports/ZRH", '{"feet": 1416}')
    path = tmp_path / "cluster.toml"
    written = path.read_text()
    path.write_text(written.replace("[proxy]\n", f"[proxy]\n{shared}"))
    assert len(tiers_of(load_config(path), str(path))) == 2
    path.write_text(written.replace("[proxy]\n", f"[proxy]\n{one}"))
    with cluster(tmp_path) as running:
        for _ in range(4):
            assert "1416" in running.cli("get", "/airports/ZRH")
        shown = running.cli("status")
    assert one in path.read_text()
    (lru,) = [line.split() for line in shown.splitlines() if "lru" in line and "%" in line]
    assert lru[-3:] == ["3", "1", "75.0%"]


def test_the_documented_cluster_whose_caches_follow_its_changes_is_accepted(tmp_path: Path):
    path = tmp_path / "cluster.toml"
    path.write_text('[cluster]\nname = "trial"\n' + blocks(TIERS, "toml")[3])
    config = load_config(path)
    assert config.proxy.invalidate == "watch"
    assert config.shards[0].store.endswith("?changes=true")


def test_the_documented_composition_with_tiers_is_accepted(tmp_path: Path):
    (tmp_path / "server.toml").write_text(blocks(TIERS, "toml")[2])
    assert [child.kind for _, child in load_server(tmp_path / "server.toml").store.tree.parts()] == [
        "lru",
        "redis",
        "sharded",
    ]


def test_the_documented_configuration_is_valid_and_its_error_is_as_shown(tmp_path: Path):
    page = ROOT / "docs/configuration.md"
    path = tmp_path / "cluster.toml"
    path.write_text(blocks(page, "toml")[0])
    assert [shard.name for shard in load_config(path).shards] == ["shard-1", "shard-2"]
    path.write_text(blocks(page, "toml")[0] + "prot = 1\n")
    with pytest.raises(ConfigError) as raised:
        load_config(path)
    shown = blocks(page, "text")[0].removeprefix("Error: cluster.toml: ").strip()
    assert shown.replace("shards[0]", "shards[1]") in str(raised.value)
