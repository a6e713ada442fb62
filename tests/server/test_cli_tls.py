"""`datastore tls`, and the options with which servers and commands use certificates."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from datastore_server.certificates.authority import Authority, Pair
from datastore_server.certificates.files import look_at_files
from datastore_server.cluster import CONFIG_NAME
from tests.support.certificates import HOSTS, write_pair
from tests.support.commands import COMMAND, run_here, server_process
from tests.support.local_clusters import cluster, wait_until
from tests.support.waiting import PATIENCE_S


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `datastore tls init` makes."""
    directory = tmp_path_factory.mktemp("made") / "tls"
    assert run_here("tls", "init", str(directory), "--host", "db1.example.org", "--client", "ada").code == 0
    return directory


@pytest.fixture(scope="module")
def url(tls: Path) -> Iterator[str]:
    """A server that demands certificates, in a process."""
    options = ["--tls-cert", f"{tls}/server.pem", "--tls-key", f"{tls}/server-key.pem", "--tls-client-ca"]
    with server_process("serve", "memory:", "--listen", "127.0.0.1:0", *options, f"{tls}/ca.pem") as ready:
        yield ready["url"]


@pytest.fixture(scope="module")
def plain() -> Iterator[str]:
    """A server without TLS, in a process."""
    with server_process("serve", "memory:", "--listen", "127.0.0.1:0") as ready:
        yield ready["url"]


@pytest.fixture
def shown(tls: Path) -> list[str]:
    """The options of a client that the server lets in."""
    return ["--ca", f"{tls}/ca.pem", "--cert", f"{tls}/ada.pem", "--key", f"{tls}/ada-key.pem"]


# Making certificates


def test_init_makes_an_authority_a_server_and_a_client(tls: Path) -> None:
    names = {f"{name}{end}" for name in ("ca", "server", "ada") for end in (".pem", "-key.pem")}
    assert {path.name for path in tls.iterdir()} == names
    assert all(path.stat().st_mode & 0o777 == (0o600 if "key" in path.name else 0o644) for path in tls.iterdir())
    assert tls.stat().st_mode & 0o777 == 0o700
    for host in (*HOSTS, "db1.example.org"):
        assert look_at_files(tls / "server.pem", tls / "server-key.pem", ca=tls / "ca.pem", host=host).problems == ()
    client = look_at_files(tls / "ada.pem", tls / "ada-key.pem", ca=tls / "ca.pem", is_client=True)
    assert client.problems == ()


def test_nothing_is_overwritten(tls: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in tls.iterdir()}
    for again in (["init", str(tls)], ["issue", str(tls), "server"], ["issue", str(tls), "ada", "--host", "x"]):
        done = run_here("tls", *again)
        assert (done.code, "already exists and is not overwritten; nothing was written" in done.err) == (3, True)
    (tmp_path / "client-key.pem").touch()
    assert run_here("tls", "init", str(tmp_path)).code == 3
    assert [path.name for path in tmp_path.iterdir()] == ["client-key.pem"]
    assert {path.name: path.read_bytes() for path in tls.iterdir()} == before


def test_issue_makes_further_certificates_of_the_same_authority(tls: Path, tmp_path: Path) -> None:
    for name in ("ca.pem", "ca-key.pem"):
        (tmp_path / name).write_bytes((tls / name).read_bytes())
    done = run_here("tls", "issue", str(tmp_path), "db2", "--host", "db2.example.org", "--json")
    assert [Path(path).name for path in json.loads(done.out)["files"]] == ["db2.pem", "db2-key.pem"]
    server = {"ca": tls / "ca.pem", "host": "db2.example.org"}
    assert look_at_files(tmp_path / "db2.pem", tmp_path / "db2-key.pem", **server).problems == ()
    assert run_here("tls", "issue", str(tmp_path), "bob").code == 0
    client = look_at_files(tmp_path / "bob.pem", tmp_path / "bob-key.pem", ca=tls / "ca.pem", is_client=True)
    assert client.problems == ()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["init", "D", "--host", "https://db1"], 2, "'https://db1' is not a host"),
        (["init", "D", "--host", "db1:7420"], 2, "'db1:7420' is not a host"),
        (["init", "D", "--host", "*.nodes"], 2, "'*.nodes' matches no host"),
        (["init", "D", "--client", "../x"], 2, "'../x' is not a name"),
        (["init", "D", "--client", "ca"], 2, "another file has that name"),
        (["issue", "D", ""], 2, "'' is not a name"),
        (["issue", "D", "db2"], 3, "ca.pem: cannot read this file: No such file"),
        (["check", "grpcs://db1", "--client"], 2, "a server is checked by its URL alone"),
        (["check", "http://db1"], 3, "'http://db1' is not a server URL"),
    ],
)
def test_a_bad_name_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_here("tls", *arguments)
    assert (done.code, words in done.err) == (code, True), done.err
    assert list(tmp_path.iterdir()) == []


