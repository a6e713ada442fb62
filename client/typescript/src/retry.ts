// When to retry a failed call, and whether its server is expected back. Decides by clocks, but does not wait.

import { DatastoreError } from "./errors.js";

/** How long a lost server that has answered before is expected back: finishing its calls and restarting takes less. */
export const RESUME_TIMEOUT_MS = 30_000;
/** The retry delay of an error that the client itself finds safe to retry: as long as reconnecting takes. */
export const RETRY_AFTER_MS = 100;
/** The first and the longest backoff; each is shortened at random by up to a half. */
const BACKOFF_MS = 50;
const LONGEST_BACKOFF_MS = 1000;

/** Whether a call that ended with this error may be repeated unchanged: nothing was done, or it was a read. */
export function mayRepeat(error: DatastoreError): boolean {
  return error.details.retryAfterMs !== undefined;
}

/** The error of a call that was never sent, because there was no connection: nothing was done. */
export class UnsentError extends DatastoreError {}

/** Whether a write that ended with this error, because the way to its store failed, may have been made. */
export function mayHaveBeenMade(error: DatastoreError): boolean {
  if (error.reason !== "UNAVAILABLE" && error.reason !== "DEADLINE_EXCEEDED") return false;
  return !mayRepeat(error) && !(error instanceof UnsentError);
}

/** The deadline of one call or stream over all its attempts, and the backoffs between them. */
export class RetryPolicy {
  private readonly deadline: number;
  /** When the wait for the server began; undefined while messages arrive. */
  private cutAt: number | undefined;
  private backoff = BACKOFF_MS;

  constructor(
    readonly timeoutMs: number,
    private readonly clock: () => number = () => performance.now(),
    deadline?: number,
  ) {
    this.deadline = deadline ?? clock() + timeoutMs;
  }

  /** The same deadline for one of several calls, which backs off by itself. */
  ofPart(): RetryPolicy {
    return new RetryPolicy(this.timeoutMs, this.clock, this.deadline);
  }

  /** Whether the deadline has passed. */
  get isOver(): boolean {
    return this.clock() >= this.deadline;
  }

  /** The time left in whole milliseconds, always above zero, so that the call itself reports an exceeded deadline. */
  leftMs(): number {
    return Math.max(Math.ceil(this.deadline - this.clock()), 1);
  }

  /** Notes that the server has sent a message. */
  sawMessage(): void {
    this.cutAt = undefined;
    this.backoff = BACKOFF_MS;
  }

  /** How long to wait before the next attempt, after one has ended with `error`; undefined: give up. */
  backoffMs(error: DatastoreError): number | undefined {
    const now = this.clock();
    this.cutAt ??= now;
    if (now >= this.cutAt + RESUME_TIMEOUT_MS) return undefined;
    const delayMs = error.details.retryAfterMs ?? 0;
    // No deadline shortens what a server asks for: at most as long as one that is away is waited for.
    const firstMs = this.deadline === Infinity ? Math.min(delayMs, RESUME_TIMEOUT_MS) : delayMs;
    const waitMs = firstMs + this.backoff * (0.5 + Math.random() / 2);
    this.backoff = Math.min(this.backoff * 2, LONGEST_BACKOFF_MS);
    return now + waitMs < this.deadline ? waitMs : undefined;
  }
}

/**
 * Whether a server is up, judged by how calls end.
 *
 * One that has never answered is not waited for, because its address may be wrong; any other is expected back until it
 * has been away for RESUME_TIMEOUT_MS.
 */
export class Link {
  private wasUp = false;
  private downSince: number | undefined;

  constructor(private readonly clock: () => number = () => performance.now()) {}

  get isExpectedBack(): boolean {
    return this.wasUp && (this.downSince === undefined || this.clock() < this.downSince + RESUME_TIMEOUT_MS);
  }

  /** Notes that the server answered. */
  up(): void {
    this.wasUp = true;
    this.downSince = undefined;
  }

  /** Notes that a call failed on its way, and whether there was a connection. */
  down(wasConnected: boolean): void {
    this.wasUp ||= wasConnected;
    this.downSince ??= this.clock();
  }
}
