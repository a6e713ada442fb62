// The results of a query, as a stream that survives lost connections.

import type { MessageShape } from "@bufbuild/protobuf";
import { Explanation_Support as Support, QuerySummary_Reason as EndReason } from "../gen/datastore/v1/service_pb.js";
import type { Explanation as ExplanationMessage } from "../gen/datastore/v1/service_pb.js";
import { QueryView } from "../gen/datastore/v1/query_pb.js";
import type { CallOptions, Connection } from "./connection.js";
import { decodeEntry, type Entry } from "./entries.js";
import { DatastoreError } from "./errors.js";
import { itemError } from "./failures.js";
import { projected } from "./fields.js";
import type { Query, QueryInit } from "./query.js";
import { type RetryPolicy } from "./retry.js";
import { Service } from "./wire.js";

/** The options of a query. */
export interface QueryOptions extends CallOptions {
  /** Complete without the shards that cannot be reached, and list them in the summary. By default the query fails. */
  readonly allowPartial?: boolean | undefined;
  /** Say in the summary how the query was evaluated. */
  readonly explain?: boolean | undefined;
}

/** A shard that is missing from results, and why. */
export interface UnreachableShard {
  readonly shard: string;
  readonly error: DatastoreError;
}

/** How the results of a query ended. */
export interface Summary {
  /** There are no more, the limit was reached, or shards are missing. */
  readonly reason: "EXHAUSTED" | "LIMIT" | "PARTIAL";
  /** How many entries there were. */
  readonly entries: number;
  /** The shards that are missing. */
  readonly unreachable: readonly UnreachableShard[];
  /** How the query was evaluated since it was last resumed, if that was asked for. */
  readonly explanation?: Explanation;
}

/** How one store, and those it is composed of, evaluated a query; for people. */
export interface Explanation {
  readonly kind: string;
  readonly description: string;
  readonly shard: string;
  /** The parts of the query, and how much of each the store applied itself. */
  readonly parts: readonly { readonly text: string; readonly support: "NONE" | "INEXACT" | "EXACT" }[];
  readonly scanned: bigint;
  readonly returned: bigint;
  readonly remaining?: bigint;
  readonly timeUs: bigint;
  readonly note: string;
  readonly children: readonly Explanation[];
}

type Response = MessageShape<typeof Service.method.query.output>;

/**
 * The entries that a query selects, in its order.
 *
 * Read them with `for await`: the call begins with the first entry, is read only as fast as you read, and ends when you
 * leave the loop. They can be read once. A stream that is cut off is continued where it was; if that is not possible,
 * or a part is missing, reading fails, so results are never silently incomplete.
 */
export class QueryResults implements AsyncIterable<Entry> {
  /** How the results ended, once all have been read. */
  summary: Summary | undefined;
  private isBegun = false;

  /** @internal */
  constructor(
    private readonly connection: Connection,
    private readonly query: Query,
    private readonly options: QueryOptions,
  ) {}

  [Symbol.asyncIterator](): AsyncIterator<Entry, undefined, undefined> {
    return new EntryIterator(this.batches());
  }

  /** All entries, as an array. */
  async toArray(): Promise<Entry[]> {
    const entries: Entry[] = [];
    for await (const batch of this.batches()) entries.push(...batch);
    return entries;
  }

  /** The same entries as they arrive: in batches of about 256 KiB. */
  async *batches(): AsyncGenerator<Entry[], undefined, undefined> {
    if (this.isBegun) throw new DatastoreError("CURSOR_REUSE", "the results of a query can be read once: query again");
    this.isBegun = true;
    const position = new Position();
    const policy = this.connection.streamPolicy(this.options);
    while (true) {
      try {
        let received = 0;
        for await (const response of this.call(position, policy)) {
          received += response.entries.length;
          // From here on the reader has these entries, so the next call continues after them.
          position.move(response);
          if (response.summary) this.finish(response.summary, received, position.entries);
          const batch = this.entriesOf(response);
          if (batch.length > 0) yield batch;
          if (response.summary) return;
        }
        throw truncated(`the results from ${this.connection.address} ended without their summary`);
      } catch (error) {
        const waitMs = this.backoffMs(error, policy, position);
        if (waitMs === undefined) throw error;
        await this.connection.pause(waitMs, this.options.signal);
      }
    }
  }

  private call(position: Position, policy: RetryPolicy): AsyncIterable<Response> {
    const request = {
      query: this.query.init,
      resumeToken: position.token,
      allowPartial: this.options.allowPartial ?? false,
      explain: this.options.explain ?? false,
      ...(position.lastEntry && { lastEntry: position.lastEntry }),
    };
    return this.connection.stream(Service.method.query, request, this.options, policy);
  }

