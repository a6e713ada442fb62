// The client: every verb of the store, on keys, values and queries of this language.

import {
  DescribeStoreResponse_Durability as DurabilityNumber,
  Feature as FeatureNumber,
} from "../gen/datastore/v1/service_pb.js";
import { aggregate, type AggregateOptions, type Aggregation, type Group } from "./aggregates.js";
import type { CallOptions, Connection } from "./connection.js";
import { decodeEntry, decodeMetadata, encodeEntry, type Entry, type Metadata } from "./entries.js";
import { DatastoreError, isDatastoreError } from "./errors.js";
import { itemError } from "./failures.js";
import { Key, type KeyLike } from "./key.js";
import { termsInit, type Patch, type Write, type WriteTerms } from "./operations.js";
import { Query } from "./query.js";
import { Reader, readOne, type ReadResult } from "./reading.js";
import { entriesAsAsked, QueryResults, unreachableOf, type QueryOptions, type UnreachableShard } from "./results.js";
import { decodeValue, type Value, type ValueInput } from "./values.js";
import { Watch, type WatchOptions } from "./watching.js";
import { Service } from "./wire.js";
import { Writer, type WriteResult } from "./writing.js";

/** The options of a write. */
export interface WriteOptions extends CallOptions, WriteTerms {}

/** The options of a patch. */
export interface PatchOptions extends WriteOptions {
  /** Create an absent entry, with the changes of an empty map. By default the patch fails with CONDITION_FAILED. */
  readonly create?: boolean | undefined;
  /** Return the new value. */
  readonly returnValue?: boolean | undefined;
}

/** What a patch made. */
export interface Patched {
  /** The new value, if it was asked for; not set either if the entry was written again since a lost answer. */
  readonly value?: Value;
  /** The metadata of the entry as stored; not set if it has expired already. */
  readonly metadata?: Metadata;
}

/** The options of a listing. */
export interface ListOptions extends CallOptions {
  /** The most entries of a page: 100 by default, at most 1,000. */
  readonly pageSize?: number | undefined;
  /** Continue after an earlier page of the same query: its `next`. */
  readonly after?: PagePosition | undefined;
  /** Complete without the shards that cannot be reached. */
  readonly allowPartial?: boolean | undefined;
}

/** Where a page ended: plain data that can be kept, and is good for the same query only. */
export interface PagePosition {
  readonly token: string;
  /** The last entry of the page, unchanged, if the server needs it to continue. */
  readonly lastEntry?: Uint8Array;
}

/** A page of results. */
export interface Page {
  readonly entries: readonly Entry[];
  /** Continues after this page; not set on the last one. */
  readonly next?: PagePosition;
  /** The shards that could not be reached. */
  readonly unreachable: readonly UnreachableShard[];
}

/** What the store of a server can do beyond reading, writing and querying. */
export type Feature = "VERSIONS" | "EXPIRY" | "CHANGES" | "ATOMIC";

/** A shard behind a proxy. */
export interface Shard {
  readonly name: string;
  readonly url: string;
  readonly slots: number;
  /** Why it cannot be reached, if so. */
  readonly error?: DatastoreError;
}

/** What a server serves. */
export interface Description {
  readonly serverVersion: string;
  readonly features: readonly Feature[];
  /** The limits that the server enforces, by their names in the protocol, such as `entry_bytes`. */
  readonly limits: Readonly<Record<string, bigint>>;
  /** What an acknowledged write survives; not set if shards differ or are not known. */
  readonly durability?: "MEMORY" | "ASYNC" | "SYNC";
  /** The shards of a proxy, by name. */
  readonly shards: readonly Shard[];
  /** How many entries there are, if the store counts them. */
  readonly entries?: bigint;
  /** What an operator should do something about soon. */
  readonly warnings: readonly string[];
}

/**
 * A datastore behind one of several addresses. Made by `connect`.
 *
 * Every call has a deadline, is retried where that is safe, and fails with a DatastoreError, or with the reason of its
 * `signal`. One client is for any number of concurrent calls.
 */
export class Client {
  private readonly reader: Reader;
  private readonly writer: Writer;

  /** @internal */
  constructor(
    private readonly connection: Connection,
    retryWrites: boolean,
  ) {
    this.reader = new Reader(connection);
    this.writer = new Writer(connection, retryWrites);
  }

