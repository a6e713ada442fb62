"""Cases made of the golden vectors: what they say of keys, values and bytes is asked of every client."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from tests.clients.notation import written
from tests.clients.suite import Case
from tests.support.vectors import value_of, vectors

__all__ = ["vector_cases"]

#: What servers refuse is not stored, so clients need not look for it; but they must not take it for another value if
#: they do not know its kind, or cannot read it.
_REFUSED_BY_CLIENTS = {
    "no kind",
    "an element without a kind",
    "a member without a kind",
    "a kind that is not known, 99",
    "text that is not valid UTF-8",
    "cut in the middle",
}
#: The value of the entry after which a vector's query starts, by that position's sort key.
_STARTED_AFTER = {"fc400fffffffffffff7fff05780001": {"n": 1, "s": "x"}}
#: What a client may call a server's bytes that are not a value.
_UNREADABLE = {"$one_of": ["INVALID_VALUE", "CORRUPT_DATA"]}


def vector_cases() -> Iterator[Case]:
    """All of them."""
    yield from _keys()
    yield from _values()
    yield from _sort_keys()
    yield from _queries()
    yield from _errors()
    yield from _filters()
    yield from _projections()
    yield from _aggregates()


def _named(number: int, content: Any) -> str:
    """A name with what a case is about, as far as it fits."""
    about = re.sub(r"[^A-Za-z0-9]+", "_", json.dumps(content)).strip("_")
    return f"{number:02}_{about[:40]}".rstrip("_")


def _notation(tree: Any) -> dict[str, Any]:
    return written(value_of(tree))


def _keys() -> Iterator[Case]:
    texts = [vector for vector in vectors("keys") if isinstance(vector["given"], str)]
    for number, vector in enumerate(texts):
        result = {"$includes": {"text": vector["text"], "collection": vector["path"]}}
        yield Case("keys", _named(number, vector["given"]), [{"op": "key", "text": vector["given"], "result": result}])
    for number, (one, other) in enumerate(pairwise(vectors("order"))):
        steps = [
            {"op": "compare_keys", "a": a, "b": b, "result": {"order": order}}
            for a, b, order in ((one, other, -1), (other, one, 1), (one, one, 0))
        ]
        yield Case("key_order", _named(number, [one, other]), steps)
    for number, vector in enumerate(vectors("hashes")):
        result = {"$includes": {"hash": str(vector["hash"])}}
        yield Case("hashes", _named(number, vector["key"]), [{"op": "key", "text": vector["key"], "result": result}])
    for number, vector in enumerate(vectors("slots")["keys"]):
        result = {"$includes": {name: vector[name] for name in ("slot", "collection_slot")}}
        yield Case("slots", _named(number, vector["key"]), [{"op": "key", "text": vector["key"], "result": result}])


def _values() -> Iterator[Case]:
    for number, vector in enumerate(vectors("values")):
        value = _notation(vector["value"])
        wire = {"$message": "Value", "hex": vector["wire"]}
        steps = [
            {"op": "encode", "value": value, "result": {"wire": wire}},
            {"op": "decode", "wire": vector["wire"], "result": {"value": value}},
        ]
        yield Case("values", _named(number, vector["value"]), steps)
    for number, vector in enumerate(vectors("wire_refused")):
        if vector["why"] in _REFUSED_BY_CLIENTS:
            step = {"op": "decode", "wire": vector["wire"], "error": {"reason": _UNREADABLE}}
            yield Case("refused", _named(number, vector["why"]), [step])


def _sort_keys() -> Iterator[Case]:
    ordered = [vector for tied in vectors("sort_keys") for vector in tied]
    for number, vector in enumerate(ordered):
        value = _notation(vector["value"])
        steps = [
            {
                "op": "sort_key",
                "value": value,
                "descending": direction == "descending",
                "result": {"sort_key": vector[direction]},
            }
            for direction in ("ascending", "descending")
        ]
        yield Case("sort_keys", _named(number, vector["value"]), steps)


def _queries() -> Iterator[Case]:
    for number, vector in enumerate(vectors("wire_queries")):
        query = {name: part for name, part in vector["query"].items() if name not in ("filter", "order")}
        query |= {"filters": [_condition(part) for part in vector["query"].get("filter", ())]}
        query |= {"orders": [order.removeprefix("+") for order in vector["query"].get("order", ())]}
        if "start_after" in query:
            sort_key, key = query["start_after"]
            value = {"value": _notation(_STARTED_AFTER[sort_key])} if sort_key else {}
            query["start_after"] = {"key": key, **value}
        wire = {"$message": "Query", "hex": vector["wire"]}
        step = {"op": "query", "query": query, "result": {"wire": wire}}
        yield Case("wire_queries", _named(number, vector["query"]), [step])


def _condition(part: Any) -> Any:
    if isinstance(part, dict):
        [(joint, parts)] = part.items()
        return {joint: _condition(parts) if joint == "not" else [_condition(each) for each in parts]}
    field, operator, value = part
    return [field, operator.replace(" ", "_"), _notation(value)]


def _errors() -> Iterator[Case]:
    for number, vector in enumerate(vectors("wire_errors")):
        facts = {name: str(fact) for name, fact in vector["facts"].items() if name != "retry_after_s"}
        if "retry_after_s" in vector["facts"]:
            facts["retry_after_ms"] = str(round(1000 * vector["facts"]["retry_after_s"]))
        error = {"$includes": {"reason": vector["reason"], "details": {"$includes": facts}}}
        step = {"op": "error", "status": vector["status"], "result": {"error": error}}
        yield Case("errors", _named(number, [vector["reason"], vector["facts"]]), [step])


def _filters() -> Iterator[Case]:
    """Which values pass which filters: stored, and selected by queries."""
    found = vectors("filters")
    for number, vector in enumerate(found["filters"]):
        passes = [(operator, operator in vector["passes"]) for operator in ("<", "<=", "=", "!=", ">=", ">")]
        yield _filtered(_named(number, [vector["value"], vector["wanted"]]), vector, passes)
    for number, vector in enumerate(found["operators"]):
        operator = vector["operator"].replace(" ", "_")
        name = _named(number, [vector["value"], operator, vector["wanted"]])
        yield _filtered(f"operator_{name}", vector, [(operator, vector["passes"])])


def _filtered(name: str, vector: dict[str, Any], passes: list[tuple[str, bool]]) -> Case:
    wanted = _notation(vector["wanted"])
    steps: list[dict[str, Any]] = [{"op": "put", "key": "~/x", "value": {"map": {"f": _notation(vector["value"])}}}]
    for operator, does_pass in passes:
        query = {"key": "~", "filters": [["f", operator, wanted]], "keys_only": True}
        entries = [{"key": "~/x"}] if does_pass else []
        steps.append({"op": "read", "query": query, "result": {"$includes": {"entries": entries}}})
    return Case("filters", name, steps, needs="node")


def _projections() -> Iterator[Case]:
    for number, vector in enumerate(vectors("filters")["projections"]):
        entry = {"key": "~/x", "value": _notation(vector["cut"])}
        steps = [
            {"op": "put", "key": "~/x", "value": _notation(vector["value"])},
            {
                "op": "read",
                "query": {"key": "~", "fields": vector["fields"]},
                "result": {"$includes": {"entries": [entry]}},
            },
        ]
        yield Case("fields", _named(number, [vector["value"], vector["fields"]]), steps, needs="node")


def _aggregates() -> Iterator[Case]:
    for number, vector in enumerate(vectors("aggregates")):
        numbers = [{"map": {"n": _notation(each)}} for each in vector["numbers"]]
        writes = [{"put": {"key": f"~/{place}", "value": value}} for place, value in enumerate(numbers)]
        values = [_notation(vector["sum"]), _notation(vector["avg"])]
        asked = [{"function": function, "field": "n", "as": function.lower()} for function in ("SUM", "AVG")]
        steps = [
            *([{"op": "batch_write", "writes": writes}] if writes else []),
            {
                "op": "aggregate",
                "query": {"key": "~"},
                "aggregations": asked,
                "result": {"groups": [{"group": [], "values": values}]},
            },
        ]
        yield Case("aggregates", _named(number, vector["numbers"]), steps, needs="node")