  /** How long to wait before continuing a stream that was cut off; undefined if it must not be continued. */
  private backoffMs(error: unknown, policy: RetryPolicy, position: Position): number | undefined {
    if (!(error instanceof DatastoreError)) return undefined;
    if (!CONTINUED.has(error.reason)) return undefined;
    if (position.token.length === 0) return this.connection.backoffMs(error, policy);
    // If the server's time limit ends two calls at one place, it would end every further call there too.
    return error.reason === "DEADLINE_EXCEEDED" && position.isLateAgain() ? undefined : policy.backoffMs(error);
  }

  private entriesOf(response: Response): Entry[] {
    const { includeMetadata = false } = this.query.init;
    // Orders that read metadata bring it even if it was not asked for.
    const entries = response.entries.map((data) => decodeEntry(data, includeMetadata));
    return entriesAsAsked(entries, this.query.init, response.needsLastEntry);
  }

  private finish(summary: NonNullable<Response["summary"]>, received: number, entries: number): void {
    if (summary.entries !== BigInt(received)) {
      throw truncated(`${this.connection.address} sent ${summary.entries} results, but ${received} arrived`);
    }
    this.summary = {
      reason: EndReason[summary.reason] as Summary["reason"],
      entries,
      unreachable: unreachableOf(summary.shards),
      ...(summary.explanation && { explanation: explained(summary.explanation) }),
    };
  }
}

/** The errors after which a stream is continued. */
const CONTINUED: ReadonlySet<string> = new Set(["UNAVAILABLE", "OVERLOADED", "DEADLINE_EXCEEDED"]);

/** Where the results are: what the next call continues after. */
class Position {
  token: Uint8Array = new Uint8Array();
  lastEntry: Uint8Array | undefined;
  entries = 0;
  /** Where the last call was that the server ended for its time. */
  private lateAt: Uint8Array | undefined;

  /** Notes that the server ended a call for its time. Returns whether it has ended one here before. */
  isLateAgain(): boolean {
    const before = this.lateAt;
    this.lateAt = this.token;
    return before?.length === this.token.length && before.every((byte, at) => byte === this.token[at]);
  }

  move(response: Response): void {
    this.token = response.resumeToken;
    this.lastEntry = response.needsLastEntry ? (response.entries.at(-1) ?? this.lastEntry) : undefined;
    this.entries += response.entries.length;
  }
}

/** Entries with what the query asked for: the last one may have its whole value, so that it can be sent back. */
export function entriesAsAsked(entries: Entry[], { view, fieldPaths }: QueryInit, isLastWhole: boolean): Entry[] {
  if (view === QueryView.KEYS_ONLY) return entries.map(({ key, metadata }) => ({ key, ...(metadata && { metadata }) }));
  const last = entries.at(-1);
  if (!isLastWhole || last?.value === undefined || !fieldPaths?.length) return entries;
  return [...entries.slice(0, -1), { ...last, value: projected(last.value, fieldPaths) }];
}

/** The shards of a summary that are missing. */
export function unreachableOf(shards: NonNullable<Response["summary"]>["shards"]): UnreachableShard[] {
  return shards.flatMap(({ shard, status }) => (status ? [{ shard, error: itemError(status) }] : []));
}

function explained(message: Omit<ExplanationMessage, "$typeName" | "children"> & { children: object[] }): Explanation {
  const { kind, description, shard, scanned, returned, remaining, timeUs, note } = message;
  return {
    ...{ kind, description, shard, scanned, returned, timeUs, note },
    ...(remaining !== undefined && { remaining }),
    parts: message.parts.map(({ text, support }) => ({
      text,
      support: Support[support] as "NONE" | "INEXACT" | "EXACT",
    })),
    children: (message.children as ExplanationMessage[]).map(explained),
  };
}

/** The error of a stream whose end is missing. */
export function truncated(message: string): DatastoreError {
  return new DatastoreError("TRUNCATED_STREAM", message);
}

/** The entries of batches. By hand, because a generator would take several times as long for each entry. */
class EntryIterator implements AsyncIterator<Entry, undefined, undefined> {
  private batch: Entry[] = [];
  private at = 0;
  /** The reads that wait for a batch, in order, and how many they are. */
  private last: Promise<unknown> = Promise.resolve();
  private waiting = 0;

  constructor(private readonly batches: AsyncGenerator<Entry[], undefined, undefined>) {}

  next(): Promise<IteratorResult<Entry, undefined>> {
    if (this.waiting === 0 && this.at < this.batch.length) {
      return Promise.resolve({ done: false, value: this.batch[this.at++]! });
    }
    this.waiting++;
    const refilled = (): Promise<IteratorResult<Entry, undefined>> => this.refilled();
    const next = this.last.then(refilled, refilled);
    this.last = next;
    return next;
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    await this.batches.return(undefined);
    return { done: true, value: undefined };
  }

  private async refilled(): Promise<IteratorResult<Entry, undefined>> {
    try {
      if (this.at >= this.batch.length) {
        const { done, value } = await this.batches.next();
        if (done) return { done: true, value: undefined };
        [this.batch, this.at] = [value, 0];
      }
      return { done: false, value: this.batch[this.at++]! };
    } finally {
      this.waiting--;
    }
  }
}
