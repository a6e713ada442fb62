// Keys: hashes of every length, and the order of their text.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Key } from "../src/index.js";
import { compareText, loneSurrogate, utf8, utf8Length } from "../src/text.js";
import { xxh3 } from "../src/xxh3.js";

/** The hash of so many bytes, (131 i + length) mod 256, as the reference implementation gives it. */
const HASHES: Readonly<Record<number, bigint>> = {
  0: 3244421341483603138n,
  1: 16226181191752404715n,
  2: 8162508703326404626n,
  3: 10901680259175559848n,
  4: 330396430461541434n,
  8: 4268820291649317856n,
  9: 17754720310858725323n,
  16: 9048513214683920356n,
  17: 9021578923543107484n,
  32: 6809887140961058175n,
  33: 7474940626096090251n,
  64: 13668249212486261783n,
  65: 5854954145862715370n,
  96: 2892003892435416804n,
  97: 7343354712810120500n,
  128: 11110159485268678764n,
  129: 6649981455697571024n,
  144: 3074881006626348402n,
  240: 7187060630816538868n,
  241: 7970929161853010609n,
  256: 2768073855359201733n,
  257: 18011081954888544689n,
  511: 9660344725104408461n,
  512: 15250640862793688320n,
  1023: 3675866724502896822n,
  1024: 13653862720620579689n,
};

for (const [length, hash] of Object.entries(HASHES)) {
  test(`${length} bytes have the hash of the reference implementation`, () => {
    const data = Uint8Array.from({ length: Number(length) }, (_, at) => (131 * at + Number(length)) % 256);
    assert.equal(xxh3(data), hash);
  });
}

/** Texts of all lengths of UTF-8, in no particular order. */
const TEXTS = [
  "",
  "a",
  "ab",
  "é",
  "\u07ff",
  "\u0800",
  "\ud7ff",
  "\ue000",
  "\uffff",
  "\u{10000}",
  "\u{10ffff}",
  "a\u{10000}",
];

test("texts compare as their UTF-8, not as their UTF-16", () => {
  for (const a of TEXTS) {
    for (const b of TEXTS) {
      assert.equal(Math.sign(compareText(a, b)), Buffer.compare(utf8(a), utf8(b)), JSON.stringify([a, b]));
    }
  }
});

test("the length of UTF-8 is counted without encoding", () => {
  for (const text of TEXTS) assert.equal(utf8Length(text), utf8(text).length, JSON.stringify(text));
});

test("the first lone surrogate is found, and no pair", () => {
  assert.equal(loneSurrogate("\u{10000}a"), -1);
  assert.equal(loneSurrogate("\u{10000}\ud800a"), 2);
});

test("keys have parts, a collection, and children that are checked", () => {
  const key = new Key("users//ada/");
  assert.equal(key.text, "/users/ada");
  assert.deepEqual(key.parts, ["users", "ada"]);
  assert.equal(key.collection.text, "/users");
  assert.equal(key.child("photo:1").text, "/users/ada/photo:1");
  assert.equal(String(key), JSON.parse(JSON.stringify(key)));
  assert.ok(key.equals(new Key("/users/ada")));
  assert.throws(() => key.child("\n"), { reason: "INVALID_KEY" });
  assert.deepEqual(
    ["/b", "/a", "/"]
      .map((text) => new Key(text))
      .sort(Key.compare)
      .map(String),
    ["/", "/a", "/b"],
  );
});

test("what is not a string is not a key", () => {
  assert.throws(() => new Key(5 as unknown as string), { reason: "UNSUPPORTED_TYPE" });
});
