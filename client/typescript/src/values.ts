// Values: the types of JavaScript that the store's kinds are, and their bytes as a `datastore.v1.Value`. Pure.

import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { DatastoreError, type Reason } from "./errors.js";
import { Key } from "./key.js";
import { loneSurrogate } from "./text.js";
import { Timestamp } from "./timestamp.js";

/** How deep lists and maps nest. */
export const VALUE_DEPTH = 32;

/**
 * A value of an entry, or a part of one.
 *
 * A number is a double and a bigint an int64: they are read back as they were written, and are one kind only where
 * values are compared. Maps are plain objects, bytes are Uint8Arrays. A null is only inside lists and maps: putting one
 * deletes the entry.
 */
export type Value = null | boolean | bigint | number | string | Uint8Array | Timestamp | Key | Value[] | ValueMap;

/** A map of values by name. */
export interface ValueMap {
  [name: string]: Value;
}

/** What can be written: the same, also if it cannot be changed. */
export type ValueInput =
  Exclude<Value, Value[] | ValueMap> | readonly ValueInput[] | { readonly [name: string]: ValueInput };

const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;
/** How many characters of a long name a path shows. */
const NAME_SHOWN = 60;

/** The field numbers of the kinds. */
const Kind = {
  Null: 1,
  Bool: 2,
  Int64: 3,
  Double: 4,
  String: 5,
  Bytes: 6,
  Timestamp: 7,
  Key: 8,
  List: 9,
  Map: 10,
} as const;

/**
 * The bytes of a value.
 *
 * Fails with UNSUPPORTED_TYPE for a type that cannot be sent, and with INVALID_VALUE for a bigint over 64 bits, text
 * with lone surrogates, or nesting over 32 deep. Both name the part in `path`, such as `value['a'][3]`.
 */
export function encodeValue(value: ValueInput): Uint8Array<ArrayBuffer> {
  const writer = new BinaryWriter();
  try {
    writeValue(writer, value, 0);
  } catch (error) {
    if (error instanceof Fault) throw error.asError();
    throw error;
  }
  return writer.finish();
}

/** What is wrong with a part of a value; the steps to it are added on the way out. */
class Fault extends Error {
  private path = "";

  constructor(
    private readonly reason: Reason,
    private readonly text: string,
  ) {
    super(text);
  }

  below(step: string): this {
    this.path = step + this.path;
    return this;
  }

  asError(): DatastoreError {
    const path = `value${this.path}`;
    return new DatastoreError(this.reason, `${path} ${this.text}`, { path });
  }
}

function writeValue(writer: BinaryWriter, value: unknown, depth: number): void {
  switch (typeof value) {
    case "string":
      checkText(value, "");
      writer.tag(Kind.String, WireType.LengthDelimited).string(value);
      return;
    case "number":
      writer.tag(Kind.Double, WireType.Bit64).double(value);
      return;
    case "bigint":
      if (value < INT64_MIN || value > INT64_MAX) {
        throw new Fault("INVALID_VALUE", "is a bigint that does not fit in 64 bits");
      }
      writer.tag(Kind.Int64, WireType.Varint).int64(value);
      return;
    case "boolean":
      writer.tag(Kind.Bool, WireType.Varint).bool(value);
      return;
    case "object":
      writeObject(writer, value, depth);
      return;
    default:
      throw unsupported(typeof value);
  }
}

