// The notation of the drivers' JSON: values by kind, entries, metadata, errors, queries.

import {
  and,
  field,
  Key,
  not,
  or,
  Query,
  Timestamp,
  type Condition,
  type DatastoreError,
  type Entry,
  type Expiry,
  type Filter,
  type Metadata,
  type Operator,
  type Value,
  type ValueInput,
} from "../src/index.js";

/** What the language or the client cannot express. */
export class Unsupported extends Error {}

/** A value in the notation: an object of one name. */
export type ValueNotation = Readonly<Record<string, unknown>>;

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

export function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, "hex"));
}

/** The value of the notation, as a user of the client would write it. */
export function valueOf(notation: ValueNotation): ValueInput {
  const [[kind, content] = ["", undefined]] = Object.entries(notation);
  switch (kind) {
    case "null":
      return null;
    case "bool":
      return content as boolean;
    case "int64":
      return BigInt(content as string);
    case "double":
      return Buffer.from(content as string, "hex").readDoubleBE();
    case "string":
      return content as string;
    case "utf16":
      return String.fromCharCode(...utf16Units(content as string));
    case "bytes":
      return bytesOf(content as string);
    case "timestamp":
      return new Timestamp(BigInt(content as string));
    case "key":
      return new Key(content as string);
    case "list":
      return (content as ValueNotation[]).map(valueOf);
    case "map":
      return Object.fromEntries(
        Object.entries(content as Record<string, ValueNotation>).map(([name, held]) => [name, valueOf(held)]),
      );
    case "foreign":
      return (() => undefined) as unknown as ValueInput;
    case "timestamp_ns":
      throw new Unsupported("a Timestamp has microseconds");
    default:
      throw new Unsupported("a string is text, not bytes");
  }
}

function utf16Units(text: string): number[] {
  return (text.match(/.{4}/g) ?? []).map((unit) => Number.parseInt(unit, 16));
}

/** The notation of a value. */
export function valueNotation(value: ValueInput): ValueNotation {
  if (value === null) return { null: true };
  if (typeof value === "boolean") return { bool: value };
  if (typeof value === "bigint") return { int64: value.toString() };
  if (typeof value === "number") {
    const bits = Buffer.alloc(8);
    // All NaNs are written alike.
    bits.writeDoubleBE(Number.isNaN(value) ? NaN : value);
    return { double: hex(bits) };
  }
  if (typeof value === "string") return { string: value };
  if (value instanceof Uint8Array) return { bytes: hex(value) };
  if (value instanceof Timestamp) return { timestamp: value.microseconds.toString() };
  if (value instanceof Key) return { key: value.text };
  if (Array.isArray(value)) return { list: value.map(valueNotation) };
  const map = Object.entries(value as Record<string, Value>).map(
    ([name, held]) => [name, valueNotation(held)] as const,
  );
  return { map: Object.fromEntries(map) };
}

export function metadataNotation({ version, createTime, updateTime, expireTime }: Metadata): object {
  return {
    version: version.toString(),
    create_time: createTime.microseconds.toString(),
    update_time: updateTime.microseconds.toString(),
    ...(expireTime && { expire_time: expireTime.microseconds.toString() }),
  };
}

/** The notation of what was found: a value, metadata, an error. */
export function foundNotation(
  found: { value?: Value; metadata?: Metadata | undefined; error?: DatastoreError } = {},
): object {
  const { value, metadata, error } = found;
  return {
    ...(value !== undefined && { value: valueNotation(value) }),
    ...(metadata && { metadata: metadataNotation(metadata) }),
    ...(error && { error: errorNotation(error) }),
  };
}

export function entryNotation(entry: Entry): object {
  return { key: entry.key.text, ...foundNotation(entry) };
}

const DETAIL_NAMES = { requestId: "request_id", retryAfterMs: "retry_after_ms" } as Readonly<Record<string, string>>;

export function errorNotation({ reason, message, details }: DatastoreError): object {
  const shown = Object.entries(details).map(([name, detail]) => [DETAIL_NAMES[name] ?? name, String(detail)]);
  return { reason, message, details: Object.fromEntries(shown) as object };
}

/** A query in the notation. */
export interface QueryNotation {
  readonly key?: string;
  readonly recursive?: boolean;
  readonly keys_only?: boolean;
  readonly limit?: number | string;
  readonly offset?: number | string;
  readonly filters?: readonly FilterNotation[];
  readonly orders?: readonly string[];
  readonly fields?: readonly string[];
  readonly metadata?: boolean;
  readonly start_after?: EntryNotation;
}

type FilterNotation =
  | readonly [path: string, operator: Operator, value: ValueNotation]
  | { readonly and: readonly FilterNotation[] }
  | { readonly or: readonly FilterNotation[] }
  | { readonly not: FilterNotation };

/** An entry in the notation. */
export interface EntryNotation {
  readonly key: string;
  readonly value?: ValueNotation;
  readonly metadata?: Readonly<Record<string, string>>;
}

export function entryOf({ key, value, metadata }: EntryNotation): Entry {
  return {
    key: new Key(key),
    ...(value && { value: valueOf(value) as Value }),
    ...(metadata && { metadata: metadataOf(metadata) }),
  };
}

function metadataOf(metadata: Readonly<Record<string, string>>): Metadata {
  const time = (name: string): Timestamp => new Timestamp(BigInt(metadata[name] ?? "0"));
  return {
    version: BigInt(metadata.version ?? "0"),
    createTime: time("create_time"),
    updateTime: time("update_time"),
    ...(metadata.expire_time && { expireTime: time("expire_time") }),
  };
}

export function queryOf(notation: QueryNotation = {}): Query {
  let query = new Query(notation.key ?? "/");
  if (notation.recursive) query = query.recursive();
  for (const filter of notation.filters ?? []) query = query.filter(filterOf(filter));
  if (notation.orders) query = query.order(...notation.orders);
  if (notation.start_after) query = query.startAfter(entryOf(notation.start_after));
  if (notation.limit !== undefined) query = query.limit(countOf(notation.limit));
  if (notation.offset !== undefined) query = query.offset(countOf(notation.offset));
  if (notation.keys_only) query = query.keysOnly();
  if (notation.fields) query = query.fields(...notation.fields);
  if (notation.metadata) query = query.metadata();
  return query;
}

function countOf(count: number | string): number | bigint {
  return typeof count === "string" ? BigInt(count) : count;
}

function filterOf(filter: FilterNotation): Filter {
  if ("and" in filter) return and(...filter.and.map(filterOf));
  if ("or" in filter) return or(...filter.or.map(filterOf));
  if ("not" in filter) return not(filterOf(filter.not));
  const [path, operator, value] = filter;
  return field(path, operator, valueOf(value));
}

/** The terms of a write in the notation. */
export interface TermsNotation {
  readonly condition?: { readonly exists: boolean } | { readonly version: string };
  readonly expiry?: { readonly in_ms: string } | { readonly at: string };
}

export function termsOf({ condition, expiry }: TermsNotation): { condition?: Condition; expiry?: Expiry } {
  return {
    ...(condition && { condition: "version" in condition ? { version: BigInt(condition.version) } : condition }),
    ...(expiry && {
      expiry: "at" in expiry ? { at: new Timestamp(BigInt(expiry.at)) } : { inMs: Number(expiry.in_ms) },
    }),
  };
}
