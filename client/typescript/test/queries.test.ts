// Queries, patches and the terms of writes: what they refuse before anything is sent, and that steps change nothing.

import assert from "node:assert/strict";
import { test } from "node:test";
import { and, field, Key, not, or, Patch, Query, Timestamp, Write, type Filter } from "../src/index.js";
import { projected } from "../src/fields.js";
import { termsInit } from "../src/operations.js";

const KEY = new Key("/a");

test("a step returns another query and leaves the first as it was", () => {
  const all = new Query("/Airport");
  const some = all.filter("country", "=", "CH").order("-elevation").limit(5);
  assert.equal(all.init.filters?.length, 0);
  assert.equal(some.init.filters?.length, 1);
  assert.equal(some.order("name").init.orders?.length, 2);
  assert.equal(some.init.orders?.length, 1);
});

function nestedFilter(depth: number): Filter {
  return depth === 0 ? field("x", "=", 1n) : not(nestedFilter(depth - 1));
}

function deep(depth: number): [] {
  return (depth === 0 ? [] : [deep(depth - 1)]) as [];
}

const REFUSED: readonly [what: string, make: () => unknown, reason: string][] = [
  ["an empty path", () => new Query().filter("", "=", 1n), "INVALID_QUERY"],
  ["a path of 1,025 bytes", () => new Query().order("-" + "é".repeat(512) + "x"), "INVALID_QUERY"],
  ["a path with a lone surrogate", () => new Query().fields("\ud800"), "INVALID_QUERY"],
  ["an unknown operator", () => new Query().filter("x", "==" as "=", 1n), "INVALID_QUERY"],
  ["in without a list", () => field("x", "in", "a"), "INVALID_QUERY"],
  ["exists without a boolean", () => field("x", "exists", 1n), "INVALID_QUERY"],
  ["starts_with a number", () => field("x", "starts_with", 1n), "INVALID_QUERY"],
  ["a value that cannot be sent", () => field("x", "=", 2n ** 64n), "INVALID_VALUE"],
  ["and of nothing", () => and(), "INVALID_QUERY"],
  ["filters 17 deep", () => nestedFilter(17), "LIMIT_EXCEEDED"],
  ["a value 17 deep within or", () => or(field("x", "=", deep(16))), "LIMIT_EXCEEDED"],
  ["a negative limit", () => new Query().limit(-1), "INVALID_QUERY"],
  ["half a limit", () => new Query().limit(1.5), "INVALID_QUERY"],
  ["an offset of 2^63", () => new Query().offset(2n ** 63n), "INVALID_QUERY"],
  ["17 orders", () => new Query().order(...Array<string>(17).fill("x")), "LIMIT_EXCEEDED"],
  ["257 fields", () => new Query().fields(...Array<string>(257).fill("x")), "LIMIT_EXCEEDED"],
  ["fields of keys only", () => new Query().keysOnly().fields("x"), "INVALID_QUERY"],
  ["keys only of fields", () => new Query().fields("x").keysOnly(), "INVALID_QUERY"],
  ["the key as a field", () => new Query().fields("__key__"), "INVALID_QUERY"],
  ["an order after a position", () => new Query().startAfter({ key: KEY }).order("x"), "INVALID_QUERY"],
  ["a position without a value", () => new Query().order("x").startAfter({ key: KEY }), "INVALID_QUERY"],
  ["a key with a control character", () => new Query("/a\u0007"), "INVALID_KEY"],
  ["a patch without changes", () => Patch.empty.init(KEY, false), "INVALID"],
  ["a patch of an empty path", () => Patch.remove("").init(KEY, false), "INVALID"],
  ["an increment by a string", () => Patch.increment("x", "1" as never).init(KEY, false), "UNSUPPORTED_TYPE"],
  ["a version of 0", () => termsInit({ condition: { version: 0n } }), "INVALID"],
  ["a version that is a number", () => termsInit({ condition: { version: 1 as never } }), "INVALID"],
  ["an expiry now", () => termsInit({ expiry: { inMs: 0 } }), "INVALID"],
  ["an expiry after NaN", () => termsInit({ expiry: { inMs: NaN } }), "INVALID"],
  ["a write of a bad key", () => Write.delete("\u0000"), "INVALID_KEY"],
];

for (const [what, make, reason] of REFUSED) {
  test(`${what} is refused`, () => {
    assert.throws(make, { name: "DatastoreError", reason });
  });
}

test("what is at a limit is taken", () => {
  nestedFilter(16);
  or(field("x", "=", deep(15)));
  const query = new Query().filter("é".repeat(512), "=", 1n).limit(2n ** 63n - 1n);
  query.order(...Array<string>(16).fill("x")).fields(...Array<string>(256).fill("x"));
});

test("65 comparisons are too many, wherever they are", () => {
  const query = new Query().filter(or(...Array<Filter>(63).fill(field("x", "=", 1n)))).filter("y", "=", 2n);
  assert.throws(() => query.filter("z", "=", 3n), {
    reason: "LIMIT_EXCEEDED",
    details: { limit: "filters", maximum: 64 },
  });
});

test("a time is rounded up to whole microseconds", () => {
  const { expiry } = termsInit({ expiry: { inMs: 1500.0001 } });
  assert.deepEqual(expiry, { kind: { case: "expiresIn", value: { seconds: 1n, nanos: 500_001_000 } } });
});

test("a value is cut to fields as the server cuts it", () => {
  const value = { name: "Bern", geo: { lat: 46.9, lon: 7.5 }, "geo.lat": 1n };
  assert.deepEqual(projected(value, ["geo.lat", "iata"]), { "geo.lat": 1n });
  assert.deepEqual(projected(value, ["geo.lon", "geo"]), { geo: value.geo });
  assert.deepEqual(projected([1n], ["geo"]), {});
  assert.deepEqual(projected({ at: new Timestamp(1n) }, ["at.microseconds"]), {});
});