  /**
   * The value of an entry; undefined if it is absent.
   *
   * Gets of one tick without options are sent together: `Promise.all` of up to 1,000 is one call.
   */
  async get(key: KeyLike, options?: CallOptions): Promise<Value | undefined> {
    const from = Key.from(key);
    if (options === undefined) return this.reader.get(from);
    return (await readOne(this.connection, from, options)).value;
  }

  /** An entry with its metadata; undefined if it is absent. Fails with UNSUPPORTED if the store keeps no versions. */
  async getEntry(key: KeyLike, options: CallOptions = {}): Promise<Entry | undefined> {
    const from = Key.from(key);
    const found = await readOne(this.connection, from, { ...options, metadata: true });
    return found.value === undefined ? undefined : { key: from, ...found };
  }

  /** Whether an entry exists. */
  async contains(key: KeyLike, options: CallOptions = {}): Promise<boolean> {
    const request = { key: { text: Key.from(key).text } };
    const call = { ...options, isRead: true };
    return (await this.connection.unary(Service.method.contains, () => request, call)).contains;
  }

  /** Stores an entry, replacing the whole value; a null deletes it. Returns its metadata if there is some. */
  async put(key: KeyLike, value: ValueInput, options: WriteOptions = {}): Promise<Metadata | undefined> {
    const request = { entry: encodeEntry(Key.from(key), value), ...termsInit(options) };
    const { metadata } = await this.writer.one(Service.method.put, (attempt) => ({ ...request, ...attempt }), options);
    return metadata && decodeMetadata(metadata);
  }

  /** Removes an entry. That of an absent one succeeds too. */
  async delete(key: KeyLike, options: CallOptions & Pick<WriteTerms, "condition"> = {}): Promise<void> {
    const { condition } = termsInit({ condition: options.condition });
    const request = { key: { text: Key.from(key).text }, ...(condition && { condition }) };
    await this.writer.one(Service.method.delete, (attempt) => ({ ...request, ...attempt }), options);
  }

  /** Changes when an entry expires: without an `expiry`, never. Fails with CONDITION_FAILED if it is absent. */
  async touch(key: KeyLike, options: WriteOptions = {}): Promise<Metadata | undefined> {
    const request = { key: { text: Key.from(key).text }, ...termsInit(options) };
    const { metadata } = await this.writer.one(
      Service.method.touch,
      (attempt) => ({ ...request, ...attempt }),
      options,
    );
    return metadata && decodeMetadata(metadata);
  }

  /** Changes parts of a value in one atomic step. Fails with CONDITION_FAILED if it is absent, unless `create`. */
  async patch(key: KeyLike, patch: Patch, options: PatchOptions = {}): Promise<Patched> {
    const request = {
      patch: patch.init(Key.from(key), options.create ?? false),
      includeValue: options.returnValue ?? false,
      ...termsInit(options),
    };
    const made = await this.writer.one(Service.method.patch, (attempt) => ({ ...request, ...attempt }), options);
    return {
      ...(made.value && { value: decodeValue(made.value) }),
      ...(made.metadata && { metadata: decodeMetadata(made.metadata) }),
    };
  }

  /**
   * Replaces a value by what a function makes of it: reads it, applies the function, and writes the result if the entry
   * has not been written meanwhile; otherwise again, within the deadline.
   *
   * The function gets undefined for an absent entry, and may be called several times. A null deletes the entry. When it
   * expires stays as it was, unless `expiry` says otherwise. Returns what was written.
   */
  async update<V extends ValueInput>(
    key: KeyLike,
    change: (value: Value | undefined) => V | Promise<V>,
    options: CallOptions & Pick<WriteTerms, "expiry"> = {},
  ): Promise<V> {
    const of = Key.from(key);
    const policy = this.connection.policy(options);
    while (true) {
      const entry = await this.getEntry(of, { ...options, timeoutMs: policy.leftMs() });
      if (entry && !entry.metadata) {
        throw new DatastoreError("CORRUPT_DATA", `${this.connection.address} returned ${of.text} without its metadata`);
      }
      const value = await change(entry?.value);
      const { expireTime } = entry?.metadata ?? {};
      const expiry = options.expiry ?? (expireTime && { at: expireTime });
      const condition = entry?.metadata ? { version: entry.metadata.version } : { exists: false };
      try {
        await this.put(of, value, { ...options, timeoutMs: policy.leftMs(), condition, expiry });
        return value;
      } catch (error) {
        const waitMs = isDatastoreError(error, "CONDITION_FAILED") ? policy.backoffMs(error) : undefined;
        if (waitMs === undefined) throw error;
        await this.connection.pause(waitMs, options.signal);
      }
    }
  }