function writeObject(writer: BinaryWriter, value: object | null, depth: number): void {
  if (value === null) {
    writer.tag(Kind.Null, WireType.Varint).int32(0);
  } else if (value instanceof Uint8Array) {
    writer.tag(Kind.Bytes, WireType.LengthDelimited).bytes(value);
  } else if (value instanceof Timestamp) {
    if (!value.isInRange) throw new Fault("INVALID_VALUE", "is a Timestamp outside the years 1 to 9999 of UTC");
    writer.tag(Kind.Timestamp, WireType.LengthDelimited).fork();
    const { seconds, nanos } = value.parts;
    if (seconds !== 0n) writer.tag(1, WireType.Varint).int64(seconds);
    if (nanos !== 0) writer.tag(2, WireType.Varint).int32(nanos);
    writer.join();
  } else if (value instanceof Key) {
    writer.tag(Kind.Key, WireType.LengthDelimited).fork();
    writer.tag(1, WireType.LengthDelimited).string(value.text).join();
  } else if (Array.isArray(value)) {
    writer.tag(Kind.List, WireType.LengthDelimited).fork();
    writeElements(writer, value, depth);
    writer.join();
  } else if (isPlain(value)) {
    checkDepth(depth);
    writer.tag(Kind.Map, WireType.LengthDelimited).fork();
    for (const [name, held] of Object.entries(value)) writeMember(writer, name, held, depth);
    writer.join();
  } else {
    throw unsupported(value.constructor.name);
  }
}

/** Writes the `values` of a ListValue. */
function writeElements(writer: BinaryWriter, values: readonly unknown[], depth: number): void {
  checkDepth(depth);
  // Not `forEach`, which passes over holes.
  for (const [index, held] of values.entries()) {
    writer.tag(1, WireType.LengthDelimited).fork();
    writeAt(`[${index}]`, writer, held, depth + 1);
    writer.join();
  }
}

function writeMember(writer: BinaryWriter, name: string, held: unknown, depth: number): void {
  checkText(name, "has a name that ");
  writer.tag(1, WireType.LengthDelimited).fork();
  writer.tag(1, WireType.LengthDelimited).string(name);
  writer.tag(2, WireType.LengthDelimited).fork();
  writeAt(name, writer, held, depth + 1);
  writer.join().join();
}

function writeAt(step: string, writer: BinaryWriter, held: unknown, depth: number): void {
  try {
    writeValue(writer, held, depth);
  } catch (error) {
    throw error instanceof Fault ? error.below(step.startsWith("[") ? step : memberStep(step)) : error;
  }
}

function memberStep(name: string): string {
  const shown = name.length > NAME_SHOWN ? `${name.slice(0, NAME_SHOWN)}...` : name;
  return `['${shown.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}']`;
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype || Object.getPrototypeOf(prototype) === null;
}

function checkDepth(depth: number): void {
  if (depth >= VALUE_DEPTH) throw new Fault("INVALID_VALUE", `is nested more than ${VALUE_DEPTH} deep`);
}

function checkText(text: string, what: string): void {
  const lone = loneSurrogate(text);
  if (lone < 0) return;
  throw new Fault("INVALID_VALUE", `${what}has a lone surrogate at ${lone}, which UTF-8 cannot carry`);
}

const HINTS: Readonly<Record<string, string>> = {
  undefined: "leave the member out, or write null",
  Date: "write Timestamp.fromDate(date)",
  Map: "write Object.fromEntries(map)",
  Set: "write [...set]",
};

function unsupported(type: string): Fault {
  const hint =
    HINTS[type] ??
    "values are null, boolean, bigint, number, string, Uint8Array, Timestamp, Key, arrays and plain objects";
  return new Fault("UNSUPPORTED_TYPE", `is of type ${type}, which cannot be sent: ${hint}`);
}

/** The value of bytes. Fails with CORRUPT_DATA if they are not a value. */
export function decodeValue(data: Uint8Array): Value {
  try {
    return readValue(new BinaryReader(data), data.length);
  } catch (error) {
    if (error instanceof DatastoreError && error.reason === "CORRUPT_DATA") throw error;
    throw corrupt(`${data.length} bytes are not a value: ${String(error)}`, error);
  }
}

function corrupt(text: string, cause?: unknown): DatastoreError {
  return new DatastoreError("CORRUPT_DATA", text, {}, { cause });
}

