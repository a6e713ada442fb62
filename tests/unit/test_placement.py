"""Where keys live: the same everywhere, and never moved more than needed."""

from __future__ import annotations

import pytest

from datastore import Key, Query, ShardedDatastore
from datastore.core.basic import DictDatastore
from datastore.engine.placement import SLOTS, SlotMap, slot_of
from datastore.model.errors import ConfigError
from tests.support.vectors import vectors


def test_slots_and_shards_are_those_of_the_vectors():
    golden = vectors("slots")
    by_key = SlotMap(golden["shards"])
    by_collection = SlotMap(golden["shards"], shard_by="collection")
    assert (by_key.epoch, by_collection.epoch) == (golden["epoch_by_key"], golden["epoch_by_collection"])
    assert {name: by_key.slots_of(name) for name in by_key.names} == golden["slots_by_key"]
    for row in golden["keys"]:
        key = Key(row["key"])
        assert (slot_of(key), by_key.shard_of(key)) == (row["slot"], row["shard"])
        assert slot_of(key, "collection") == row["collection_slot"]
        assert by_collection.shard_of(key) == row["collection_shard"]


def test_the_order_of_the_names_does_not_matter():
    one, other = SlotMap(["a", "b", "c"]), SlotMap(["c", "a", "b"])
    assert one.names == other.names == ("a", "b", "c")
    assert one.epoch == other.epoch
    assert one.owners == other.owners


def test_shares_are_even():
    slots = SlotMap([f"shard-{number}" for number in range(10)])
    counts = [slots.slots_of(name) for name in slots.names]
    assert sum(counts) == SLOTS
    assert max(counts) < 1.15 * min(counts)


def test_a_new_shard_takes_its_share_and_moves_nothing_else():
    before, after = SlotMap(["a", "b", "c"]), SlotMap(["a", "b", "c", "d"])
    moved = 0
    for old, new in zip(before.owners, after.owners, strict=True):
        if after.names[new] == "d":
            moved += 1
        else:
            assert before.names[old] == after.names[new]
    assert 0.2 < moved / SLOTS < 0.3


def test_a_different_placement_has_a_different_epoch():
    epochs = {SlotMap(names, shard_by=by).epoch for names in (["a"], ["b"], ["a", "b"]) for by in ("key", "collection")}
    assert len(epochs) == 6


@pytest.mark.parametrize(("names", "text"), [([], "at least one"), (["a", "b", "a"], "'a'")])
def test_shards_need_different_names(names, text):
    with pytest.raises(ConfigError, match=text):
        SlotMap(names)


def test_a_collection_is_on_one_shard_and_only_that_is_queried():
    asked = []

    class Watched(DictDatastore):
        ordered_queries = True

        def query(self, query):
            asked.append(self)
            return super().query(query)

    slots = SlotMap(["a", "b", "c"], shard_by="collection")
    stores = [Watched() for _ in slots.names]
    sharded = ShardedDatastore(stores, slots.shardingfn, names=slots.names)
    keys = [Key(f"/list:{number}") for number in range(50)]
    for key in keys:
        sharded.put(key, 1)
    assert [len(store) for store in stores].count(0) == 2
    assert len(list(sharded.query(Query(Key("/list"))))) == 50
    assert asked == [stores[slots(keys[0])]]
    assert len(list(sharded.query(Query(Key("/list"), recursive=True)))) == 50
    assert len(asked) == 4
