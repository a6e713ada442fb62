// Writes: one by one and in batches, of which nothing is made twice.

import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { DescMethodUnary } from "@bufbuild/protobuf";
import { Attempt, type AttemptInit } from "./attempts.js";
import type { CallOptions, Connection } from "./connection.js";
import { decodeMetadata, ENTRY_BYTES, type Metadata } from "./entries.js";
import { DatastoreError } from "./errors.js";
import { itemError } from "./failures.js";
import type { ChangeInit, PatchInit, Write, WriteInit } from "./operations.js";
import { BATCH_ITEMS, checkCount, fewerItems, orError } from "./reading.js";
import { mayHaveBeenMade, mayRepeat, type RetryPolicy } from "./retry.js";
import { Service } from "./wire.js";

/** The most bytes of the items of a batch in one message. */
const BATCH_BYTES = ENTRY_BYTES + 64 * 1024;
/** What an item takes at most besides its key and content: lengths, a condition, an expiry, an attempt. */
const FRAME_BYTES = 96;

/** What became of one write: its `error`, or the metadata of the entry as stored if there is some. */
export interface WriteResult {
  readonly metadata?: Metadata;
  readonly error?: DatastoreError;
}

/** Makes writes. With `retryWrites` each has an id, by which the store makes only one of its attempts. */
export class Writer {
  private mostItems = BATCH_ITEMS;

  constructor(
    private readonly connection: Connection,
    private readonly retryWrites: boolean,
  ) {}

  /** The answer to a single write; `request` has its terms. */
  async one<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: (attempt: { attempt?: AttemptInit }) => MessageInitShape<I>,
    options: CallOptions,
  ): Promise<MessageShape<O>> {
    const sending = new Sending([{ attempt: this.attempt() }], this.retryWrites);
    const call = { ...options, isRead: false, mayFollow: sending.mayFollow };
    try {
      return await this.connection.unary(method, () => request(sending.attempts()[0] ?? {}), call);
    } catch (error) {
      throw error instanceof DatastoreError ? outcomeOf(error, sending.unknown) : error;
    }
  }

  /**
   * What became of each write, in their order, by as many messages as needed.
   *
   * A message whose outcome is not known could be overtaken, so after it none is sent: all later writes get its error.
   */
  async batch(writes: readonly Write[], options: CallOptions): Promise<WriteResult[]> {
    const results: WriteResult[] = [];
    const items: Item[] = [];
    for (const [index, write] of writes.entries()) {
      const made = this.item(index, write);
      if (made instanceof DatastoreError) results[index] = { error: made };
      else items.push(made);
    }
    const policy = this.connection.policy(options);
    let left = items;
    while (left.length > 0) {
      const part = left.slice(0, fitting(left, this.mostItems));
      const { rest, stopped } = await this.send(part, results, options, policy.ofPart());
      left = [...rest, ...left.slice(part.length)];
      if (stopped === undefined) continue;
      for (const { index } of left) results[index] = { error: stopped };
      break;
    }
    return results;
  }

  /** The same by one message, of which the store makes all writes or none. */
  async atomic(writes: readonly Write[], options: CallOptions): Promise<WriteResult[]> {
    const made = writes.map((write, index) => this.item(index, write));
    const fault = made.findIndex((each) => each instanceof DatastoreError);
    if (fault >= 0)
      return writes.map((_, index) => ({ error: index === fault ? (made[fault] as DatastoreError) : aborted(fault) }));
    const items = made as Item[];
    const policy = this.connection.policy(options);
    while (true) {
      const sending = new Sending(items, this.retryWrites);
      const results = await this.answers(sending, items, options, policy.ofPart(), true).catch((error: unknown) => {
        throw error instanceof DatastoreError ? outcomeOf(error, sending.unknown) : error;
      });
      note(items, sending, results);
      const error = results[0]?.error;
      const repeated = error && repeatable(items, results, this.mayFollow).length === items.length;
      const waitMs = repeated ? this.connection.backoffMs(error, policy, this.mayFollow) : undefined;
      if (waitMs === undefined) return results;
      await this.connection.pause(waitMs, options.signal);
    }
  }

  /** Sends a message until nothing in it can be retried. Returns what is to be sent anew, or why to send no more. */
  private async send(
    items: readonly Item[],
    results: WriteResult[],
    options: CallOptions,
    policy: RetryPolicy,
  ): Promise<{ rest: readonly Item[]; stopped?: DatastoreError }> {
    let asked = items;
    while (true) {
      const sending = new Sending(asked, this.retryWrites);
      let answered: WriteResult[];
      let stopped: DatastoreError | undefined;
      try {
        answered = await this.answers(sending, asked, options, policy.ofPart(), false);
      } catch (error) {
        if (!(error instanceof DatastoreError)) throw error;
        const fewer = fewerItems(error, asked.length);
        if (fewer !== undefined) {
          this.mostItems = fewer;
          return { rest: asked };
        }
        answered = asked.map(() => ({ error }));
        stopped = error.reason === "UNAVAILABLE" || error.reason === "DEADLINE_EXCEEDED" ? error : undefined;
      }
      note(asked, sending, answered);
      for (const [at, { index }] of asked.entries()) results[index] = answered[at] ?? {};
      if (stopped) return { rest: [], stopped };
      asked = repeatable(asked, answered, this.mayFollow);
      const error = asked[0] && results[asked[0].index]?.error;
      const waitMs = error && this.connection.backoffMs(error, policy, this.mayFollow);
      if (waitMs === undefined) return { rest: [] };
      await this.connection.pause(waitMs, options.signal);
    }
  }

  private async answers(
    sending: Sending,
    items: readonly Item[],
    options: CallOptions,
    policy: RetryPolicy,
    atomic: boolean,
  ): Promise<WriteResult[]> {
    const call = { ...options, isRead: false, mayFollow: sending.mayFollow };
    const request = (): MessageInitShape<typeof Service.method.batchWrite.input> => {
      const attempts = sending.attempts();
      return { atomic, writes: items.map(({ init }, at) => ({ ...init, ...attempts[at] })) };
    };
    const { results } = await this.connection.unary(Service.method.batchWrite, request, call, policy);
    checkCount(this.connection.address, results.length, items.length);
    return results.map(({ status, metadata }) => {
      if (status) return { error: itemError(status) };
      return metadata ? orError(() => ({ metadata: decodeMetadata(metadata) })) : {};
    });
  }

  private item(index: number, write: Write): Item | DatastoreError {
    try {
      const init = write.init();
      return { index, key: write.key.text, init, bytes: bytesOf(write, init), attempt: this.attempt() };
    } catch (error) {
      if (error instanceof DatastoreError) return error;
      throw error;
    }
  }

  private attempt(): Attempt | undefined {
    return this.retryWrites ? new Attempt() : undefined;
  }

  private readonly mayFollow = (error: DatastoreError): boolean =>
    mayRepeat(error) || (this.retryWrites && isRepeatedWithAttempt(error));
}

