// The operations of the driver, each by the client's public API, as a user would write it.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { StatusSchema } from "../gen/google/rpc/status_pb.js";
import {
  connect,
  Key,
  Patch,
  Write,
  type Aggregation,
  type Change,
  type Client,
  type DatastoreError,
  type Entry,
  type PagePosition,
  type QueryResults,
  type Watch,
} from "../src/index.js";
// What is checked without a server is not public.
import { decodeEntry, encodeEntry } from "../src/entries.js";
import { sortKey } from "../src/sortkeys.js";
import { errorOf } from "../src/status.js";
import { decodeValue, encodeValue, type Value } from "../src/values.js";
import { Service } from "../src/wire.js";
import { benchGet, benchQuery, type Bench } from "./bench.js";
import {
  bytesOf,
  entryNotation,
  entryOf,
  errorNotation,
  foundNotation,
  hex,
  queryOf,
  termsOf,
  valueNotation,
  valueOf,
  type EntryNotation,
  type QueryNotation,
  type TermsNotation,
  type ValueNotation,
} from "./notation.js";

/** A request, whose other names depend on the operation. */
export interface Request extends Record<string, unknown> {
  readonly id: number;
  readonly op: string;
}

const clients = new Map<number, Client>();
const cursors = new Map<
  number,
  { results: QueryResults; iterator: AsyncIterator<Entry, undefined>; error?: unknown }
>();
const watches = new Map<number, { watch: Watch; changes: AsyncGenerator<Change, undefined> }>();
let made = 0;

/** Keeps a thing under a new number. */
function keep<T>(things: Map<number, T>, thing: T): number {
  things.set(++made, thing);
  return made;
}

function held<T>(things: Map<number, T>, number: number): T {
  const thing = things.get(number);
  if (thing === undefined) throw new Error(`there is nothing with the number ${number}`);
  return thing;
}

function client(request: { client: number }): Client {
  return held(clients, request.client);
}

interface KeyRequest extends TermsNotation {
  readonly client: number;
  readonly key: string;
}

type ChangeNotation = readonly [kind: string, path: string, operand?: ValueNotation];

function patchOf(changes: readonly ChangeNotation[]): Patch {
  let patch = Patch.empty;
  for (const [kind, path, operand = { null: true }] of changes) {
    if (kind === "set") patch = patch.set(path, valueOf(operand));
    else if (kind === "increment") patch = patch.increment(path, valueOf(operand) as number);
    else if (kind === "append") patch = patch.append(path, valueOf(operand) as Value[]);
    else patch = patch.remove(path);
  }
  return patch;
}

interface WriteNotation extends TermsNotation {
  readonly put?: { readonly key: string; readonly value: ValueNotation };
  readonly delete?: string;
  readonly patch?: { readonly key: string; readonly changes: readonly ChangeNotation[]; readonly create?: boolean };
  readonly touch?: string;
}

function writeOf(notation: WriteNotation): Write {
  const terms = termsOf(notation);
  const { put, patch } = notation;
  if (put) return Write.put(put.key, valueOf(put.value), terms);
  if (patch) return Write.patch(patch.key, patchOf(patch.changes), { ...terms, create: patch.create ?? false });
  if (notation.delete !== undefined) return Write.delete(notation.delete, terms);
  return Write.touch(notation.touch ?? "", terms);
}

interface ReadRequest {
  readonly client: number;
  readonly query: QueryNotation;
  readonly allow_partial?: boolean;
  readonly explain?: boolean;
}

function resultsOf(request: ReadRequest): QueryResults {
  const { allow_partial: allowPartial, explain } = request;
  return client(request).query(queryOf(request.query), { allowPartial, explain });
}

function summaryNotation({ summary }: QueryResults): object | undefined {
  if (summary === undefined) return undefined;
  const { reason, entries, unreachable, explanation } = summary;
  return {
    reason,
    entries: String(entries),
    unreachable: unreachable.map(({ shard }) => shard),
    ...(explanation && { explained: explanation.kind }),
  };
}

/** A page's position as the suite passes it on: the token in hex, and the last entry if the server needs it. */
function pagePosition(request: { page_token?: string; last_entry?: EntryNotation }): PagePosition | undefined {
  if (!request.page_token) return undefined;
  const token = Buffer.from(request.page_token, "hex").toString();
  if (request.last_entry === undefined) return { token };
  const { key, value } = entryOf(request.last_entry);
  return { token, lastEntry: encodeEntry(key, value ?? null) };
}

