"""What keeps a release from being built."""

from __future__ import annotations

import pytest

from tools.release import disagreements

CHANGELOG = "# Changelog\n\n## 1.2.0 - 2026-12-01\n\n### Added\n\n## 1.1.0 - 2026-11-01\n"
IMAGE = "image: datastore:1.2.0\n"


@pytest.mark.parametrize("tags", [[], ["v1.2.0"], ["v1.2.0", "nightly"]])
def test_a_version_that_all_agree_on_is_released(tags: list[str]) -> None:
    assert disagreements("1.2.0", CHANGELOG, tags, [IMAGE, ""]) == []


@pytest.mark.parametrize(
    ("version", "changelog", "tags", "image", "fault"),
    [
        ("1.3.0", CHANGELOG, [], "", "begins with '1.2.0 - 2026-12-01': expected '1.3.0 - YYYY-MM-DD'"),
        ("1.2.0", CHANGELOG.replace("2026-12-01", "unreleased"), [], "", "begins with '1.2.0 - unreleased'"),
        ("1.2.0", "", [], "", "begins with 'nothing'"),
        ("1.2.0", CHANGELOG, ["v1.1.0"], "", "has the tag v1.1.0: expected v1.2.0"),
        ("1.2.0", CHANGELOG, [], IMAGE.replace("1.2.0", "1.1.0"), "image datastore:1.1.0: expected datastore:1.2.0"),
    ],
)
def test_what_disagrees_is_named(version: str, changelog: str, tags: list[str], image: str, fault: str) -> None:
    (found,) = disagreements(version, changelog, tags, [image])
    assert fault in found
