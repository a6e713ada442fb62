// Keys: the rules of their text, their order, and where a cluster places them. Pure.

import { DatastoreError } from "./errors.js";
import { compareText, loneSurrogate, utf8, utf8Length } from "./text.js";
import { xxh3 } from "./xxh3.js";

/** The longest key, in bytes of UTF-8. */
export const KEY_BYTES = 1024;

const SLOTS = 16_384n;
const HASH_MASK = (1n << 60n) - 1n;
// eslint-disable-next-line no-control-regex -- these are what a key must not contain
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
// eslint-disable-next-line no-control-regex -- the same
const CANONICAL = /^(?:\/|(?:\/[^/\u0000-\u001f\u007f-\u009f]+)+)$/;

/** Where a key is expected, its text will do. */
export type KeyLike = Key | string;

/**
 * The name of an entry: parts, each preceded by a slash, such as `/Airport:LSZS` or `/users/ada/photo`.
 *
 * Immutable. Two keys are equal if and only if their texts are; `/` is the root.
 */
export class Key {
  /** The canonical text. */
  readonly text: string;

  /**
   * The key of a text, which need not be canonical: double slashes, a slash at the end or none at the beginning.
   *
   * Fails with INVALID_KEY for control characters, lone surrogates, and more than 1,024 bytes of UTF-8.
   */
  constructor(text: string) {
    this.text = canonical(text);
  }

  /** The key itself, or that of a text. */
  static from(key: KeyLike): Key {
    return key instanceof Key ? key : new Key(key);
  }

  /** @internal The key of an answer, which has to be canonical; undefined if it is not. */
  static ofAnswer(text: string): Key | undefined {
    return CANONICAL.test(text) && (3 * text.length <= KEY_BYTES || utf8Length(text) <= KEY_BYTES)
      ? Key.ofCanonical(text)
      : undefined;
  }

  /** @internal A key whose text is known to be canonical. */
  static ofCanonical(text: string): Key {
    const key = Object.create(Key.prototype) as { text: string };
    key.text = text;
    return key as Key;
  }

  /** The order of keys, by code points: negative, 0 or positive. For `Array.sort`. */
  static readonly compare = (a: Key, b: Key): number => compareText(a.text, b.text);

  /** The parts of the text: `["a", "b:c"]` of `/a/b:c`. */
  get parts(): string[] {
    return this.text === "/" ? [] : this.text.slice(1).split("/");
  }

  /** The key of the collection that this key belongs to: `/Airport` for `/Airport:LSZS`, `/a` for `/a/b`. */
  get collection(): Key {
    const slash = this.text.lastIndexOf("/");
    const colon = this.text.indexOf(":", slash);
    const end = colon > slash + 1 ? colon : slash;
    return Key.ofCanonical(this.text.slice(0, end) || "/");
  }

  /** The key with more parts below this one: `new Key("/a").child("b")` is `/a/b`. Fails like the constructor. */
  child(...parts: string[]): Key {
    return new Key([this.text, ...parts].join("/"));
  }

  /** The hash of the text, of 60 bits, that decides which slot the key is in. */
  get hash(): bigint {
    return xxh3(utf8(this.text)) & HASH_MASK;
  }

  /** The slot of a cluster that the key is in, of 16,384; of one with `shard_by = "collection"`, `collection.slot`. */
  get slot(): number {
    return Number(this.hash % SLOTS);
  }

  /** Whether this is the same key. */
  equals(other: Key): boolean {
    return this.text === other.text;
  }

  /** The canonical text. */
  toString(): string {
    return this.text;
  }

  /** The canonical text. */
  toJSON(): string {
    return this.text;
  }
}

function canonical(text: string): string {
  if (typeof text !== "string") {
    throw new DatastoreError("UNSUPPORTED_TYPE", `a key is made of a string, not of ${typeof text}`, { path: "key" });
  }
  const shown = JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}...` : text);
  const control = CONTROL.exec(text);
  if (control !== null) {
    const code = control[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");
    throw new DatastoreError("INVALID_KEY", `a key cannot contain the control character U+${code}: ${shown}`);
  }
  const lone = loneSurrogate(text);
  if (lone >= 0) {
    throw new DatastoreError(
      "INVALID_KEY",
      `a key has a lone surrogate at ${lone}, which UTF-8 cannot carry: ${shown}`,
    );
  }
  const made = isCanonical(text) ? text : `/${text.split("/").filter(Boolean).join("/")}`;
  const bytes = utf8Length(made);
  if (bytes > KEY_BYTES) {
    throw new DatastoreError(
      "INVALID_KEY",
      `a key has at most ${KEY_BYTES} bytes, and this one has ${bytes}: ${shown}`,
    );
  }
  return made;
}

function isCanonical(text: string): boolean {
  return text === "/" || (text.startsWith("/") && !text.endsWith("/") && !text.includes("//"));
}