  /** Reads entries, with one result for each key, in their order. One that fails does not fail the others. */
  async batchGet(
    keys: readonly KeyLike[],
    options: CallOptions & { readonly metadata?: boolean | undefined } = {},
  ): Promise<ReadResult[]> {
    return this.reader.read(
      keys.map((key) => Key.from(key)),
      options,
    );
  }

  /**
   * Makes writes, with one result for each, in their order. One that fails does not fail the others, unless `atomic`:
   * then all are made or none.
   *
   * A batch of any length is sent in parts, an atomic one in one message. Writes of one key are made in their order.
   */
  async batchWrite(
    writes: readonly Write[],
    options: CallOptions & { readonly atomic?: boolean | undefined } = {},
  ): Promise<WriteResult[]> {
    return options.atomic ? this.writer.atomic(writes, options) : this.writer.batch(writes, options);
  }

  /** The entries that a query selects, or all of a collection: `for await (const entry of client.query("/a"))`. */
  query(query: Query | KeyLike, options: QueryOptions = {}): QueryResults {
    return new QueryResults(this.connection, asQuery(query), options);
  }

  /** A page of the entries that a query selects, for those who keep the place themselves. */
  async listEntries(query: Query | KeyLike, options: ListOptions = {}): Promise<Page> {
    const { init } = asQuery(query);
    const { pageSize = 0, after, allowPartial = false } = options;
    if (!Number.isInteger(pageSize) || pageSize < 0 || pageSize > 2 ** 31 - 1) {
      throw new DatastoreError("INVALID_QUERY", `a page has a whole number of entries, not ${pageSize}`, {
        field: "page_size",
      });
    }
    const request = {
      ...{ query: init, pageSize, allowPartial, pageToken: after?.token ?? "" },
      ...(after?.lastEntry && { lastEntry: after.lastEntry }),
    };
    const call = { ...options, isRead: true };
    const page = await this.connection.unary(Service.method.listEntries, () => request, call);
    const entries = page.entries.map((data) => decodeEntry(data, init.includeMetadata));
    const lastEntry = page.needsLastEntry ? (page.entries.at(-1) ?? after?.lastEntry)?.slice() : undefined;
    return {
      entries: entriesAsAsked(entries, init, page.needsLastEntry),
      ...(page.nextPageToken !== "" && { next: { token: page.nextPageToken, ...(lastEntry && { lastEntry }) } }),
      unreachable: unreachableOf(page.unreachable),
    };
  }

  /** Computes counts, sums, means, minima and maxima of the entries that a query selects, by group. */
  async aggregate(
    query: Query | KeyLike,
    aggregations: readonly Aggregation[],
    options: AggregateOptions = {},
  ): Promise<Group[]> {
    return aggregate(this.connection, asQuery(query), aggregations, options);
  }

  /**
   * The changes of the entries that a query selects by key, scope and filters, from now on. Resolves once the watch has
   * begun: all writes that begin later are shown. Fails with UNSUPPORTED if the store cannot be watched.
   */
  async watch(query: Query | KeyLike, options: WatchOptions = {}): Promise<Watch> {
    return Watch.begin(this.connection, asQuery(query), options);
  }

  /** What the server serves, and its limits. */
  async describe(options: CallOptions = {}): Promise<Description> {
    const call = { ...options, isRead: true };
    const found = await this.connection.unary(Service.method.describeStore, () => ({}), call);
    const limits = Object.entries(found.limits ?? {}).filter(
      (limit): limit is [string, bigint] => typeof limit[1] === "bigint",
    );
    const durability = DurabilityNumber[found.durability];
    return {
      serverVersion: found.serverVersion,
      features: found.features.map((feature) => FeatureNumber[feature] as Feature),
      limits: Object.fromEntries(limits.map(([name, limit]) => [snakeCase(name), limit])),
      ...(found.durability !== DurabilityNumber.UNSPECIFIED && { durability: durability as "MEMORY" }),
      shards: found.shards.map(({ name, url, slots, status }) => ({
        name,
        url,
        slots,
        ...(status && { error: itemError(status) }),
      })),
      ...(found.entries !== undefined && { entries: found.entries }),
      warnings: found.warnings,
    };
  }

  /** Ends all calls, and the connections. Calls in progress and later ones fail with DATASTORE_CLOSED. */
  close(): void {
    this.connection.close();
  }
}

function asQuery(query: Query | KeyLike): Query {
  return query instanceof Query ? query : new Query(query);
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
