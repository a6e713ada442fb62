"""`explain`: what each store applied of a query, examined and returned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datastore import Scan, core
from datastore.core.key import Key
from datastore.lmdb import LMDBDatastore
from datastore.model.capability import Support
from datastore.model.entries import Entry
from datastore.model.errors import QueryNotSupportedError, UnavailableError, UnsupportedTypeError
from datastore.model.explanation import PART_CHARACTERS, Explanation, QueryPart, shortened
from datastore.model.query import Query
from datastore.serialize import map_serializer
from datastore.testing.faults import FaultyDatastore

COUNT = 300


def query(**settings: Any) -> Query:
    return Query(Key("/Airport"), **settings)


def fill(store: Any) -> Any:
    for number in range(COUNT):
        store.put(Key(f"/Airport:{number:03}"), {"country": "CH" if number % 3 else "AT", "feet": number})
    return store


class Counting(core.ShimDatastore):
    """Counts the entries that its child returns, whatever the child reports."""

    def __init__(self, datastore: Any) -> None:
        super().__init__(datastore)
        self.scanned = self.returned = 0

    def scan(self, query: Query) -> Scan:
        child = self.child_datastore.scan(query)
        return Scan(self._batches(child), child.applied, source=child)

    def _batches(self, child: Any) -> Iterator[Any]:
        for batch in child.batches:
            self.scanned += batch.scanned
            self.returned += len(batch)
            yield batch
        child.close()


def parts(explanation: Explanation) -> dict[str, str]:
    return {part.text: part.support.value for part in explanation.parts}


def lone(explanation: Explanation, *kinds: str) -> Explanation:
    """The innermost store of these kinds of stores."""
    assert explanation.kind == kinds[0]
    for kind in kinds[1:]:
        (explanation,) = explanation.children
        assert explanation.kind == kind
    return explanation


def test_memory_examines_the_collection_and_the_library_does_the_rest() -> None:
    store = fill(core.DictDatastore())
    store.put(Key("/Other:1"), 1)
    asked = query(limit=2).filter("country", "=", "CH").order("-feet")
    found = store.explain(asked)
    assert (found.kind, found.scanned, found.returned, found.remaining) == ("dict", COUNT, COUNT, 2)
    assert parts(found) == dict.fromkeys(["filter country = CH", "order -feet", "limit 2"], "none")
    assert (found.children, found.note) == ([], "")
    assert found.time_s > 0
    assert asked == query(limit=2).filter("country", "=", "CH").order("-feet")
    assert not asked.explain


def test_nothing_is_left_to_do_for_a_store_that_answers_completely() -> None:
    found = core.NullDatastore().explain(query(limit=1, offset=2, keys_only=True).order("a"))
    assert found.remaining is None
    assert parts(found) == dict.fromkeys(["order a", "offset 2", "limit 1", "keys only"], "exact")


@pytest.mark.parametrize("by_limit", [True, False])
def test_lmdb_examines_fewer_entries_with_a_limit_or_a_filter_on_keys(tmp_path: Path, by_limit: bool) -> None:
    with LMDBDatastore(tmp_path / "data") as lmdb:
        fill(core.SerializerShimDatastore(lmdb))
        counting = Counting(lmdb)
        if by_limit:
            found = counting.explain(query(limit=5))
            assert parts(found) == {"limit 5": "inexact"}
        else:
            found = counting.explain(query().filter("__key__", ">=", Key("/Airport:295")))
            assert parts(found) == {"filter __key__ >= /Airport:295": "inexact"}
        assert (found.scanned, found.returned, found.remaining) == (5, 5, 5)
        assert (counting.scanned, counting.returned) == (5, 5)


def test_each_shim_says_what_it_asked_of_the_store_below() -> None:
    counting = Counting(core.DictDatastore())
    store = fill(core.NamespaceDatastore("/n", core.LoggingDatastore(counting)))
    asked = query().filter("__key__", ">=", Key("/Airport:100")).filter("country", "=", "CH")
    found = store.explain(asked)
    assert found.remaining == 134
    inner = lone(found, "namespace", "logging", "shim")
    assert parts(inner) == dict.fromkeys(["filter __key__ >= /n/Airport:100", "filter country = CH"], "none")
    assert (inner.scanned, inner.returned) == (counting.scanned, counting.returned) == (COUNT, COUNT)
    assert inner.text == "Counting"


def test_a_store_that_asks_only_for_the_scope_shows_that() -> None:
    store = fill(core.SerializerShimDatastore(core.DictDatastore()))
    found = store.explain(query().filter("country", "=", "CH"))
    assert parts(lone(found, "serializer", "dict")) == {}
    assert found.remaining == 200
    found = fill(core.SerializerShimDatastore(core.DictDatastore(), map_serializer)).explain(
        query().filter("feet", "<", 9)
    )
    assert parts(lone(found, "serializer", "dict")) == {"filter feet < 9": "none"}


def test_shards_are_explained_one_by_one_by_their_names() -> None:
    counting = [Counting(core.DictDatastore()) for _ in range(3)]
    store = fill(core.ShardedDatastore(counting, names=["a", "b", "c"]))
    found = store.explain(query(limit=4, offset=1).order("-feet"))
    assert (found.kind, found.returned, found.remaining) == ("sharded", 4, None)
    assert [child.shard for child in found.children] == ["a", "b", "c"]
    assert [child.scanned for child in found.children] == [shard.scanned for shard in counting]
    assert sum(child.scanned for child in found.children) == found.scanned == COUNT
    # Each could have all of the first five.
    assert [child.remaining for child in found.children] == [5, 5, 5]
    assert parts(found.children[0]) == {"order -feet": "none", "limit 5": "none"}


def test_a_shard_that_cannot_be_reached_says_why() -> None:
    faulty = FaultyDatastore(core.DictDatastore())
    faulty.fail("query", error=UnavailableError("gone"))
    store = core.ShardedDatastore([fill(core.DictDatastore()), faulty], names=["here", "there"])
    found = store.explain(query(allow_partial=True))
    assert [child.note for child in found.children] == ["", "gone"]
    with pytest.raises(UnavailableError, match="gone"):
        store.explain(query())


def test_tiers_and_caches_ask_the_complete_store() -> None:
    store = fill(core.TieredDatastore([core.DictDatastore(), core.NullDatastore()]))
    assert lone(store.explain(query()), "tiered", "null").returned == 0


def test_a_shim_with_its_own_query_is_explained() -> None:
    class Own(core.ShimDatastore):
        def query(self, query: Query) -> Any:
            return self.child_datastore.query(query)

    found = Own(fill(core.DictDatastore())).explain(query(limit=3))
    below = lone(found, "shim", "dict")
    assert (found.text, found.returned, found.remaining) == ("Own", COUNT, 3)
    assert below.scanned == COUNT


def test_a_query_that_is_not_explained_notes_nothing() -> None:
    cursor = fill(core.LoggingDatastore(core.DictDatastore())).query(query())
    assert len(list(cursor)) == COUNT
    assert cursor.explained == []
    assert cursor.summary.explanation is None


def test_explain_refuses_what_query_refuses() -> None:
    with pytest.raises(QueryNotSupportedError, match="spreads every collection"):
        core.NestedPathDatastore(core.DictDatastore()).explain(query())
    with pytest.raises(UnsupportedTypeError):
        core.DictDatastore().explain("/Airport")  # type: ignore[arg-type]


def test_a_store_that_breaks_halfway_raises_from_explain() -> None:
    class Breaks(core.Datastore):
        def scan(self, query: Query) -> Scan:
            return Scan.from_entries(self._entries())

        def _entries(self) -> Iterator[Entry]:
            yield Entry(Key("/Airport:1"), 1)
            raise UnavailableError("halfway")

    with pytest.raises(UnavailableError, match="halfway"):
        Breaks().explain(query())


@pytest.mark.parametrize("length", [PART_CHARACTERS - 1, PART_CHARACTERS, PART_CHARACTERS + 1])
def test_the_text_of_a_part_is_bounded(length: int) -> None:
    shown = shortened("x" * length)
    assert len(shown) == min(length, PART_CHARACTERS)
    assert shown.endswith("…") == (length > PART_CHARACTERS)


def test_the_text_of_a_part_is_safe_to_print() -> None:
    assert shortened("filter a = \x1b[2J\n\ud800é") == "filter a = \ufffd[2J\ufffd\ufffdé"


def test_an_explanation_is_shown_as_a_tree() -> None:
    shown = Explanation(
        "sharded",
        "2 shards",
        (QueryPart("filter a = 1", Support.EXACT), QueryPart("limit 2", Support.EXACT)),
        scanned=1200,
        returned=2,
        time_s=0.0123,
        children=[
            Explanation("dict", "", (QueryPart("limit 2", Support.NONE),), "a", 600, 600, 2, 0.01),
            Explanation("dict", "", (QueryPart("filter a = 1", Support.INEXACT),), "b", 600, 0, 0, 0.01, "gone"),
        ],
    )
    assert str(shown).splitlines() == [
        "sharded (2 shards): scanned 1,200, returned 2, 12.3 ms",
        "  applied: filter a = 1, limit 2",
        "  shard a: dict: scanned 600, returned 600, 10.0 ms",
        "    applied after reading: limit 2",
        "    left after that: 2",
        "  shard b: dict: scanned 600, returned 0, 10.0 ms",
        "    applied in part: filter a = 1",
        "    left after that: 0",
        "    note: gone",
    ]
