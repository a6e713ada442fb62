// Sort keys: bytes that compare as the values do in the total order of docs/protocol.md. Pure.

import { Key } from "./key.js";
import { compareText, utf8 } from "./text.js";
import { Timestamp } from "./timestamp.js";
import type { Value } from "./values.js";

/** The first byte of an encoding: the rank of its kind in the total order. */
const enum Rank {
  Null = 1,
  Bool,
  Number,
  Timestamp,
  String,
  Bytes,
  Key,
  List,
  Map,
}

const END = 0;
const NAN_BYTES = 10;

/** The sort key of a value; `undefined` is that of a missing field, which sorts as null. */
export function sortKey(value: Value | undefined, descending = false): Uint8Array {
  const bytes: number[] = [];
  append(bytes, value);
  return Uint8Array.from(bytes, descending ? (byte) => byte ^ 0xff : undefined);
}

function append(bytes: number[], value: Value | undefined): void {
  if (value === null || value === undefined) bytes.push(Rank.Null);
  else if (typeof value === "boolean") bytes.push(Rank.Bool, Number(value));
  else if (typeof value === "number" || typeof value === "bigint") appendNumber(bytes, value);
  else if (typeof value === "string") appendEscaped(bytes, Rank.String, utf8(value));
  else if (value instanceof Uint8Array) appendEscaped(bytes, Rank.Bytes, value);
  else if (value instanceof Key) appendEscaped(bytes, Rank.Key, utf8(value.text));
  else if (value instanceof Timestamp) appendTimestamp(bytes, value);
  else if (Array.isArray(value)) {
    bytes.push(Rank.List);
    for (const held of value) append(bytes, held);
    bytes.push(END);
  } else {
    bytes.push(Rank.Map);
    for (const name of Object.keys(value).sort(compareText)) {
      appendEscaped(bytes, Rank.String, utf8(name));
      append(bytes, value[name]);
    }
    bytes.push(END);
  }
}

/** The nearest double, by which most numbers are ordered already, then what it lacks to the exact number. */
function appendNumber(bytes: number[], value: number | bigint): void {
  bytes.push(Rank.Number);
  // Zero is added to turn -0 into 0.
  const nearest = Number(value) + 0;
  if (Number.isNaN(nearest)) {
    for (let count = 0; count < NAN_BYTES; count++) bytes.push(0);
    return;
  }
  const rest = typeof value === "bigint" ? Number(value - BigInt(nearest)) : 0;
  const view = new DataView(new ArrayBuffer(NAN_BYTES));
  view.setFloat64(0, nearest);
  const bits = view.getBigUint64(0);
  view.setBigUint64(0, nearest < 0 ? ~bits : bits | (1n << 63n));
  view.setUint16(8, rest + 0x8000);
  bytes.push(...new Uint8Array(view.buffer));
}

function appendTimestamp(bytes: number[], value: Timestamp): void {
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, BigInt.asUintN(64, value.microseconds) ^ (1n << 63n));
  bytes.push(Rank.Timestamp, ...new Uint8Array(view.buffer));
}

/** Every 00 becomes 00 FF, and 00 01 ends the content, so that no encoding is a prefix of another. */
function appendEscaped(bytes: number[], rank: Rank, content: Uint8Array): void {
  bytes.push(rank);
  for (const byte of content) {
    bytes.push(byte);
    if (byte === 0) bytes.push(0xff);
  }
  bytes.push(0, 1);
}