def test_the_files_of_an_authority_that_do_not_match_are_named(tls: Path, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes((tls / "ca.pem").read_bytes())
    (tmp_path / "ca-key.pem").write_text("nothing")
    done = run_here("tls", "issue", str(tmp_path), "db2")
    assert (done.code, "not a certificate and a key in PEM" in done.err) == (3, True)
    (tmp_path / "ca-key.pem").write_bytes((tls / "ada-key.pem").read_bytes())
    done = run_here("tls", "issue", str(tmp_path), "db2")
    assert (done.code, "ca-key.pem is not the key of" in done.err) == (3, True)


# Checking


def test_check_says_what_files_are_and_what_is_wrong(tls: Path) -> None:
    files = [str(tls / "server.pem"), str(tls / "server-key.pem"), "--ca", str(tls / "ca.pem")]
    done = run_here("tls", "check", *files, "--host", "db1.example.org")
    assert done.code == 0
    assert done.out.startswith("'server', for localhost, 127.0.0.1, ::1, db1.example.org; signed by 'datastore CA of ")
    assert done.out.endswith("\nNothing is wrong.\n")
    done = run_here("tls", "check", *files, "--host", "db2.example.org", "--json")
    assert done.code == 3
    (problem,) = json.loads(done.out)["problems"]
    assert problem.startswith("it is not for db2.example.org")


def test_check_connects_to_a_server_and_says_what_is_wrong(
    tls: Path, url: str, shown: list[str], tmp_path: Path
) -> None:
    def problems(*options: str, url: str = url) -> list[str]:
        done = run_here("tls", "check", url, *options, "--json")
        found: list[str] = json.loads(done.out)["problems"]
        assert done.code == (3 if found else 0)
        return found

    assert problems(*shown) == []
    assert problems("--ca", f"{tls}/ca.pem") == ["it demands a certificate of its clients: say --cert and --key"]
    assert run_here("tls", "init", str(tmp_path / "other")).code == 0
    other = tmp_path / "other"
    foreign = problems("--ca", f"{tls}/ca.pem", "--cert", f"{other}/client.pem", "--key", f"{other}/client-key.pem")
    assert len(foreign) == 1
    assert foreign[0].startswith(f"it does not accept the certificate {other}/client.pem: ")
    (unknown,) = problems("--ca", f"{other}/ca.pem", *shown[2:])
    assert unknown.startswith(f"{other}/ca.pem: ") and "signed by 'CN=datastore CA of" in unknown
    assert any("the system's authorities" in problem for problem in problems(*shown[2:]))
    (elsewhere,) = problems(*shown, url=url.replace("127.0.0.1", "127.1"))
    assert elsewhere.startswith("it is not for 127.1")


def test_check_tells_a_server_without_tls_from_none(plain: str, shown: list[str]) -> None:
    done = run_here("tls", "check", plain.replace("grpc:", "grpcs:"), *shown)
    assert (done.code, done.out) == (3, "Wrong: it does not use TLS; without TLS its URL begins with grpc:\n")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    done = run_here("tls", "check", f"grpcs://{address}", *shown)
    assert (done.code, f"nothing answers at {address} (Connection refused)" in done.err) == (4, True)


# Using them


def test_commands_show_a_certificate(tls: Path, url: str, shown: list[str]) -> None:
    assert run_here("put", "/a:1", "7", "--server", url, *shown).code == 0
    assert run_here(*shown, "get", "/a:1", "--server", url).out == "7\n"
    named = {"SERVER": url, "CA": f"{tls}/ca.pem", "CERT": f"{tls}/ada.pem", "KEY": f"{tls}/ada-key.pem"}
    with patch.dict(os.environ, {f"DATASTORE_{name}": value for name, value in named.items()}):
        assert run_here("get", "/a:1").out == "7\n"
        (row,) = run_here("status", "--json").lines
    assert (row["address"], row["security"]) == (url, "mutual tls")


def test_files_for_a_server_without_tls_are_refused_unless_they_are_of_the_environment(
    plain: str, shown: list[str]
) -> None:
    done = run_here("put", "/a:1", "7", "--server", plain, *shown)
    assert (done.code, "would ignore ca, cert, key: write grpcs://" in done.err) == (3, True), done.err
    pairs = zip(shown[::2], shown[1::2], strict=True)
    named = {f"DATASTORE_{option.strip('-').upper()}": path for option, path in pairs}
    with patch.dict(os.environ, named):
        assert run_here("put", "/a:1", "7", "--server", plain).code == 0


def test_a_command_that_cannot_connect_says_how_to_find_out_why(tls: Path, url: str) -> None:
    done = run_here("get", "/a:1", "--server", url, "--ca", f"{tls}/ca.pem")
    assert done.code == 4
    assert "it may demand a certificate" in done.err
    assert f"To see what is wrong:\n  datastore tls check {url}\n" in done.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--tls-cert", "server.pem"], "Error: CONFIG: --tls-key: missing; --tls-cert needs it"),
        (["--tls-client-ca", "ca.pem"], "Error: CONFIG: --tls-cert: missing; --tls-client-ca needs it"),
        (["--tls-cert", "server.pem", "--tls-key", "ada-key.pem"], "ada-key.pem is not the key of the certificate"),
        (["--tls-cert", "none.pem", "--tls-key", "ada-key.pem"], "none.pem: cannot read this file"),
    ],
)
def test_files_of_a_server_are_checked_before_it_starts(
    tls: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], words: str
) -> None:
    monkeypatch.chdir(tls)
    for check in ([], ["--check-config"]):
        done = run_here("serve", "memory:", *check, *options)
        assert (done.code, words in done.err) == (3, True), done.err


