"""docs/security.md: its commands on real servers, and its file of tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import asdict

from datastore_server.auth.access import parse_access
from datastore_server.auth.rights import Right
from datastore_server.config import parse_config
from tests.documented.test_docs import ROOT, blocks
from tests.documented.test_serving import typed

PAGE = ROOT / "docs/security.md"
ENCRYPTION, FIRST_STEPS, CLUSTER = blocks(PAGE, "sh")


@pytest.mark.long("docs/security.md with certificates")
def test_a_server_with_certificates(tmp_path: Path) -> None:
    made, _, status, _, checked = typed(ENCRYPTION, tmp_path)
    files = [f"tls/{name}{end}.pem" for name in ("ca", "server", "client") for end in ("", "-key")]
    assert made.startswith(f"Made {', '.join(files)}.")
    assert "mutual tls" in status
    assert checked.startswith("'billing', for billing; signed by 'datastore CA of ")
    assert checked.endswith("Nothing is wrong.")


def test_the_table_of_certificates_is_valid_and_complete(tmp_path: Path) -> None:
    text, _ = blocks(PAGE, "toml")
    shard = '[[shards]]\nname = "a"\nurl = "grpcs://127.0.0.1:7501"\n'
    tls = parse_config(f'[cluster]\nname = "test"\n{text}{shard}', source="cluster.toml", base=tmp_path).tls
    assert all(path == str(tmp_path / "tls" / Path(path).name) for path in asdict(tls).values())


def test_the_first_steps(tmp_path: Path) -> None:
    *_, found, _, listed, revoked = typed(FIRST_STEPS, tmp_path)
    assert '"/shop/Cart:7"' in found
    assert ("shop" in listed, "operator" in listed, revoked) == (True, True, "")
    assert "token.shop" not in (tmp_path / "tokens.toml").read_text()


def test_the_tokens_of_a_cluster(tmp_path: Path) -> None:
    typed(CLUSTER, tmp_path)
    assert list(parse_access((tmp_path / "nodes.toml").read_text(), "nodes.toml").tokens) == ["proxy"]
    assert list(parse_access((tmp_path / "clients.toml").read_text(), "clients.toml").tokens) == ["shop"]


def test_the_file_is_valid_and_complete() -> None:
    _, text = blocks(PAGE, "toml")
    access = parse_access(text, "tokens.toml")
    shop, backup = access.tokens["shop"], access.identities["backup.example.org"]
    assert (shop.rights.read, shop.rights.write, backup.rights.read) == (("/shop", "/catalog"), ("/shop",), ("/",))
    assert (shop.quota.calls_in_hand, shop.quota.bytes_per_s) == (100, 10 * 1024 * 1024)
    rows = PAGE.read_text().split("## The file")[1].split("\n## ")[0]
    for name in (*Right, "calls_in_hand", "bytes_per_s", "token.NAME.hash", "token.NAME.created", "token.NAME.expires"):
        assert f"`{name}`" in rows
