"""Reads what a server says over HTTP: its metrics and probes."""

from __future__ import annotations

import asyncio
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families


class Page(NamedTuple):
    """An answer."""

    status: int
    text: str


async def page(url: str, method: str = "GET", ca: Path | None = None) -> Page:
    """What is at a URL; one with `https` has a certificate of the authority in the file `ca`."""
    return await asyncio.to_thread(_page, url, method, ca)


def _page(url: str, method: str, ca: Path | None) -> Page:
    context = None if ca is None else ssl.create_default_context(cafile=ca)
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), context=context) as answer:
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