/** Reads a value up to the position `end`, which is in so many lists and maps. */
export function readValue(reader: BinaryReader, end: number, depth = 0): Value {
  let value: Value | undefined;
  while (reader.pos < end) {
    const [field, type] = reader.tag();
    switch (field) {
      case Kind.Null:
        reader.int32();
        value = null;
        break;
      case Kind.Bool:
        value = reader.bool();
        break;
      case Kind.Int64:
        value = BigInt(reader.int64());
        break;
      case Kind.Double:
        value = reader.double();
        break;
      case Kind.String:
        value = reader.string(true);
        break;
      case Kind.Bytes:
        // A copy: a view would keep the whole message in memory.
        value = reader.bytes().slice();
        break;
      case Kind.Timestamp:
        value = readTimestamp(reader);
        break;
      case Kind.Key:
        value = readKey(reader);
        break;
      case Kind.List:
        value = readList(reader, Array.isArray(value) ? value : [], depth);
        break;
      case Kind.Map:
        value = readMap(reader, depth);
        break;
      default:
        reader.skip(type, field);
    }
  }
  if (value === undefined) throw corrupt("a value has no kind, or one that this client does not know");
  if (reader.pos > end) throw corrupt("a value ends before its last part");
  return value;
}

/** Reads a Key message, with its length. */
export function readKey(reader: BinaryReader): Key {
  const end = reader.uint32() + reader.pos;
  let text = "";
  while (reader.pos < end) {
    const [field, type] = reader.tag();
    if (field === 1) text = reader.string(true);
    else reader.skip(type, field);
  }
  return answeredKey(text);
}

/** The key of an answer, where no text at all is the root. Fails with CORRUPT_DATA unless it is canonical. */
export function answeredKey(text: string): Key {
  const key = Key.ofAnswer(text || "/");
  if (key === undefined) throw corrupt("a key is not canonical");
  return key;
}

function readTimestamp(reader: BinaryReader): Timestamp {
  const end = reader.uint32() + reader.pos;
  let [seconds, nanos] = [0n, 0];
  while (reader.pos < end) {
    const [field, type] = reader.tag();
    if (field === 1) seconds = BigInt(reader.int64());
    else if (field === 2) nanos = reader.int32();
    else reader.skip(type, field);
  }
  return Timestamp.ofParts(seconds, nanos);
}

function readList(reader: BinaryReader, list: Value[], depth: number): Value[] {
  checkReadDepth(depth);
  const end = reader.uint32() + reader.pos;
  while (reader.pos < end) {
    const [field, type] = reader.tag();
    if (field === 1) list.push(readNested(reader, depth + 1));
    else reader.skip(type, field);
  }
  return list;
}

function readMap(reader: BinaryReader, depth: number): ValueMap {
  checkReadDepth(depth);
  const end = reader.uint32() + reader.pos;
  const map: ValueMap = {};
  while (reader.pos < end) {
    const [field, type] = reader.tag();
    if (field === 1) readMember(reader, map, depth);
    else reader.skip(type, field);
  }
  return map;
}

function readMember(reader: BinaryReader, map: ValueMap, depth: number): void {
  const end = reader.uint32() + reader.pos;
  let name = "";
  let value: Value | undefined;
  while (reader.pos < end) {
    const [field, type] = reader.tag();
    if (field === 1) name = reader.string(true);
    else if (field === 2) value = readNested(reader, depth + 1);
    else reader.skip(type, field);
  }
  if (value === undefined) throw corrupt("a member of a map has no value");
  setMember(map, name, value);
}

function readNested(reader: BinaryReader, depth: number): Value {
  const length = reader.uint32();
  return readValue(reader, reader.pos + length, depth);
}

function checkReadDepth(depth: number): void {
  if (depth >= VALUE_DEPTH) throw corrupt(`a value is nested more than ${VALUE_DEPTH} deep`);
}

/** Sets a member of a map. Assigned, one named `__proto__` would change the prototype of the object instead. */
export function setMember(map: ValueMap, name: string, value: Value): void {
  if (name !== "__proto__") map[name] = value;
  else Object.defineProperty(map, name, { value, enumerable: true, configurable: true, writable: true });
}
