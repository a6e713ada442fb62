"""Checks of the repository itself: generated files, layers, documentation, packaging."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.message import Message
from google.rpc import status_pb2

import datastore
import datastore_client
import datastore_server
from datastore import aio
from datastore.core import basic
from datastore.model.config import Config
from datastore.v1 import maintenance_pb2, placement_pb2, service_pb2
from datastore_server.cli import cli
from datastore_server.maintenance.restores import Restores
from datastore_server.maintenance.service import MaintenanceService
from datastore_server.placement.node import PlacedNode
from datastore_server.placement.service import PlacementService
from datastore_server.service import DatastoreService
from tools import client_pages, clients, generate, kinds, unasync

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
#: The longest function, in lines, which fits on a screen.
FUNCTION_LINES = 70
LINE_LENGTH = PROJECT["tool"]["ruff"]["line-length"]
TWINS = {twin for _, twin in unasync.pairs()}
#: The clients in other languages, and what each of their Makefiles can make.
CLIENTS = [ROOT / "client" / language for language in clients.languages()]
CLIENT_TARGETS = {"ready", "generate", "check", "test", "driver", "sample", "operations"}
#: Where a client says its version: the file of its package, and what is before the version there.
CLIENT_VERSIONS = {
    "package.json": r'^  "version": "',
    "pom.xml": r"^  <version>",
    "Cargo.toml": r'^version = "',
    "CMakeLists.txt": r"^project\(datastore-client VERSION ",
}


def files() -> list[Path]:
    """Every file of the repository."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("no git checkout: which files belong to the repository is not known")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def texts() -> Iterator[tuple[Path, str]]:
    """Every file that a person writes or reads, with its text."""
    for path in files():
        if path.suffix != ".binpb" and not is_message(path):
            yield path, path.read_text()


def is_message(path: Path) -> bool:
    """Whether a file is code that was generated from the protos."""
    folders = (ROOT / "datastore/v1", *(client / "gen" for client in CLIENTS))
    return any(folder in path.parents for folder in folders)


def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text())


