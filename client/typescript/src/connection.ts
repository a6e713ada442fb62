// Calls over a list of addresses: deadlines, places, retries. Knows methods and their messages, but not their meaning.

import { create, type DescMessage, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import type { DescMethodServerStreaming, DescMethodUnary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Channel, Use } from "./channel.js";
import { DatastoreError } from "./errors.js";
import { failureOf, late, unreachable } from "./failures.js";
import { Link, mayRepeat, RETRY_AFTER_MS, RetryPolicy, UnsentError } from "./retry.js";
import { follow, pause } from "./signals.js";
import { CALLS_AT_ONCE, Slots, STREAMS_AT_ONCE } from "./slots.js";

/** The longest deadline: gRPC sends eight digits, which are 27 hours. */
const LONGEST_TIMEOUT_MS = 99_999_999;

/** The options of every call. */
export interface CallOptions {
  /** Ends the call when it is aborted: the call fails with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** The deadline of the call over all its attempts; by default that of the client. */
  readonly timeoutMs?: number | undefined;
}

/** How a connection behaves. */
export interface ConnectionOptions {
  readonly timeoutMs: number;
  readonly streamTimeoutMs: number;
  readonly retry: boolean;
  readonly headers: Readonly<Record<string, string>>;
}

/** Whether a call may be sent again after this error. */
export type MayFollow = (error: DatastoreError) => boolean;

/** Calls the first of several addresses that answers, and the next when that cannot be reached. */
export class Connection {
  private readonly link = new Link();
  private readonly calls = new Slots(CALLS_AT_ONCE, "calls");
  private readonly streams = new Slots(STREAMS_AT_ONCE, "streams");
  /** The place of the address that was reached last. */
  private current = 0;
  private readonly closing = new AbortController();

  constructor(
    private readonly channels: readonly [Channel, ...Channel[]],
    private readonly options: ConnectionOptions,
  ) {}

  /** The address that is called, as messages show it. */
  get address(): string {
    return this.channel.address;
  }

  /** The deadline of a unary call, from now on. */
  policy(call: CallOptions): RetryPolicy {
    return new RetryPolicy(checkedTimeout(call.timeoutMs ?? this.options.timeoutMs));
  }

  /** The deadline of a stream over all its calls, from now on. */
  streamPolicy(call: CallOptions): RetryPolicy {
    return new RetryPolicy(checkedTimeout(call.timeoutMs ?? this.options.streamTimeoutMs));
  }

  /**
   * The answer to a request, which is made anew for each attempt.
   *
   * Retries, within the deadline, what may be retried; `mayFollow` says whether an error allows it.
   */
  async unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: () => MessageInitShape<I>,
    call: CallOptions & { readonly isRead: boolean; readonly mayFollow?: MayFollow | undefined },
    policy = this.policy(call),
  ): Promise<MessageShape<O>> {
    while (true) {
      this.checkOpen();
      if (policy.isOver) throw late(this.address, policy.timeoutMs);
      await this.calls.take(policy.leftMs(), call.signal);
      let waitMs: number | undefined;
      try {
        this.checkOpen();
        return await this.answer(method, request(), call, policy);
      } catch (error) {
        waitMs = error instanceof DatastoreError ? this.backoffMs(error, policy, call.mayFollow) : undefined;
        if (waitMs === undefined) throw error;
      } finally {
        this.calls.release();
      }
      await this.pause(waitMs, call.signal);
    }
  }

  /** Waits between two calls. Fails with the reason of the signal, and with DATASTORE_CLOSED. */
  pause(ms: number, signal?: AbortSignal): Promise<void> {
    return pause(ms, signal, this.closing.signal);
  }

  /** How long to wait before retrying a call that ended with `error`; undefined if it must not be retried. */
  backoffMs(error: DatastoreError, policy: RetryPolicy, mayFollow: MayFollow = mayRepeat): number | undefined {
    return this.options.retry && !this.isClosed && mayFollow(error) ? policy.backoffMs(error) : undefined;
  }

  /** The messages of one streaming call, which ends when they are left early. Retries nothing. */
  async *stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodServerStreaming<I, O>,
    request: MessageInitShape<I>,
    call: CallOptions,
    policy: RetryPolicy,
  ): AsyncGenerator<MessageShape<O>, void, undefined> {
    this.checkOpen();
    await this.streams.take(Math.min(policy.leftMs(), this.options.timeoutMs), call.signal);
    const leaving = new AbortController();
    const stopFollowing = follow(leaving, call.signal);
    const deadline = new Deadline(policy, leaving);
    let { channel } = this;
    try {
      channel = await this.reached("streams", policy, leaving.signal);
      const headers = { ...this.options.headers, ...deadline.headers };
      const requests = once(create(method.input, request));
      const sent = channel.transport("streams").stream(method, leaving.signal, undefined, headers, requests);
      for await (const message of (await sent).message) {
        this.link.up();
        policy.sawMessage();
        yield message;
      }
    } catch (thrown) {
      const reason: unknown = leaving.signal.aborted ? leaving.signal.reason : thrown;
      throw this.failed(reason, policy, channel, { ...call, isRead: true });
    } finally {
      stopFollowing();
      deadline.clear();
      leaving.abort();
      this.streams.release();
    }
  }

  /** Ends all calls, which fail with DATASTORE_CLOSED, as later ones do. */
  close(): void {
    if (this.isClosed) return;
    const error = new DatastoreError("DATASTORE_CLOSED", `the connection to ${this.address} was closed`);
    this.closing.abort(error);
    for (const slots of [this.calls, this.streams]) slots.close(error);
    for (const channel of this.channels) channel.close();
  }

  private get isClosed(): boolean {
    return this.closing.signal.aborted;
  }

  private get channel(): Channel {
    return this.channels[this.current] ?? this.channels[0];
  }

  private async answer<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    call: CallOptions & { readonly isRead: boolean },
    policy: RetryPolicy,
  ): Promise<MessageShape<O>> {
    let { channel } = this;
    try {
      channel = await this.reached("calls", policy, call.signal);
      const transport = channel.transport("calls");
      const { message } = await transport.unary(method, call.signal, policy.leftMs(), this.options.headers, request);
      this.link.up();
      return message;
    } catch (thrown) {
      throw this.failed(thrown, policy, channel, call);
    }
  }

  /** The channel to use: the one that was used last if it is connected, otherwise the first that can be. */
  private async reached(use: Use, policy: RetryPolicy, signal: AbortSignal | undefined): Promise<Channel> {
    if (this.channel.isConnected(use)) return this.channel;
    const failures: UnsentError[] = [];
    for (const channel of [...this.channels.slice(this.current), ...this.channels.slice(0, this.current)]) {
      const place = this.channels.indexOf(channel);
      try {
        await within(channel.connect(use), policy.leftMs(), signal);
        this.checkOpen();
        this.current = place;
        return channel;
      } catch (thrown) {
        signal?.throwIfAborted();
        this.checkOpen();
        failures.push(unreachable(thrown, channel));
        if (!policy.isOver) continue;
        // It took all of the time, so the next call begins with the next address.
        if (this.current === place) this.current = (place + 1) % this.channels.length;
        break;
      }
    }
    const [first] = failures;
    if (first !== undefined && failures.length === 1) throw first;
    throw new UnsentError("UNAVAILABLE", failures.map((each) => each.message).join("; "), {}, { cause: first });
  }

  /** What the caller sees of a failed attempt. A call that may be repeated gets a delay to be repeated after. */
  private failed(
    thrown: unknown,
    policy: RetryPolicy,
    channel: Channel,
    call: CallOptions & { readonly isRead: boolean },
  ): unknown {
    if (call.signal?.aborted) return call.signal.reason;
    if (this.isClosed) return this.closing.signal.reason;
    const { error, isAnswer } =
      thrown instanceof DatastoreError
        ? { error: thrown, isAnswer: false }
        : failureOf(thrown, channel.address, policy.timeoutMs);
    if (isAnswer) this.link.up();
    if (isAnswer || error.reason !== "UNAVAILABLE" || mayRepeat(error)) return error;
    const isUnsent = error instanceof UnsentError;
    this.link.down(!isUnsent);
    return this.link.isExpectedBack && (call.isRead || isUnsent) ? error.repeatableAfter(RETRY_AFTER_MS) : error;
  }

  private checkOpen(): void {
    this.closing.signal.throwIfAborted();
  }
}

