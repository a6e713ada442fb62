// The changes of entries, as a stream that survives lost connections.

import type { MessageShape } from "@bufbuild/protobuf";
import { EntryChange_Kind as ChangeKind } from "../gen/datastore/v1/service_pb.js";
import type { CallOptions, Connection } from "./connection.js";
import { DatastoreError, isDatastoreError } from "./errors.js";
import { Key } from "./key.js";
import { invalid, type Query, type QueryInit } from "./query.js";
import { truncated } from "./results.js";
import { RetryPolicy } from "./retry.js";
import { follow } from "./signals.js";
import { answeredKey, decodeValue, type Value } from "./values.js";
import { Service } from "./wire.js";

/** The options of a watch. */
export interface WatchOptions extends CallOptions {
  /** How long the watch may take to begin; by default the deadline of calls. */
  readonly timeoutMs?: number | undefined;
  /** Begin with the entries that exist, as puts in no particular order. */
  readonly initial?: boolean | undefined;
  /** Continue after this token of an earlier watch of the same query. By default the watch begins now. */
  readonly token?: Uint8Array | undefined;
}

/** What happened to one entry. */
export interface Change {
  readonly kind: "PUT" | "DELETE" | "EXPIRE";
  readonly key: Key;
  /** The version of the change: later changes of the key have greater ones. */
  readonly version: bigint;
  /** The new value of a put, unless only keys are watched. */
  readonly value?: Value;
}

/** Changes that belong together: a client that must not see one twice handles all of them before it keeps the token. */
export interface ChangeBatch {
  /** In the order of each key. None in a heartbeat, which moves the token. */
  readonly changes: readonly Change[];
  /** Continues the watch after these changes. */
  readonly token: Uint8Array;
  /** Whether the initial listing is complete with these changes. */
  readonly caughtUp: boolean;
}

type Response = MessageShape<typeof Service.method.watch.output>;

/**
 * The changes of the entries that a query selects, each once, in the order of each key.
 *
 * Read them with `for await`; leaving the loop ends the watch. A stream that is cut off is continued where it was. If
 * you read too slowly, or come back too late, reading fails with CHANGES_EXPIRED: list the entries again.
 */
export class Watch implements AsyncIterable<Change> {
  /** Continues a watch after the changes that have been read; of one batch, after all of them. */
  token: Uint8Array;
  /** Whether the initial listing has been read. */
  caughtUp = false;
  private isClosed = false;
  private readonly ending = new AbortController();
  private readonly stopFollowing: () => void;
  private readonly received: AsyncGenerator<ChangeBatch, undefined, undefined>;
  /** What came when the watch began, until it is read. */
  private first: ChangeBatch | undefined;

  private constructor(
    private readonly connection: Connection,
    private readonly query: Query,
    private readonly options: WatchOptions,
  ) {
    this.token = options.token ?? new Uint8Array();
    this.stopFollowing = follow(this.ending, options.signal);
    this.received = this.receive(this.token, connection.policy(options));
  }

  /** @internal The watch, once it has begun: all later writes are shown. */
  static async begin(connection: Connection, query: Query, options: WatchOptions): Promise<Watch> {
    checkWatched(query.init);
    const watch = new Watch(connection, query, options);
    const { timeoutMs } = connection.policy(options);
    const late = setTimeout(() => {
      const message = `the watch of ${connection.address} did not begin within ${timeoutMs} ms`;
      watch.ending.abort(new DatastoreError("DEADLINE_EXCEEDED", message));
    }, timeoutMs);
    try {
      watch.first = (await watch.received.next()).value;
      return watch;
    } catch (error) {
      await watch.close();
      throw error;
    } finally {
      clearTimeout(late);
    }
  }

  /** The changes one by one. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Change, undefined, undefined> {
    for await (const { changes, token } of this.batches()) {
      for (const [at, change] of changes.entries()) {
        // Before the last change is given on, for a reader that leaves after it.
        if (at === changes.length - 1) this.token = token;
        yield change;
      }
    }
  }

  /** The changes as they belong together, and heartbeats, which have none but move the token. */
  async *batches(): AsyncGenerator<ChangeBatch, undefined, undefined> {
    try {
      while (true) {
        const batch = this.first ?? (await this.received.next()).value;
        this.first = undefined;
        if (batch === undefined) return;
        this.caughtUp ||= batch.caughtUp;
        if (batch.changes.length === 0) this.token = batch.token;
        yield batch;
        this.token = batch.token;
      }
    } catch (error) {
      if (!this.isClosed) throw error;
    } finally {
      await this.close();
    }
  }

  /** Ends the watch, and a loop over it. Leaving the loop does the same. */
  async close(): Promise<void> {
    // First, because a generator that waits for a message returns only after it.
    this.isClosed = true;
    this.stopFollowing();
    this.ending.abort();
    await this.received.return(undefined).catch(() => undefined);
  }

  /** All batches, over as many calls as needed. Only the first has a deadline. */
  private async *receive(token: Uint8Array, beginning: RetryPolicy): AsyncGenerator<ChangeBatch, undefined, undefined> {
    const call = { signal: this.ending.signal };
    const policy = new RetryPolicy(Infinity);
    let isBegun = false;
    while (true) {
      const request = { query: this.query.init, initial: this.options.initial ?? false, resumeToken: token };
      let [changes, caughtUp]: [Change[], boolean] = [[], false];
      try {
        for await (const response of this.connection.stream(Service.method.watch, request, call, policy)) {
          changes.push(...response.changes.map(changeOf));
          caughtUp ||= response.caughtUp;
          if (response.resumeToken.length === 0) continue;
          token = response.resumeToken;
          isBegun = true;
          yield { changes, token, caughtUp };
          [changes, caughtUp] = [[], false];
        }
        throw truncated(`the changes from ${this.connection.address} ended`);
      } catch (error) {
        if (!isDatastoreError(error, "UNAVAILABLE") && !isDatastoreError(error, "OVERLOADED")) throw error;
        // Without a token the watch has not begun, and is like any other call.
        const patience = isBegun ? policy : beginning;
        const waitMs = token.length > 0 ? patience.backoffMs(error) : this.connection.backoffMs(error, patience);
        if (waitMs === undefined) throw error;
        await this.connection.pause(waitMs, call.signal);
      }
    }
  }
}

/** Fails with INVALID_QUERY unless a query only says which entries, which is all that can be watched. */
function checkWatched({ orders, limit, offset, startAfter, fieldPaths, includeMetadata }: QueryInit): void {
  const more = { orders: orders?.length, limit, offset, startAfter, fields: fieldPaths, metadata: includeMetadata };
  const [first] = Object.entries(more).filter(([, part]) => part !== undefined && part !== 0 && part !== false);
  if (first) throw invalid(`a watch has a key, a scope and filters: leave out ${first[0]}`, "query");
}

const KINDS: Readonly<Partial<Record<ChangeKind, Change["kind"]>>> = {
  [ChangeKind.PUT]: "PUT",
  [ChangeKind.DELETE]: "DELETE",
  [ChangeKind.EXPIRE]: "EXPIRE",
};

function changeOf({ kind, key, version, value }: Response["changes"][number]): Change {
  const known = KINDS[kind];
  if (known === undefined) {
    throw new DatastoreError(
      "CHANGES_EXPIRED",
      `a change is of a kind that this client does not know, ${kind}: list again`,
    );
  }
  return {
    kind: known,
    key: answeredKey(key?.text ?? ""),
    version,
    ...(value && { value: decodeValue(value) }),
  };
}
