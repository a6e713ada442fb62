"""What kinds of stores promise about values, for the conformance suite. Mixed in before the suite's class."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from datastore import wire
from datastore.testing import cases
from datastore_server.streaming import BATCH_MOST_BYTES


class InMemory:
    """Keeps the objects themselves."""

    versions = True
    expiry = True
    atomic = retries = True
    keeps_tuples = True
    values = cases.plain_values()


class OnTheWire:
    """Keeps the values that can be sent, and refuses the rest."""

    refused: list[Any] = [
        object(),
        {1, 2},
        2**63,
        -(2**63) - 1,
        datetime(2026, 1, 1),
        "\ud800",
        {1: "a"},
        {"a": [1, {"b": 1j}]},
    ]


class Remote(OnTheWire):
    """Is reached over a channel, in messages of bounded size."""

    closes = True
    batch_bytes = BATCH_MOST_BYTES


class AsJson:
    """Keeps what JSON can represent."""

    plain_types = False
    exact_values = False
    values = cases.json_values()


class _Decoding:
    """Converts between plain values and a store of values in wire form, which gets whole queries.

    So the store below evaluates filters and orders on what it has not decoded.
    """

    keeps_mappings = True
    never_loads_none = True

    def dumps(self, value: Any) -> wire.WireValue:
        return wire.encode_value(value)

    def loads(self, stored: wire.WireValue) -> Any:
        assert isinstance(stored, wire.WireValue)
        return stored.decode()


decoding = _Decoding()
