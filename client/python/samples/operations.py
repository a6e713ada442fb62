"""The twelve operations of docs/clients.md: python client/python/samples/operations.py HOST:PORT."""

from __future__ import annotations

import sys

from datastore import Count, Datastore, Key, Query, Write
from datastore.errors import ConditionFailedError
from datastore_client import connect

SAMEDAN = {"name": "Samedan", "code": "LSZS", "country": "CH", "elevation": 5600}
ZURICH = {"name": "Zurich", "code": "LSZH", "country": "CH", "elevation": 1416}
FRANKFURT = {"name": "Frankfurt", "code": "EDDF", "country": "DE", "elevation": 364}


def entries(store: Datastore) -> None:
    """One entry, and several."""
    # [put]
    samedan = Key("/Airport:LSZS")
    store.put(samedan, {"name": "Samedan", "code": "LSZS", "country": "CH", "elevation": 5600})
    # [/put]
    print("put", samedan)

    # [get]
    airport = store.get(samedan)  # None if there is none
    # [/get]
    print("get", airport["name"])

    store.put(Key("/Airport:XXXX"), True)
    # [delete]
    store.delete(Key("/Airport:XXXX"))
    exists = store.contains(Key("/Airport:XXXX"))
    # [/delete]
    print("delete", str(exists).lower())

    # [batch_write]
    airports = [SAMEDAN, ZURICH, FRANKFURT]
    results = store.batch_write([Write(Key(f"/Airport:{each['code']}"), each) for each in airports])
    made = [result for result in results if result.error is None]
    # [/batch_write]
    print("batch_write", len(made))

    # [batch_get]
    codes = ["LSZH", "EDDF", "XXXX"]
    found = [result.value for result in store.batch_get([Key(f"/Airport:{code}") for code in codes])]
    # [/batch_get]
    print("batch_get", *("-" if value is None else value["code"] for value in found))


def query(store: Datastore) -> None:
    """What a query selects."""
    # [query]
    low = Query(Key("/Airport"), limit=2).filter("elevation", "<", 5000).order("-elevation")
    keys = [entry.key for entry in store.query(low).entries()]
    # [/query]
    print("query", *keys)


def changes(store: Datastore) -> None:
    """Writes on a condition, of parts, for a while; and those of others."""
    samedan = Key("/Airport:LSZS")
    # [condition]
    try:
        store.put(samedan, SAMEDAN, if_absent=True)
    except ConditionFailedError:  # it is there already
        if entry := store.entry(samedan):
            store.put(samedan, entry.value, if_version=entry.version)
        # [/condition]
        print("condition", "CONDITION_FAILED")

    # [patch]
    patched = store.patch(samedan, increment={"elevation": 1})
    # [/patch]
    print("patch", patched["elevation"])

    # [expiry]
    session = Key("/Session:1")
    store.put(session, {"user": "ada"}, expires_in_s=3600)
    entry = store.entry(session)
    # [/expiry]
    print("expiry", str(entry is not None and entry.expire_time is not None).lower())


def aggregate(store: Datastore) -> None:
    """What is computed of it."""
    # [aggregate]
    rows = store.aggregate(Query(Key("/Airport")), {"airports": Count()}, group_by=["country"])
    # [/aggregate]
    print("aggregate", *(f"{row['country']}={row['airports']}" for row in rows))


def watch(store: Datastore) -> None:
    """The changes from now on."""
    # [watch]
    with store.watch(Query(Key("/Airport"))) as changes:
        store.put(Key("/Airport:LSZS"), SAMEDAN)
        change = next(changes)  # `for change in changes` waits for each
        # [/watch]
        print("watch", change.kind.name, change.key)


def main(address: str) -> None:
    """Print a line for each operation."""
    # [connect]
    store = connect(f"grpc://{address}")
    # [/connect]
    with store:
        for part in (entries, query, changes, aggregate, watch):
            part(store)


if __name__ == "__main__":
    main(sys.argv[1])
