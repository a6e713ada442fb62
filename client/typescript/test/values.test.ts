// Values: what is refused and where, and what a value keeps on its way to bytes and back.

import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import assert from "node:assert/strict";
import { test } from "node:test";
import { Key, Timestamp, type Value, type ValueInput } from "../src/index.js";
import { decodeValue, encodeValue } from "../src/values.js";

const KEPT: readonly Value[] = [
  null,
  true,
  0n,
  -(2n ** 63n),
  2n ** 63n - 1n,
  0,
  -0,
  1.5,
  NaN,
  -Infinity,
  "",
  "a\u0000\u{10ffff}",
  new Uint8Array([0, 255]),
  new Timestamp(-1n),
  new Timestamp(1_795_961_662_123_456n),
  new Key("/Airport:LSZS"),
  [],
  {},
  [1n, [2, ["x"]]],
  { "": 1n, "a.b": { c: [null] } },
];

for (const value of KEPT) {
  const shown = JSON.stringify(value, (_, part: unknown) => (typeof part === "bigint" ? `${part}n` : part));
  test(`${shown} is read as it was written`, () => {
    assert.deepStrictEqual(decodeValue(encodeValue(value)), value);
  });
}

test("a member may be named as what objects have anyway", () => {
  const written = JSON.parse('{"__proto__": "p", "constructor": "c", "toString": "t"}') as Record<string, string>;
  const read = decodeValue(encodeValue(written)) as Record<string, Value>;
  assert.deepEqual(Object.entries(read).sort(), Object.entries(written).sort());
  assert.equal(Object.getPrototypeOf(read), Object.prototype);
});

test("1 is a double and 1n an integer", () => {
  assert.equal(Buffer.from(encodeValue(1)).toString("hex"), "21000000000000f03f");
  assert.equal(Buffer.from(encodeValue(1n)).toString("hex"), "1801");
});

test("bytes that were read do not keep the message that they came in", () => {
  const message = encodeValue([new Uint8Array([7]), "x".repeat(1000)]);
  const [bytes] = decodeValue(message) as [Uint8Array];
  assert.equal(bytes.buffer.byteLength, 1);
});

test("a Buffer, a frozen array and an object without a prototype are taken", () => {
  assert.deepEqual(decodeValue(encodeValue(Buffer.from([1]))), new Uint8Array([1]));
  assert.deepEqual(decodeValue(encodeValue(Object.freeze([1n]))), [1n]);
  assert.deepEqual(decodeValue(encodeValue(Object.assign(Object.create(null) as object, { a: 1n }) as ValueInput)), {
    a: 1n,
  });
});

function nested(depth: number): Value {
  return depth === 0 ? [] : [nested(depth - 1)];
}

const REFUSED: readonly [what: string, value: unknown, reason: string, path: string, text: RegExp][] = [
  ["a bigint over 64 bits", { a: [0, 2n ** 63n] }, "INVALID_VALUE", "value['a'][1]", /64 bits/],
  ["one below them", -(2n ** 63n) - 1n, "INVALID_VALUE", "value", /64 bits/],
  ["a lone surrogate", ["a\ud800"], "INVALID_VALUE", "value[0]", /lone surrogate at 1/],
  ["one in a name", { a: { "\udc00": 1 } }, "INVALID_VALUE", "value['a']", /a name that has a lone surrogate at 0/],
  ["33 lists", nested(32), "INVALID_VALUE", `value${"[0]".repeat(32)}`, /32 deep/],
  ["undefined", { a: undefined }, "UNSUPPORTED_TYPE", "value['a']", /leave the member out/],
  ["a hole", new Array(1), "UNSUPPORTED_TYPE", "value[0]", /undefined/],
  ["a Date", [new Date(0)], "UNSUPPORTED_TYPE", "value[0]", /Timestamp\.fromDate/],
  ["a Map", new Map(), "UNSUPPORTED_TYPE", "value", /Object\.fromEntries/],
  ["a function", { "it's": () => 1 }, "UNSUPPORTED_TYPE", "value['it\\'s']", /function/],
  ["a symbol", Symbol("x"), "UNSUPPORTED_TYPE", "value", /symbol/],
  [
    "an instance of a class",
    new (class Point {
      x = 1;
    })(),
    "UNSUPPORTED_TYPE",
    "value",
    /Point/,
  ],
  ["other arrays of bytes", new Uint16Array(1), "UNSUPPORTED_TYPE", "value", /Uint16Array/],
];

