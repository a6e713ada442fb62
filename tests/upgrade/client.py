"""What clients do at a server, run by a client of this release or of an earlier one, with names that all of them have.

    python client.py URL write|read

`write` stores entries, in each way and with each kind of value; `read` prints what each way of reading finds.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pprint import saferepr

from datastore import Datastore, Key, Query, Write
from datastore_client import connect

THINGS = Key("/Thing")
VALUES = {
    "bytes": b"\x00\xff",
    "empty": {},
    "float": 1.5,
    "integer": 2**63 - 1,
    "key": Key("/Other:key"),
    "list": [None, True, "x", [1, 2.0]],
    "map": {"n": 1, "name": {"first": "Ada"}},
    "text": "Gr\u00fc\u00dfe \U0001f642",
    "time": datetime(2026, 11, 29, 12, 30, 15, 123456, tzinfo=UTC),
}


def write(store: Datastore) -> None:
    """Store entries one by one and in a batch, replace some, and delete some."""
    for name, value in VALUES.items():
        store.put(THINGS.child(name), value)
    numbered = [Write(Key(f"/Number:{number:02}"), {"n": number, "even": number % 2 == 0}) for number in range(20)]
    for outcome in store.batch_write(numbered):
        assert outcome.error is None, outcome
    store.put(Key("/Number:00"), {"n": 100, "even": True})
    store.delete(Key("/Number:19"))


def read(store: Datastore) -> None:
    """Print each result of each way of reading; maps in one order, which releases differ in."""
    for name in [*VALUES, "absent"]:
        print("get", name, saferepr(store.get(THINGS.child(name))), store.contains(THINGS.child(name)))
    for outcome in store.batch_get([Key("/Number:00"), Key("/Number:19"), Key("/Number:07")]):
        print("batch", saferepr(outcome.value), outcome.error)
    ordered = Query(Key("/Number"), limit=5, offset=1).filter("even", "=", True).order("-n")
    for title, query in {
        "all": Query(Key("/"), recursive=True),
        "ordered": ordered,
        "keys": Query(Key("/Number"), keys_only=True),
    }.items():
        for entry in store.query(query).entries():
            print(title, entry.key, saferepr(entry.value))


if __name__ == "__main__":
    _, url, step = sys.argv
    with connect(url, timeout_s=600) as store:
        {"write": write, "read": read}[step](store)