const withoutServer = {
  key({ text }: { text: string }) {
    const key = new Key(text);
    const { collection } = key;
    const slots = { slot: key.slot, collection_slot: collection.slot };
    return { text: key.text, collection: collection.text, hash: key.hash.toString(), ...slots };
  },

  compare_keys({ a, b }: { a: string; b: string }) {
    return { order: Math.sign(Key.compare(new Key(a), new Key(b))) };
  },

  encode({ value }: { value: ValueNotation }) {
    return { wire: hex(encodeValue(valueOf(value))) };
  },

  decode({ wire }: { wire: string }) {
    return { value: valueNotation(decodeValue(bytesOf(wire))) };
  },

  sort_key({ value, descending }: { value: ValueNotation; descending?: boolean }) {
    return { sort_key: hex(sortKey(valueOf(value) as Value, descending)) };
  },

  query({ query }: { query: QueryNotation }) {
    const { init } = queryOf(query);
    const request = create(Service.method.query.input, { query: init });
    // A request with only a query is the query after a tag and its length.
    const reader = new BinaryReader(toBinary(Service.method.query.input, request));
    reader.tag();
    return { wire: hex(reader.bytes()) };
  },

  error({ status }: { status: string }) {
    return { error: errorNotation(errorOf(fromBinary(StatusSchema, bytesOf(status)))) };
  },
};

const connections = {
  connect(request: {
    addresses: string[];
    tls?: boolean;
    ca?: string;
    cert?: string;
    key_file?: string;
    token?: string;
    timeout_ms?: number;
    query_timeout_ms?: number;
    retry?: boolean;
    retry_writes?: boolean;
  }) {
    const tls = { ca: request.ca, cert: request.cert, key: request.key_file };
    const connected = connect(request.addresses, {
      tls: request.tls ? tls : false,
      token: request.token,
      timeoutMs: request.timeout_ms,
      queryTimeoutMs: request.query_timeout_ms,
      retry: request.retry,
      retryWrites: request.retry_writes,
    });
    return { client: keep(clients, connected) };
  },

  close(request: { client: number }) {
    client(request).close();
    clients.delete(request.client);
  },

  async describe(request: { client: number }) {
    const { features, limits, serverVersion } = await client(request).describe();
    const shown = Object.entries(limits).map(([name, limit]) => [name, limit.toString()]);
    return { features, limits: Object.fromEntries(shown) as object, server_version: serverVersion };
  },
};

const entries = {
  async get(request: KeyRequest & { metadata?: boolean }) {
    if (request.metadata) return foundNotation(await client(request).getEntry(request.key));
    const value = await client(request).get(request.key);
    return foundNotation(value === undefined ? {} : { value });
  },

  async put(request: KeyRequest & { value: ValueNotation }) {
    const metadata = await client(request).put(request.key, valueOf(request.value), termsOf(request));
    return foundNotation({ metadata });
  },

  async delete(request: KeyRequest) {
    await client(request).delete(request.key, termsOf(request));
  },

  async contains(request: KeyRequest) {
    return { contains: await client(request).contains(request.key) };
  },

  async touch(request: KeyRequest) {
    return foundNotation({ metadata: await client(request).touch(request.key, termsOf(request)) });
  },

  async patch(request: KeyRequest & { changes: ChangeNotation[]; create?: boolean; return_value?: boolean }) {
    const options = { ...termsOf(request), create: request.create, returnValue: request.return_value };
    return foundNotation(await client(request).patch(request.key, patchOf(request.changes), options));
  },

  async update(request: KeyRequest & { add: [name: string, by: string] }) {
    const [name, by] = request.add;
    const value = await client(request).update(request.key, (held) => {
      const map = (held ?? {}) as Record<string, bigint>;
      return { ...map, [name]: (map[name] ?? 0n) + BigInt(by) };
    });
    return { value: valueNotation(value) };
  },
};

