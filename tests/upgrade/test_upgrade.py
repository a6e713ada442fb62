"""A release reads what earlier ones stored, and talks with their clients, nodes and proxies.

What earlier releases stored and said is in the files beside this one, made by `record.py`. Where the history of the
checkout has them, their programs run too.
"""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory

from datastore import Key
from datastore.lmdb import LMDBDatastore
from datastore.v1 import service_pb2
from datastore_client import connect
from tests.support.commands import run_here, server_process
from tests.support.earlier import PRESENT, Release, checked_out, cluster_of, in_history
from tests.support.local_clusters import wait_until
from tests.upgrade.recording import Recorded, answering, call

RELEASES: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted(Path(__file__).parent.glob("*.json"))
}
#: The releases whose programs can run here.
RUN = {name: release for name, release in RELEASES.items() if in_history(release["revision"])}
each_release = pytest.mark.parametrize("release", RELEASES.values(), ids=RELEASES)
SERVICE = service_pb2.DESCRIPTOR.services_by_name["DatastoreService"]


def stored(release: dict[str, Any], directory: Path) -> Path:
    """The directory that a release left behind."""
    directory.mkdir()
    (directory / "data.mdb").write_bytes(zlib.decompress(base64.b64decode(release["data.mdb"])))
    return directory


def calls(release: dict[str, Any]) -> list[Recorded]:
    return list(map(Recorded.from_json, release["calls"]))


@each_release
def test_a_directory_is_read_and_rewritten(release: dict[str, Any], tmp_path: Path) -> None:
    directory = stored(release, tmp_path / "data")
    with server_process("serve", f"lmdb://{directory}", "--listen", "127.0.0.1:0") as node:
        assert PRESENT.client(node["url"], "read") == release["read"]
        with connect(node["url"]) as store:
            before = store.entry(Key("/Number:05"))
        PRESENT.client(node["url"], "write")
        with connect(node["url"]) as store:
            after = store.entry(Key("/Number:05"))
        assert PRESENT.client(node["url"], "read") == release["read"]
    assert before is not None and after is not None
    assert after.version > before.version
    assert after.create_time == before.create_time
    with LMDBDatastore(directory) as reopened:
        assert reopened.contains(Key("/Number:05"))


@pytest.mark.long("clusters of earlier releases served by this one")
@each_release
def test_a_cluster_is_served_with_its_data(release: dict[str, Any], tmp_path: Path) -> None:
    directory = stored(release, tmp_path / "data")
    with cluster_of(PRESENT, PRESENT, directory) as url:
        config = str(directory.with_suffix(".toml"))
        if run_here("placement", "check", config).code:
            # Nodes had no placement yet: what docs/configuration.md says.
            assert run_here("placement", "apply", config, "--adopt").code == 0
        wait_until(lambda: run_here("status", "--server", url).code == 0)
        assert PRESENT.client(url, "read") == release["read"]


@each_release
def test_requests_of_its_client_get_the_same_answers(release: dict[str, Any]) -> None:
    with (
        server_process("serve", "memory:", "--listen", "127.0.0.1:0") as node,
        grpc.insecure_channel(node["url"].removeprefix("grpc://")) as channel,
    ):
        for recorded in calls(release):
            answers = call(channel, recorded.method, recorded.request)
            assert said(recorded.method, answers) == said(recorded.method, recorded.answers)


def said(method: str, answers: list[bytes]) -> list[Any]:
    """What a client learns from the answers to a call: no versions, times or tokens, which differ with each run."""
    name = method.rpartition("/")[2]
    message = message_factory.GetMessageClass(SERVICE.methods_by_name[name].output_type)
    parsed = [message.FromString(answer) for answer in answers]
    match name:
        case "Put" | "Delete":
            return []
        case "BatchWrite":
            return [item.HasField("status") for answer in parsed for item in answer.results]
        case "Query":
            return [entry for answer in parsed for entry in answer.entries] + [parsed[-1].HasField("summary")]
        case _:
            return parsed


@each_release
def test_the_client_understands_what_its_server_says(release: dict[str, Any]) -> None:
    with answering(calls(release)) as url:
        PRESENT.client(url, "write")
        assert PRESENT.client(url, "read") == release["read"]


if RUN:

    @pytest.fixture(scope="module", params=RUN.values(), ids=RUN)
    def earlier(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Release:
        return checked_out(request.param["revision"], tmp_path_factory.mktemp("release"))

    @pytest.mark.long("the programs of earlier releases with those of this one")
    @pytest.mark.parametrize("nodes", ["earlier", "present"])
    @pytest.mark.parametrize("proxy", ["earlier", "present"])
    def test_its_clients_nodes_and_proxies_work_with_those_of_this_release(
        earlier: Release, nodes: str, proxy: str, tmp_path: Path
    ) -> None:
        programs = {"earlier": earlier, "present": PRESENT}
        with cluster_of(programs[nodes], programs[proxy], tmp_path / "data") as url:
            earlier.client(url, "write")
            assert PRESENT.client(url, "read") == earlier.client(url, "read")
            PRESENT.client(url, "write")
            assert PRESENT.client(url, "read") == earlier.client(url, "read")
