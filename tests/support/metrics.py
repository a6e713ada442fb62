"""Reads what a server says over HTTP: its metrics and probes."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families


class Page(NamedTuple):
    """An answer."""

    status: int
    text: str


async def page(url: str, method: str = "GET") -> Page:
    """What is at a URL."""
    return await asyncio.to_thread(_page, url, method)


def _page(url: str, method: str) -> Page:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method)) as answer:
            return Page(answer.status, answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return Page(error.code, error.read().decode())


class Metrics(dict[tuple[str, frozenset[tuple[str, str]]], float]):
    """The samples of a page of metrics, by name and labels."""

    #: By name, the labels of each metric of the page, in the form in which it is defined.
    labels: dict[str, set[str]]

    def value(self, name: str, **labels: str) -> float | None:
        """One sample; None if it is not there."""
        return self.get((name, frozenset(labels.items())))


async def metrics(url: str) -> Metrics:
    """The metrics at a URL."""
    found = Metrics()
    found.labels = {}
    answer = await page(url)
    assert answer.status == 200, answer.text
    for family in text_string_to_metric_families(answer.text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found.labels[name] = {label for sample in family.samples for label in sample.labels} - {"le"}
        found.update({(sample.name, frozenset(sample.labels.items())): sample.value for sample in family.samples})
    return found