/** The deadline of one streaming call. Not the transport's, whose timer would outlive a stream that is left early. */
class Deadline {
  readonly headers: Readonly<Record<string, string>>;
  private readonly timer: ReturnType<typeof setTimeout> | undefined;

  constructor(policy: RetryPolicy, call: AbortController) {
    const leftMs = policy.leftMs();
    this.headers = leftMs === Infinity ? {} : { "grpc-timeout": `${leftMs}m` };
    if (leftMs === Infinity) return;
    this.timer = setTimeout(() => {
      call.abort(new ConnectError("the deadline has passed", Code.DeadlineExceeded));
    }, leftMs);
  }

  clear(): void {
    clearTimeout(this.timer);
  }
}

/** A deadline that can be kept. Fails with INVALID. */
export function checkedTimeout(timeoutMs: number): number {
  if (timeoutMs > 0 && timeoutMs <= LONGEST_TIMEOUT_MS) return timeoutMs;
  throw new DatastoreError("INVALID", `a timeout is above 0 and at most ${LONGEST_TIMEOUT_MS} ms, not ${timeoutMs}`, {
    field: "timeoutMs",
  });
}

/** Waits for work, unless that takes too long or the signal is aborted. */
async function within(work: Promise<void>, timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
  const done = new AbortController();
  const late = pause(timeoutMs, signal, done.signal).then(() => {
    throw Object.assign(new Error("connecting took too long"), { code: "ETIMEDOUT" });
  });
  try {
    await Promise.race([work, late]);
  } finally {
    done.abort();
  }
}

// eslint-disable-next-line @typescript-eslint/require-await -- a stream of one request
async function* once<T>(item: T): AsyncGenerator<T> {
  yield item;
}
