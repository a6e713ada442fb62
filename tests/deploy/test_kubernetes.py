"""The manifest for Kubernetes: its schema, how its parts fit together, and the commands in it."""

from __future__ import annotations

import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from datastore_server.certificates.files import look_at_files
from datastore_server.config import parse_config, parse_server_url
from datastore_server.limits import Limits
from tests.support.commands import run_here
from tests.support.deployed import DEPLOY, checked, moved, tool
from tests.support.earlier import ROOT

MANIFEST = DEPLOY / "kubernetes.yaml"
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all(MANIFEST.read_text()))
WORKLOADS = [one for one in OBJECTS if one["kind"] in ("StatefulSet", "Deployment")]
each_workload = pytest.mark.parametrize("workload", WORKLOADS, ids=lambda one: one["kind"])
VALIDATE = Path(sys.executable).with_name("kubernetes-validate")


def named(kind: str, name: str) -> dict[str, Any]:
    (found,) = (one for one in OBJECTS if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return found


def container(workload: dict[str, Any]) -> dict[str, Any]:
    (found,) = workload["spec"]["template"]["spec"]["containers"]
    return found


# The newest version, and the oldest that has everything.
@pytest.mark.parametrize("version", ["1.37", "1.29"])
def test_the_manifest_is_valid(version: str) -> None:
    done = tool(VALIDATE, "--strict", "--kubernetes-version", version, MANIFEST)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(" passed for resource ", done.stdout + done.stderr)) == len(OBJECTS)


def test_every_selector_finds_pods() -> None:
    labels = [workload["spec"]["template"]["metadata"]["labels"] for workload in WORKLOADS]
    selectors = [one["spec"]["selector"] for one in OBJECTS if one["kind"] != "ConfigMap"]
    assert len(selectors) == 6
    for selector in selectors:
        wanted = selector.get("matchLabels", selector)
        assert len([one for one in labels if one.items() >= wanted.items()]) == 1


def test_a_shard_is_named_as_its_pod_and_reached_at_its_name() -> None:
    nodes = named("StatefulSet", "datastore-node")
    config = parse_config(configuration(), source="cluster.toml")
    names = [f"{nodes['metadata']['name']}-{number}" for number in range(nodes["spec"]["replicas"])]
    service = named("Service", nodes["spec"]["serviceName"])
    assert [shard.name for shard in config.shards] == names
    assert [shard.url for shard in config.shards] == [
        f"grpcs://{name}.{service['metadata']['name']}:7420" for name in names
    ]


def configuration() -> str:
    text: str = named("ConfigMap", "datastore")["data"]["cluster.toml"]
    return text


@each_workload
def test_every_file_that_the_configuration_names_is_mounted(workload: dict[str, Any]) -> None:
    mounts = {mount["mountPath"] for mount in container(workload)["volumeMounts"]}
    volumes = {volume["name"] for volume in workload["spec"]["template"]["spec"]["volumes"]}
    claims = {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", ())}
    assert {mount["name"] for mount in container(workload)["volumeMounts"]} == volumes | claims
    files = set(re.findall(r'"(/etc/[^"]+)"', configuration()))
    assert {str(Path(file).parent) for file in files} | {"/etc/datastore/config"} == mounts - {"/var/lib/datastore"}


@each_workload
def test_probes_and_services_name_ports_that_are_served(workload: dict[str, Any]) -> None:
    ports = {port["name"]: port["containerPort"] for port in container(workload)["ports"]}
    assert ports == {"grpc": 7420, "metrics": 9420}
    probes = {name: container(workload)[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: (probe["path"], probe["port"], probe["scheme"]) for name, probe in probes.items()} == {
        "startup": ("/healthz", "metrics", "HTTPS"),
        "liveness": ("/healthz", "metrics", "HTTPS"),
        "readiness": ("/readyz", "metrics", "HTTPS"),
    }
    # To other machines a server with TLS serves them by HTTPS.
    assert 'listen = "0.0.0.0:9420"' in configuration()


@each_workload
def test_a_pod_has_no_rights_and_time_to_finish_its_calls(workload: dict[str, Any]) -> None:
    pod = workload["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["automountServiceAccountToken"] is False
    assert container(workload)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["terminationGracePeriodSeconds"] > Limits().grace_ms / 1000


def test_the_certificate_of_the_page_is_for_every_name(tmp_path: Path) -> None:
    page = (ROOT / "docs/operations.md").read_text()
    (command,) = (
        line
        for line in page.replace("\\\n", "").splitlines()
        if line.startswith("datastore tls init .") and "datastore-node-0" in line
    )
    hosts = [word for option, word in pairwise(command.split()) if option == "--host"]
    directory = tmp_path / "tls"
    assert run_here("tls", "init", str(directory), *(word for host in hosts for word in ("--host", host))).code == 0
    shards = parse_config(configuration(), source="cluster.toml").shards
    for host in ["datastore", *(parse_server_url(shard.url).host for shard in shards)]:
        files = directory / "server.pem", directory / "server-key.pem"
        assert look_at_files(*files, ca=directory / "ca.pem", host=host).problems == ()


@each_workload
def test_the_command_has_a_valid_configuration(workload: dict[str, Any], tmp_path: Path) -> None:
    assert run_here("tls", "init", str(tmp_path / "tls"), "--host", "datastore-node-0.datastore-nodes").code == 0
    tokens = ["--tokens", str(tmp_path / "auth/tokens.toml")]
    (tmp_path / "auth").mkdir()
    token = run_here("token", "create", "proxy", "--rights", "admin", "--prefix", "/", *tokens).out
    (tmp_path / "auth/proxy.token").write_text(token)
    (tmp_path / "cluster.toml").write_text(moved([configuration()], {"/etc/datastore": str(tmp_path)})[0])
    places = {"/etc/datastore/config": str(tmp_path), "$(POD_NAME)": "datastore-node-0"}
    done = checked(container(workload)["args"], places)
    assert (done.code, done.err) == (0, "")