const batches = {
  async batch_get(request: { client: number; keys: string[]; metadata?: boolean }) {
    const results = await client(request).batchGet(request.keys, { metadata: request.metadata });
    return { results: results.map(foundNotation) };
  },

  async batch_write(request: { client: number; writes: WriteNotation[]; atomic?: boolean }) {
    const results = await client(request).batchWrite(request.writes.map(writeOf), { atomic: request.atomic });
    return { results: results.map(foundNotation) };
  },

  async lone_gets(request: { client: number; keys: string[] }) {
    const results = await Promise.allSettled(request.keys.map((key) => client(request).get(key)));
    return {
      results: results.map((result) => {
        if (result.status === "rejected") return foundNotation({ error: result.reason as DatastoreError });
        return foundNotation(result.value === undefined ? {} : { value: result.value });
      }),
    };
  },

  async write(request: { client: number; count: number; value_bytes: number; prefix: string }) {
    const value = new Uint8Array(request.value_bytes).fill(0x78);
    for (let from = 0; from < request.count; from += 1000) {
      const numbers = Array.from({ length: Math.min(1000, request.count - from) }, (_, at) => from + at);
      const keys = numbers.map((number) => `${request.prefix}/${String(number).padStart(8, "0")}`);
      const results = await client(request).batchWrite(keys.map((key) => Write.put(key, value)));
      for (const { error } of results) if (error) throw error;
    }
  },
};

const queries = {
  async read(request: ReadRequest) {
    const results = resultsOf(request);
    const all = await results.toArray();
    return { entries: all.map(entryNotation), summary: summaryNotation(results) };
  },

  open_query(request: ReadRequest) {
    const results = resultsOf(request);
    return { cursor: keep(cursors, { results, iterator: results[Symbol.asyncIterator]() }) };
  },

  async next(request: { cursor: number; count: number }) {
    const cursor = held(cursors, request.cursor);
    const some: object[] = [];
    if (cursor.error instanceof Error) throw cursor.error;
    try {
      while (some.length < request.count) {
        const { done, value } = await cursor.iterator.next();
        if (done) return { entries: some, summary: summaryNotation(cursor.results) };
        some.push(entryNotation(value));
      }
    } catch (error) {
      if (some.length === 0) throw error;
      cursor.error = error;
    }
    return { entries: some };
  },

  async leave(request: { cursor?: number; watch?: number }) {
    if (request.cursor !== undefined) await held(cursors, request.cursor).iterator.return?.();
    else await held(watches, request.watch ?? 0).watch.close();
  },

  async list_entries(request: ReadRequest & { page_size?: number; page_token?: string; last_entry?: EntryNotation }) {
    const page = await client(request).listEntries(queryOf(request.query), {
      pageSize: request.page_size,
      after: pagePosition(request),
      allowPartial: request.allow_partial,
    });
    return {
      entries: page.entries.map(entryNotation),
      ...(page.next && { next_page_token: hex(Buffer.from(page.next.token)) }),
      ...(page.next?.lastEntry && { last_entry: entryNotation(decodeEntry(page.next.lastEntry)) }),
      unreachable: page.unreachable.map(({ shard }) => shard),
    };
  },

  async aggregate(request: {
    client: number;
    query: QueryNotation;
    aggregations: Aggregation[];
    group_by?: string[];
    orders?: string[];
    limit?: number;
  }) {
    const { group_by: groupBy, orders, limit } = request;
    const options = { groupBy, orders, limit };
    const groups = await client(request).aggregate(queryOf(request.query), request.aggregations, options);
    return {
      groups: groups.map(({ group, values }) => ({
        group: group.map(valueNotation),
        values: values.map(valueNotation),
      })),
    };
  },
};

const watching = {
  async open_watch(request: { client: number; query: QueryNotation; initial?: boolean; token?: string }) {
    const token = request.token === undefined ? undefined : bytesOf(request.token);
    const watch = await client(request).watch(queryOf(request.query), { initial: request.initial, token });
    return { watch: keep(watches, { watch, changes: watch[Symbol.asyncIterator]() }) };
  },

  async changes(request: { watch: number; count: number }) {
    const { watch, changes } = held(watches, request.watch);
    const some: object[] = [];
    while (some.length < request.count) {
      const { done, value } = await changes.next();
      if (done) break;
      const { kind, key, version, value: content } = value;
      const entry = { key: key.text, ...foundNotation(content === undefined ? {} : { value: content }) };
      some.push({ kind, entry: { ...entry, metadata: { version: version.toString() } } });
    }
    return { changes: some, token: hex(watch.token), caught_up: watch.caughtUp };
  },
};

const measurements = {
  bench_query: (request: Bench) => benchQuery(request),
  bench_get: (request: Bench & { in_flight: number; calls: number }) => benchGet(request),
  memory: () => ({ rss_bytes: process.memoryUsage.rss().toString() }),
};

/** The operations by name; the suite sees to it that each gets the request that it needs. */
export const operations = {
  ...withoutServer,
  ...connections,
  ...entries,
  ...batches,
  ...queries,
  ...watching,
  ...measurements,
} as unknown as Readonly<Record<string, ((request: object) => unknown) | undefined>>;
