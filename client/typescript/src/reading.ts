// Reads of many keys: messages of as many keys as fit, and single gets of one tick joined in one message.

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { CallOptions, Connection } from "./connection.js";
import { decodeMetadata, type Metadata } from "./entries.js";
import { DatastoreError } from "./errors.js";
import { itemError } from "./failures.js";
import type { Key } from "./key.js";
import { mayRepeat, type RetryPolicy } from "./retry.js";
import { decodeValue, type Value } from "./values.js";
import { Service } from "./wire.js";

/** The most items of a batch in one message, unless the server takes fewer. */
export const BATCH_ITEMS = 1000;

/** What a read found of one key: neither `value` nor `error` if it is absent. */
export interface ReadResult {
  readonly value?: Value;
  readonly metadata?: Metadata;
  readonly error?: DatastoreError;
}

interface ReadOptions extends CallOptions {
  readonly metadata?: boolean | undefined;
}

/** How many items the server takes in a message, if it refused a larger one for that. */
export function fewerItems(error: DatastoreError, items: number): number | undefined {
  const { limit, maximum = 0 } = error.details;
  const isFewer = limit === "batch_items" && maximum > 0 && maximum < items;
  return error.reason === "LIMIT_EXCEEDED" && isFewer ? maximum : undefined;
}

/** Fails with CORRUPT_DATA unless a server has answered each item. */
export function checkCount(address: string, answered: number, asked: number): void {
  if (answered === asked) return;
  throw new DatastoreError("CORRUPT_DATA", `${address} returned ${answered} results for ${asked} items`);
}

/** Reads keys in batches. */
export class Reader {
  private mostItems = BATCH_ITEMS;
  private waiting: Waiting[] = [];

  constructor(private readonly connection: Connection) {}

  /** The results of the keys, in their order, by as many messages as needed. If a message fails, all of its keys do. */
  async read(keys: readonly Key[], options: ReadOptions): Promise<ReadResult[]> {
    const results: ReadResult[] = [];
    for await (const some of this.parts(keys, options, this.connection.policy(options))) results.push(...some);
    return results;
  }

  /** The value of a key, read together with those that are asked for in the same tick. */
  get(key: Key): Promise<Value | undefined> {
    return new Promise((resolve, reject) => {
      if (this.waiting.length === 0) {
        const policy = this.connection.policy({});
        afterThisTick(() => {
          this.readWaiting(policy);
        });
      }
      this.waiting.push({ key, resolve, reject });
    });
  }

  /** Reads what waits, in messages that are sent at once and answer their own gets. */
  private readWaiting(policy: RetryPolicy): void {
    const waiting = this.waiting;
    this.waiting = [];
    for (let at = 0; at < waiting.length; at += this.mostItems) {
      void this.readTogether(waiting.slice(at, at + this.mostItems), policy.ofPart());
    }
  }

  private async readTogether(waiting: readonly Waiting[], policy: RetryPolicy): Promise<void> {
    const [first] = waiting;
    let answered = 0;
    try {
      if (waiting.length === 1 && first) {
        first.resolve((await readOne(this.connection, first.key, {}, policy)).value);
        return;
      }
      const keys = waiting.map(({ key }) => key);
      for await (const results of this.parts(keys, {}, policy)) {
        for (const { value, error } of results) {
          const { resolve, reject } = waiting[answered++]!;
          if (error) reject(error);
          else resolve(value);
        }
      }
    } catch (error) {
      for (const { reject } of waiting.slice(answered)) reject(error);
    }
  }

  /** The results of the keys, in their order, as messages bring them. */
  private async *parts(keys: readonly Key[], options: ReadOptions, policy: RetryPolicy): AsyncGenerator<ReadResult[]> {
    let most = this.mostItems;
    for (let at = 0; at < keys.length;) {
      const answered = await this.readSome(keys.slice(at, at + most), options, policy.ofPart());
      yield answered;
      at += answered.length;
      // Values that do not fit in an answer were read for nothing, so the next message asks for about as many as fit.
      most = Math.min(2 * answered.length, this.mostItems);
    }
  }