for (const [what, value, reason, path, message] of REFUSED) {
  test(`${what} is refused, with its path`, () => {
    assert.throws(() => encodeValue(value as Value), { reason, message, details: { path } });
  });
}

test("32 lists are taken", () => {
  assert.deepEqual(decodeValue(encodeValue(nested(31))), nested(31));
});

test("a value that refers to itself is refused", () => {
  const circle: Value[] = [];
  circle.push(circle);
  assert.throws(() => encodeValue(circle), { reason: "INVALID_VALUE" });
});

const UNREADABLE: readonly [what: string, wire: string][] = [
  ["a timestamp of 2^62 s", "3a0a08808080808080808040"],
  ["a timestamp of -1 ns", "3a0b10ffffffffffffffffff01"],
  ["a timestamp of 1,000,000,000 ns", "3a06108094ebdc03"],
  ["a key that is not canonical", "42040a022f2f"],
  ["a key with a control character", "42040a022f07"],
];

for (const [what, wire] of UNREADABLE) {
  test(`${what} is not a value that can be read`, () => {
    assert.throws(() => decodeValue(Buffer.from(wire, "hex")), { reason: "CORRUPT_DATA" });
  });
}

test("33 lists are not a value that can be read, and 32 are", () => {
  let wire: Uint8Array = Buffer.from("4a00", "hex");
  for (let depth = 1; depth < 32; depth++) wire = within(wire);
  assert.deepEqual(decodeValue(wire), nested(31));
  assert.throws(() => decodeValue(within(wire)), { reason: "CORRUPT_DATA" });
});

/** A list of this value. */
function within(value: Uint8Array): Uint8Array {
  const list = new BinaryWriter().tag(1, WireType.LengthDelimited).bytes(value).finish();
  return new BinaryWriter().tag(9, WireType.LengthDelimited).bytes(list).finish();
}

for (const wire of ["", "4a020a00", "52070a050a01611200", "2a01ff", "4aff", "9a0600"]) {
  test(`the bytes ${wire || "(none)"} are not a value`, () => {
    assert.throws(() => decodeValue(Buffer.from(wire, "hex")), { reason: "CORRUPT_DATA" });
  });
}

test("a Timestamp has microseconds, and a Date only milliseconds", () => {
  const instant = new Timestamp(1_795_961_662_123_456n);
  assert.equal(String(instant), "2026-11-29T14:14:22.123456Z");
  assert.equal(instant.toDate().toISOString(), "2026-11-29T14:14:22.123Z");
  assert.equal(Timestamp.fromDate(instant.toDate()).microseconds, 1_795_961_662_123_000n);
  assert.equal(String(new Timestamp(-1n)), "1969-12-31T23:59:59.999999Z");
  assert.ok(instant.equals(new Timestamp(instant.microseconds)));
});

test("the years of a Timestamp are 1 to 9999", () => {
  assert.equal(String(new Timestamp(-62_135_596_800_000_000n)), "0001-01-01T00:00:00.000000Z");
  assert.equal(String(new Timestamp(253_402_300_799_999_999n)), "9999-12-31T23:59:59.999999Z");
  for (const outside of [-62_135_596_800_000_001n, 253_402_300_800_000_000n]) {
    const error = { reason: "INVALID_VALUE", details: { path: "value['at']" } };
    assert.throws(() => encodeValue({ at: new Timestamp(outside) }), error);
  }
  assert.throws(() => Timestamp.fromDate(new Date(NaN)), { reason: "INVALID_VALUE" });
  assert.throws(() => new Timestamp(1 as unknown as bigint), { reason: "UNSUPPORTED_TYPE" });
});