CLUSTER = """
[cluster]
name = "test"
[tls]
cert = "server.pem"
key = "server-key.pem"
[[shards]]
name = "a"
url = "grpcs://127.0.0.1:7501"
store = "memory:"
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("grpcs:", "grpc:", "shards[0].url: the table [tls] makes the servers of this file listen with TLS: write 'g"),
        ('key = "server-key.pem"\n', "", "tls.key: missing; tls.cert needs it"),
        ('cert = "server.pem"\n', "", "tls.cert: missing; tls.key needs it"),
        ("[tls]", '[tls]\nclient_key = "x"', "tls.client_cert: missing; tls.client_key needs it"),
        ("[tls]", '[tls]\nclient = "x"', "tls.client: unknown key"),
        ('"server.pem"', "1", "tls.cert: expected `str | null`, got `int`; it should be the file of the server's cert"),
        ('cert = "server.pem"\nkey = "server-key.pem"', "", "so its node needs a certificate: cert and key of [tls]"),
        ('"server-key.pem"', '"ada-key.pem"', "ada-key.pem is not the key of the certificate"),
    ],
)
def test_a_table_of_files_is_checked(
    tls: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, old: str, new: str, words: str
) -> None:
    text = CLUSTER.replace(old, new)
    assert text != CLUSTER
    path = tls / f"{os.getpid()}.toml"
    path.write_text(text)
    monkeypatch.chdir(tmp_path)
    done = run_here("serve", "--config", str(path), "--shard", "a", "--check-config")
    path.unlink()
    assert (done.code, words in done.err) == (3, True), done.err


def test_the_files_of_a_configuration_are_relative_to_it(tls: Path, tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(CLUSTER.replace('"server', f'"{os.path.relpath(tls, tmp_path)}/server'))
    assert run_here("serve", "--config", str(path), "--shard", "a", "--check-config").code == 0
    shown = json.loads(run_here("config", "show", str(path), "--json").out)["tls"]
    assert {name: Path(file).resolve() for name, file in shown.items()} == {
        "cert": (tls / "server.pem").resolve(),
        "key": (tls / "server-key.pem").resolve(),
    }
    path.write_text(f'[server]\nstore = "memory:"\n[tls]\ncert = "{tls}/server.pem"\nkey = "{tls}/server-key.pem"\n')
    assert run_here("serve", "--config", str(path), "--check-config").code == 0
    assert json.loads(run_here("config", "show", str(path), "--json").out)["tls"]["cert"] == f"{tls}/server.pem"


def test_a_cluster_with_tls_reads_its_files_again_on_sighup(tls: Path, shown: list[str], tmp_path: Path) -> None:
    files = tmp_path / "tls"
    files.mkdir()
    for path in tls.iterdir():
        (files / path.name).write_bytes(path.read_bytes())
    listening = ["--tls-cert", f"{files}/server.pem", "--tls-key", f"{files}/server-key.pem"]
    mutual = ["--tls-client-ca", f"{files}/ca.pem", *shown]
    with cluster(tmp_path / "c", "--nodes", "1", *listening, *mutual) as running:
        assert running.url.startswith("grpcs://")
        assert running.members["shard-1"]["url"].startswith("grpcs://")
        running.cli("put", "/a:1", "1", *shown)
        status = json.loads(running.cli("status", "--json", *shown))
        assert {status["security"], status["shards"][0]["security"]} == {"mutual tls"}
        checked = run_here("placement", "check", str(tmp_path / "c" / CONFIG_NAME))
        assert checked.code == 0, checked.err
        authority = Authority(Pair((files / "ca.pem").read_bytes(), (files / "ca-key.pem").read_bytes()))
        write_pair(authority.server("new", HOSTS), files / "server.pem", files / "server-key.pem")
        running.process.send_signal(signal.SIGHUP)
        for name in ("shard-1", "proxy"):
            log = tmp_path / "c" / "logs" / f"{name}.log"
            wait_until(lambda log=log: "read again after a change: " in log.read_text())
        done = run_here("tls", "check", running.url, *shown)
        assert (done.code, done.out.startswith("'new', for ")) == (0, True)
        assert running.cli("get", "/a:1", *shown) == "1\n"


#: Runs a command whose terminal is its standard input.
ON_A_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_server_whose_terminal_is_closed_stops(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    log = tmp_path / "log"
    command = [sys.executable, "-c", ON_A_TERMINAL, *COMMAND, "serve", "memory:", "--listen", "127.0.0.1:0"]
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=errors, text=True)
    os.close(theirs)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Serving memory:")
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: "SIGHUP: reading changed" in log.read_text())
        os.close(ours)
        assert process.wait(PATIENCE_S) == 0
    assert "stopped serving" in log.read_text()