  /** The results of the first keys, at least one; those that did not fit in the answer are to be asked for again. */
  private async readSome(keys: readonly Key[], options: ReadOptions, policy: RetryPolicy): Promise<ReadResult[]> {
    const results: ReadResult[] = [];
    let asked = [...keys.keys()];
    while (true) {
      const answered = await this.ask(
        asked.map((place) => keys[place]!),
        options,
        policy.ofPart(),
      );
      for (const [at, result] of answered.entries()) results[asked[at]!] = result;
      asked = [...results.keys()].filter((place) => isRepeatable(results[place]));
      const error = results[asked[0] ?? -1]?.error;
      const waitMs = error && this.connection.backoffMs(error, policy);
      if (waitMs === undefined) return results;
      await this.connection.pause(waitMs, options.signal);
    }
  }

  /** The results of the first keys, of one message. */
  private async ask(keys: readonly Key[], options: ReadOptions, policy: RetryPolicy): Promise<ReadResult[]> {
    const request: MessageInitShape<typeof Service.method.batchGet.input> = {
      keys: keys.map(({ text }) => ({ text })),
      includeMetadata: options.metadata ?? false,
    };
    try {
      const call = { ...options, isRead: true };
      const { results } = await this.connection.unary(Service.method.batchGet, () => request, call, policy);
      checkCount(this.connection.address, results.length, keys.length);
      const found = results.map(itemResultOf);
      const full = found.findIndex((result, at) => at > 0 && didNotFit(result));
      return full > 0 ? found.slice(0, full) : found;
    } catch (error) {
      if (!(error instanceof DatastoreError)) throw error;
      const fewer = fewerItems(error, keys.length);
      if (fewer === undefined) return keys.map(() => ({ error }));
      this.mostItems = fewer;
      return this.ask(keys.slice(0, fewer), options, policy);
    }
  }
}

interface Waiting {
  readonly key: Key;
  readonly resolve: (value: Value | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/** What a Get finds of a key, by a call of its own. */
export async function readOne(
  connection: Connection,
  key: Key,
  options: ReadOptions,
  policy = connection.policy(options),
): Promise<ReadResult> {
  const request = { key: { text: key.text }, includeMetadata: options.metadata ?? false };
  const call = { ...options, isRead: true };
  return resultOf(await connection.unary(Service.method.get, () => request, call, policy));
}

interface Found {
  readonly value?: Uint8Array | undefined;
  readonly status?: Parameters<typeof itemError>[0] | undefined;
  readonly metadata?: Parameters<typeof decodeMetadata>[0] | undefined;
}

function resultOf({ value, status, metadata }: Found): ReadResult {
  if (status) return { error: itemError(status) };
  if (value === undefined) return {};
  return { value: decodeValue(value), ...(metadata && { metadata: decodeMetadata(metadata) }) };
}

/** The same of an item of a batch, of which a value that cannot be read fails only this one. */
function itemResultOf(found: Found): ReadResult {
  return orError(() => resultOf(found));
}

/** What became of an item of a batch: what was read of the answer, or why it cannot be read. */
export function orError<T extends object>(read: () => T): T | { error: DatastoreError } {
  try {
    return read();
  } catch (error) {
    if (error instanceof DatastoreError) return { error };
    throw error;
  }
}

function isRepeatable(result: ReadResult | undefined): boolean {
  return result?.error !== undefined && mayRepeat(result.error);
}

function didNotFit({ error }: ReadResult): boolean {
  return error?.reason === "LIMIT_EXCEEDED" && error.details.limit === "message_bytes";
}

/** Runs something once all that is ready to run now has run: in Node.js also what has arrived meanwhile. */
const afterThisTick: (run: () => void) => void =
  typeof setImmediate === "function" ? (run) => setImmediate(run) : (run) => setTimeout(run);