def shipped() -> list[Path]:
    """Every Python file that callers run. The conformance suite is run by pytest."""
    packages = [ROOT / name for name in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
    return [
        path
        for path in files()
        if path.suffix == ".py" and path.parent.name != "testing" and {*path.parents}.intersection(packages)
    ]


def modules() -> list[ModuleType]:
    """Every public module of the three packages, generated messages left out."""
    names = []
    for package in (datastore, datastore_client, datastore_server):
        names.append(package.__name__)
        names += [found.name for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    public = [name for name in names if not re.search(r"\._", name) and not name.startswith("datastore.v1")]
    return [importlib.import_module(name) for name in public]


# Generated files.


def test_the_messages_match_the_protos() -> None:
    assert generate.check() == 0


def test_the_protocol_is_clean_and_breaks_nothing() -> None:
    assert generate.lint() == 0


@pytest.mark.parametrize("fault", ["message Undocumented {}", "// Well documented.\nmessage lowercase {}"])
def test_a_fault_in_the_protocol_is_found(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    copy_protos(tmp_path, monkeypatch)
    path = tmp_path / "datastore/v1/value.proto"
    path.write_text(f"{path.read_text()}\n{fault}\n")
    assert generate.lint() != 0
    assert "datastore/v1/value.proto" in capfd.readouterr().out


def test_googles_proto_matches_the_installed_package(tmp_path: Path) -> None:
    out = tmp_path / "status.binpb"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{generate.PROTOS}", f"--descriptor_set_out={out}"]
    subprocess.run([*command, "google/rpc/status.proto"], check=True)
    (ours,) = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    theirs = descriptor_pb2.FileDescriptorProto()
    status_pb2.DESCRIPTOR.CopyToProto(theirs)
    for file in (ours, theirs):
        file.ClearField("options")  # For other languages, which a new release may add.
    for field in ours.message_type[0].field:
        field.ClearField("json_name")  # Which generated code leaves out.
    assert ours == theirs


def test_buf_accepts_the_protos() -> None:
    buf = str(generate.BIN / "buf")
    for command in (["build", "--output", "/dev/null"], ["lint"]):
        done = subprocess.run([buf, *command], cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_break_of_the_protocol_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    copy_protos(tmp_path, monkeypatch)
    path = tmp_path / "datastore/v1/value.proto"
    assert re.search(r" = 1;", path.read_text())
    path.write_text(re.sub(r" = 1;", " = 1000;", path.read_text(), count=1))
    assert generate.lint() != 0
    assert "value.proto" in capfd.readouterr().out


def copy_protos(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tool use a copy of the protos in `target`."""
    for path in generate.PROTOS.rglob("*.proto"):
        copy = target / path.relative_to(generate.PROTOS)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    monkeypatch.setattr(generate, "PROTOS", target)


@pytest.mark.parametrize("pair", list(unasync.pairs()), ids=lambda pair: pair[1].relative_to(ROOT).as_posix())
def test_a_twin_matches_its_source(pair: tuple[Path, Path]) -> None:
    source, twin = pair
    assert twin.read_text() == unasync.twin_text(source)


def test_the_tables_of_options_and_limits_match_the_code() -> None:
    for path, text in kinds.pages().items():
        assert path.read_text() == text


def test_the_pages_show_the_samples_of_the_clients() -> None:
    for path, text in client_pages.pages().items():
        assert path.read_text() == text


def test_every_twin_has_a_source() -> None:
    assert unasync.orphans() == []


def test_every_generated_file_is_marked_as_such() -> None:
    generated = sorted({*TWINS, *filter(is_message, files())})
    names = [path.relative_to(ROOT).as_posix() for path in generated]
    marks = subprocess.run(
        ["git", "check-attr", "linguist-generated", *names], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert [line for line in marks.stdout.splitlines() if not line.endswith(": true")] == []


def test_dependency_floors_are_what_generated_code_asks_for() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    grpc = found(r"GRPC_GENERATED_VERSION = '(.+)'", "service_pb2_grpc.py")
    protobuf = found(r"# Protobuf Python Version: (.+)", "service_pb2.py")
    next_major = int(protobuf.split(".")[0]) + 1
    assert f"grpcio>={grpc}" in extras["client"]
    assert f"protobuf>={protobuf},<{next_major}" in extras["client"]
    assert f"grpcio-tools=={grpc}" in extras["dev"]


def found(pattern: str, name: str) -> str:
    """The version in the header of a generated file."""
    match = re.search(pattern, (ROOT / "datastore/v1" / name).read_text())
    assert match, f"{name} has no {pattern}"
    return match[1]


# Layers.


def test_imports_point_down() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("package", ["datastore", "datastore.core", "datastore.aio"])
def test_the_library_loads_no_driver_and_no_grpc(package: str) -> None:
    loaded = {name.split(".")[0] for name in loaded_by(f"import {package}")}
    assert not loaded & {"grpc", "google", "lmdb", "pytest", "hypothesis", "datastore_client", "datastore_server"}


def test_the_library_loads_fast() -> None:
    """`import datastore` takes less than 50 ms: it loads only the errors, and other modules when they are used."""
    assert {name for name in loaded_by("import datastore") if name.startswith("datastore.")} == {
        "datastore.model",
        "datastore.model.errors",
    }


@pytest.mark.parametrize(
    ("use", "spared"),
    [
        ("datastore.Key('/a')", {"datastore.model.query", "datastore.sync"}),
        ("datastore.Query(datastore.Key('/a'))", {"datastore.sync"}),
        # Stores over other stores, and watching.
        ("datastore.DictDatastore()", {"datastore.sync.shims", "datastore.core.basic", "datastore.sync.watching"}),
    ],
)
def test_a_public_name_loads_what_it_needs(use: str, spared: set[str]) -> None:
    """And none of the standard library's modules that take long to load, except `typing`."""
    slow = {"asyncio", "dataclasses", "decimal", "inspect", "json", "logging", "pathlib", "socket", "urllib.parse"}
    assert not loaded_by(f"import datastore; {use}") & (slow | spared)


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


# Completeness.


@pytest.mark.parametrize(
    ("service", "served"),
    [
        (service_pb2.DESCRIPTOR.services_by_name["DatastoreService"], DatastoreService(aio.DictDatastore())),
        (
            placement_pb2.DESCRIPTOR.services_by_name["PlacementService"],
            PlacementService(PlacedNode(aio.DictDatastore())),
        ),
        (
            maintenance_pb2.DESCRIPTOR.services_by_name["MaintenanceService"],
            MaintenanceService(Restores(PlacedNode(aio.DictDatastore()))),
        ),
    ],
    ids=["DatastoreService", "PlacementService", "MaintenanceService"],
)
async def test_the_services_answer_every_rpc(service: Any, served: Any) -> None:
    served_methods = {method.path: method for method in served.methods()}
    for method in service.methods:
        found = served_methods[f"/{service.full_name}/{method.name}"]
        assert found.takes_stream == method.client_streaming
        assert found.is_stream == method.server_streaming


#: The contract, stores that keep nothing, and bases of other stores.
NO_STORES = {"Datastore", "DatastoreCollection", "NullDatastore", "ShimDatastore"}
#: Modules and packages of the library that are not backends: the core, and its documented short paths.
NO_BACKENDS = {
    *("__init__", "__main__", "aio", "basic", "core", "errors", "key", "pylru", "query", "serialize", "testing", "v1"),
    *("engine", "model", "spec", "spill", "sync", "wire"),
}


def stores() -> set[str]:
    """What must pass the conformance suite: backends and the client by module, the library's stores by class."""
    modules = {found.name for found in pkgutil.iter_modules(datastore.__path__)} - NO_BACKENDS
    backends = {f"datastore.{name}" for name in modules}
    return backends | {"datastore_client", "SerializerShimDatastore"} | set(basic.__all__) - NO_STORES


@pytest.mark.parametrize("name", sorted(stores()))
def test_every_store_is_in_the_conformance_suite(name: str) -> None:
    suite = "\n".join(path.read_text() for path in (ROOT / "tests/conformance").glob("test_*.py"))
    assert re.search(rf"\b{re.escape(name)}\b", suite)


def announced() -> dict[str, str]:
    """The kinds of stores, and the class that each names."""
    points = PROJECT["project"]["entry-points"]["datastore.kinds"]
    return {kind: target.partition(":")[2] for kind, target in points.items()}


@pytest.mark.parametrize(("kind", "config"), announced().items(), ids=announced())
def test_every_kind_is_in_the_suite_by_its_config_and_on_the_page_of_kinds(kind: str, config: str) -> None:
    pages = [*(ROOT / "tests/conformance").glob("test_*.py"), ROOT / "tests/support/stacks.py"]
    suite = "\n".join(path.read_text() for path in pages)
    # Stores that keep nothing have no suite.
    assert re.search(rf"\b{config}\(", suite) or kind == "null"
    # The second name of a kind is for TLS.
    name = {"rediss": "redis", "grpcs": "grpc"}.get(kind, kind)
    assert kinds.kinds()[name].__name__ == config
    assert f"### `{name}`\n" in kinds.PAGE.read_text()


def test_every_kind_of_a_class_is_announced_and_every_backend_has_one() -> None:
    configs = {config.__name__ for module in modules() for config in vars(module).values() if is_kind(config)}
    assert configs == set(announced().values())
    backends = {name for name in stores() if name.startswith("datastore.")} | {"datastore_client"}
    targets = PROJECT["project"]["entry-points"]["datastore.kinds"].values()
    homes = {target.partition(":")[0] for target in targets}
    assert {name for name in backends if not any(f"{home}.".startswith(f"{name}.") for home in homes)} == set()


def is_kind(value: Any) -> bool:
    """Whether something is the Config of a kind of store that a table can name."""
    if not inspect.isclass(value) or value.__name__.startswith("_"):
        return False
    return issubclass(value, Config) and hasattr(value, "kind")


# Documentation.


def test_every_public_module_lists_its_names_and_all_exist() -> None:
    without = [module.__name__ for module in modules() if not hasattr(module, "__all__") and names_defined(module)]
    missing = [
        f"{module.__name__}.{name}"
        for module in modules()
        for name in getattr(module, "__all__", ())
        if not hasattr(module, name)
    ]
    assert (without, missing) == ([], [])


def names_defined(module: ModuleType) -> list[str]:
    """The public functions and classes that a module itself defines."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]


def test_every_public_name_is_documented() -> None:
    undocumented = {
        label
        for module in modules()
        for name in getattr(module, "__all__", ())
        for label, value in with_members(f"{module.__name__}.{name}", getattr(module, name))
        if not inspect.getdoc(value)
    }
    assert undocumented == set()


def with_members(label: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A public name and, for a class of ours, its public methods and properties. Tests need no docstring."""
    if not inspect.isclass(value) and not inspect.isroutine(value):
        return
    if inspect.isclass(value) and issubclass(value, Message):
        return  # Documented in the protos.
    yield label, value
    if inspect.isclass(value) and ".testing" not in value.__module__:
        for name, member in vars(value).items():
            if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                yield f"{label}.{name}", getattr(value, name)


def test_every_file_begins_with_its_purpose() -> None:
    # A docstring, perhaps after comments.
    begins = re.compile(r'(#.*\n|\n)*r?"""\S').match
    without = [path for path, text in texts() if path.suffix == ".py" and not begins(text)]
    assert without == []


def commands() -> dict[str, click.Command]:
    context = click.Context(cli)
    found = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    return {"datastore": cli, **{name: command for name, command in found.items() if command}}


@pytest.mark.parametrize(("name", "command"), list(commands().items()), ids=list(commands()))
def test_every_command_and_option_is_documented(name: str, command: click.Command) -> None:
    assert command.help
    assert [option.opts for option in command.params if isinstance(option, click.Option) and not option.help] == []
    text = command.help + (ROOT / "docs/cli.md").read_text()
    arguments = [argument for argument in command.params if isinstance(argument, click.Argument)]
    assert [argument.make_metavar(click.Context(command)) for argument in arguments if not named(argument, text)] == []
    assert re.search(rf"`{name}\b", (ROOT / "docs/cli.md").read_text())


def named(argument: click.Argument, text: str) -> bool:
    """Whether a text mentions an argument by its name in the usage line."""
    return bool(re.search(rf"\b{re.escape((argument.metavar or argument.human_readable_name).strip('[].'))}\b", text))


def test_links_between_documents_are_valid() -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path, text in texts()
        if path.suffix == ".md"
        for target in re.findall(r"\]\(([^)#\s]+)", text)
        if "://" not in target and not (path.parent / target).exists()
    ]
    assert broken == []


# Packaging.


def test_the_changelog_opens_with_this_version() -> None:
    versions = re.findall(r"^## \[?([\w.]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] in (PROJECT["project"]["version"], "Unreleased")
    assert PROJECT["project"]["version"] in versions


def test_the_library_has_a_version() -> None:
    assert datastore.__version__ == PROJECT["project"]["version"]


@pytest.mark.parametrize("package", PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
def test_every_package_is_marked_as_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()


# Clients in other languages.


def test_every_client_has_its_parts() -> None:
    for client in CLIENTS:
        parts = {path.name for path in client.iterdir()}
        assert parts >= {"README.md", "Makefile", "gen", "driver", "samples"}, client
        phony = re.search(r"^\.PHONY:((?:.*\\\n)*.*)", (client / "Makefile").read_text(), re.MULTILINE)
        assert phony, client
        assert {*phony[1].split()} >= CLIENT_TARGETS, client


def test_every_client_has_this_version() -> None:
    for client in CLIENTS:
        for name, before in CLIENT_VERSIONS.items():
            if (path := client / name).exists():
                found = re.search(rf"{before}([\w.]+)", path.read_text(), re.MULTILINE)
                assert found, path
                assert found[1] == PROJECT["project"]["version"], path


def test_every_client_is_on_the_page_of_clients() -> None:
    page = client_pages.PAGE.read_text()
    assert [client.name for client in CLIENTS if f"(../client/{client.name}/README.md)" not in page] == []


# Hygiene.


def test_no_code_that_callers_run_uses_assert() -> None:
    # Python leaves them out under -O.
    asserting = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in shipped()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Assert)
    ]
    assert asserting == []


#: The attributes of a query, without `sort_keys` and `key`, which other objects have too.
QUERY_ATTRIBUTES = {
    *("limit", "offset", "recursive", "keys_only", "fields", "start_after", "allow_partial", "filters", "orders")
}


def changed_queries(path: Path) -> Iterator[str]:
    """Where a file assigns to an attribute of a query other than `self`."""
    for node in ast.walk(tree(path)):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in (each for place in targets if place is not None for each in ast.walk(place)):
            is_store = isinstance(target, ast.Attribute) and isinstance(target.ctx, ast.Store)
            if is_store and target.attr in QUERY_ATTRIBUTES and ast.unparse(target.value) not in ("self", "cls"):
                yield f"{path.relative_to(ROOT)}:{target.lineno} {ast.unparse(target)}"


def test_no_query_is_changed_inside() -> None:
    # `from_dict` builds a query.
    builder = ROOT / "datastore/model/query.py"
    inside = [path for path in shipped() if path != builder and not is_generated(path)]
    found = [place for path in inside for place in changed_queries(path)]
    assert found == []


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines} lines"
        for path in files()
        if path.suffix == ".py" and not is_generated(path)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES
    ]
    assert long == []


def is_generated(path: Path) -> bool:
    """Whether a tool wrote a file: messages, or the twin of an async source."""
    return "v1" in path.parent.parts or path.read_text().startswith("# Generated by")


def test_no_public_name_is_dead() -> None:
    written = [text for path, text in texts() if path.suffix in (".py", ".md", ".toml") and not is_generated(path)]
    words = Counter(word for text in written for word in re.findall(r"\w+", text))
    dead = [
        f"{module.__name__}.{name}"
        for module in modules()
        if not is_generated(Path(str(module.__file__)))
        for name in names_defined(module)
        # Its definition and its place in __all__ do not use it; a command is used on the command line.
        if words[name] <= 1 + (name in getattr(module, "__all__", ()))
        and not isinstance(getattr(module, name), click.Command)
    ]
    assert dead == []


def test_every_substitution_for_the_other_colour_is_used() -> None:
    sources = "\n".join(source.read_text() for source, _ in unasync.pairs())
    packages = [ours for ours, _ in unasync.PACKAGES if ours not in sources]
    words = [word for word in unasync.WORDS if not re.search(rf"\b{word}\b", sources)]
    assert (packages, words) == ([], [])


def test_no_file_has_tabs_trailing_blanks_or_a_missing_final_newline() -> None:
    def untidy(path: Path, text: str) -> bool:
        tabs = "\t" in text and path.suffix != ".go" and path.name not in ("Makefile", "go.mod")
        return (
            tabs or bool(re.search(r"[ \t\r]$", text, re.MULTILINE)) or not text.endswith("\n") or text.endswith("\n\n")
        )

    assert [path for path, text in texts() if text and untidy(path, text)] == []


def test_no_line_is_too_long() -> None:
    # Tables and links of a document cannot be broken, nor can hashes of packages or the text of a picture.
    long = [
        f"{path.relative_to(ROOT)}:{number}"
        for path, text in texts()
        if path.suffix not in (".json", ".lock", ".md", ".sum", ".svg")
        for number, line in enumerate(text.splitlines(), start=1)
        if len(line) > LINE_LENGTH
    ]
    assert long == []


def test_no_file_mentions_the_machine_it_was_written_on() -> None:
    machine = re.compile(r"(?<![\w.])/(?:work|root|home|Users)/\w")
    assert [path for path, text in texts() if machine.search(text) and path != Path(__file__)] == []
