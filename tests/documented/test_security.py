"""docs/security.md: its commands on real servers, and its file of tokens."""

from __future__ import annotations

from pathlib import Path

from datastore_server.auth.access import parse_access
from datastore_server.auth.rights import Right
from tests.documented.test_docs import ROOT, blocks
from tests.documented.test_serving import typed

PAGE = ROOT / "docs/security.md"
FIRST_STEPS, CLUSTER = blocks(PAGE, "sh")


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
    (text,) = blocks(PAGE, "toml")
    access = parse_access(text, "tokens.toml")
    shop, backup = access.tokens["shop"], access.identities["backup.example.org"]
    assert (shop.rights.read, shop.rights.write, backup.rights.read) == (("/shop", "/catalog"), ("/shop",), ("/",))
    assert (shop.quota.calls_in_hand, shop.quota.bytes_per_s) == (100, 10 * 1024 * 1024)
    rows = PAGE.read_text().split("## The file")[1].split("\n## ")[0]
    for name in (*Right, "calls_in_hand", "bytes_per_s", "token.NAME.hash", "token.NAME.created", "token.NAME.expires"):
        assert f"`{name}`" in rows
