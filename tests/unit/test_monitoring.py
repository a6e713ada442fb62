"""The dashboard and the alerts: they name only metrics that exist, and each alert says what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datastore.wire import ERRORS, reason_of
from datastore_server.metrics.definitions import METRICS

DOCS = Path(__file__).resolve().parents[2] / "docs"
ALERTS = (DOCS / "monitoring/alerts.yml").read_text()
DASHBOARD = json.loads((DOCS / "monitoring/dashboard.json").read_text())
#: A rule, as all of the file are written.
RULE = re.compile(
    r"      - alert: (?P<name>Datastore\w+)\n        expr: >-\n(?P<expression>(?:          \S.*\n)+)"
    r"        for: (?P<wait>\d+[mh])\n        labels:\n          severity: (?P<severity>\w+)\n"
    r'        annotations:\n          summary: "(?P<summary>.+)"\n          runbook: (?P<runbook>\S+)\n'
)
RULES = [found.groupdict() for found in RULE.finditer(ALERTS)]
#: What a metric of each type is called in an expression.
SUFFIXES = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
KNOWN = {metric.name + suffix: metric for metric in METRICS.values() for suffix in SUFFIXES[metric.kind]}


def panels() -> Iterator[Any]:
    for panel in DASHBOARD["panels"]:
        yield panel
        yield from panel.get("panels", ())


EXPRESSIONS = [rule["expression"] for rule in RULES] + [
    target["expr"] for panel in panels() for target in panel.get("targets", ())
]


def test_every_rule_has_the_shape_that_prometheus_reads() -> None:
    head = re.match(r"#.*\ngroups:\n  - name: datastore\n    rules:\n", ALERTS)
    assert head
    assert head.group() + "".join(found.group() for found in RULE.finditer(ALERTS)) == ALERTS
    assert {rule["severity"] for rule in RULES} <= {"critical", "warning", "info"}
    assert len({rule["name"] for rule in RULES}) == len(RULES) > 10


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_names_metrics_that_exist_and_their_labels(expression: str) -> None:
    names = set(re.findall(r"\bdatastore_\w+", expression))
    assert names <= KNOWN.keys()
    assert names or re.search(r"\b(up|process_\w+)\{", expression)
    allowed = {label for name in names for label in KNOWN[name].labels} | {"instance", "job", "le"}
    matched = re.findall(r"(\w+)(?:=~|!=|=)\"", expression)
    grouped = [label for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in re.split(r",\s*", group)]
    assert {*matched, *grouped} <= allowed
    assert expression.count("(") == expression.count(")")


def test_the_reasons_that_alerts_name_exist() -> None:
    named = re.findall(r'reason=~?"([A-Z_|]+)"', ALERTS)
    assert named
    assert {reason for group in named for reason in group.split("|")} <= set(map(reason_of, ERRORS))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["name"])
def test_an_alert_has_a_section_that_says_what_to_do(rule: dict[str, str]) -> None:
    assert rule["runbook"] == f"docs/monitoring.md#{rule['name'].lower()}"
    assert re.search(rf"^### {rule['name']}\n\n\S", (DOCS / "monitoring.md").read_text(), re.MULTILINE)


def test_there_is_no_section_for_an_alert_that_does_not_exist() -> None:
    sections = re.findall(r"^### (Datastore\w+)$", (DOCS / "monitoring.md").read_text(), re.MULTILINE)
    assert sections == [rule["name"] for rule in RULES]


def test_the_panels_of_the_dashboard_have_places_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
    ids = [panel["id"] for panel in panels()]
    assert len({*ids}) == len(ids)


def test_every_metric_of_calls_and_stores_is_on_the_dashboard() -> None:
    text = json.dumps(DASHBOARD)
    missing = {name for name in METRICS if name not in text}
    assert missing <= {
        *("datastore_build_info", "datastore_store_up", "datastore_owned_slots"),
        *("datastore_shard_stored_bytes", "datastore_store_change_log_bytes"),
    }