/** Whether a write that may have been made is repeated if the store knows its attempts: not if a deadline ended it. */
function isRepeatedWithAttempt(error: DatastoreError): boolean {
  return error.reason === "UNAVAILABLE" && mayHaveBeenMade(error);
}

/** A write of a batch. */
interface Item {
  readonly index: number;
  readonly key: string;
  readonly init: WriteInit;
  readonly bytes: number;
  readonly attempt: Attempt | undefined;
  /** The error of the first attempt that may have been made. */
  unknown?: DatastoreError;
}

/** One message with writes, which may be sent several times. */
class Sending {
  /** The error of the first time that it may have been made. */
  unknown: DatastoreError | undefined;

  constructor(
    private readonly writes: readonly { readonly attempt: Attempt | undefined }[],
    private readonly retryWrites: boolean,
  ) {}

  /** What each write states when the message is sent now. */
  attempts(): { attempt?: AttemptInit }[] {
    return this.writes.map(({ attempt }) => (attempt ? { attempt: attempt.sent() } : {}));
  }

  /** Whether the message may be sent again after this error. If it may have been made, its writes become repeats. */
  readonly mayFollow = (error: DatastoreError): boolean => {
    if (mayRepeat(error)) return true;
    if (!this.retryWrites || !isRepeatedWithAttempt(error)) return false;
    this.unknown ??= error;
    for (const { attempt } of this.writes) attempt?.follow();
    return true;
  };
}

/**
 * The error of a write whose last attempt ended with `error`.
 *
 * If that did not reach the store, the outcome is still that of the earlier attempt that may have been made.
 */
function outcomeOf(error: DatastoreError, unknown: DatastoreError | undefined): DatastoreError {
  const didNotReach = ["UNAVAILABLE", "OVERLOADED", "WRONG_SHARD"].includes(error.reason);
  return unknown && didNotReach ? unknown : error;
}

/** Notes how writes ended, and gives those that may have been made by an earlier attempt the error of that one. */
function note(items: readonly Item[], sending: Sending, results: WriteResult[]): void {
  for (const [at, item] of items.entries()) {
    const error = results[at]?.error;
    let unknown = item.unknown ?? sending.unknown;
    if (error) {
      if (mayHaveBeenMade(error)) {
        item.attempt?.follow();
        unknown ??= error;
      }
      results[at] = { error: outcomeOf(error, unknown) };
    }
    if (unknown) item.unknown = unknown;
  }
}

/** The writes that may be sent again, in their order: none whose key a later one has written since, or may have. */
function repeatable(
  items: readonly Item[],
  results: readonly WriteResult[],
  mayFollow: (error: DatastoreError) => boolean,
): Item[] {
  const written = new Set<string>();
  const again: Item[] = [];
  for (let at = items.length - 1; at >= 0; at--) {
    const item = items[at]!;
    const error = results[at]?.error;
    if (error === undefined || !mayFollow(error)) written.add(item.key);
    else if (!written.has(item.key)) again.unshift(item);
  }
  return again;
}

/** How many of the writes fit in a message: at least one. */
function fitting(items: readonly Item[], most: number): number {
  let bytes = 0;
  const end = items.findIndex(
    (item, at) => (at > 0 && (at >= most || bytes + item.bytes > BATCH_BYTES)) || ((bytes += item.bytes), false),
  );
  return end < 0 ? items.length : end;
}

function bytesOf({ key }: Write, { operation }: WriteInit): number {
  return 3 * key.text.length + FRAME_BYTES + contentBytes(operation);
}

function contentBytes(operation: WriteInit["operation"]): number {
  if (operation?.case === "put") return operation.value.length;
  if (operation?.case !== "patch") return 0;
  const changes = ((operation.value as PatchInit).changes ?? []) as ChangeInit[];
  return changes.reduce((bytes, change) => bytes + changeBytes(change), 0);
}

function changeBytes({ fieldPath = "", kind }: ChangeInit): number {
  const frame = 3 * fieldPath.length + FRAME_BYTES;
  if (kind?.case === "append") return frame + (kind.value.values ?? []).reduce((sum, each) => sum + each.length + 6, 0);
  return kind?.case === "set" || kind?.case === "increment" ? frame + kind.value.length : frame;
}

function aborted(index: number): DatastoreError {
  const details = index > 0 ? { index } : {};
  return new DatastoreError(
    "BATCH_ABORTED",
    `nothing was written, because the write at ${index} cannot be sent`,
    details,
  );
}
