// How many calls are made at once: the others wait in order, within their deadlines.

import { DatastoreError } from "./errors.js";
import { RETRY_AFTER_MS } from "./retry.js";

/** Unary calls of one client at once: enough to keep a server busy. More would only queue there. */
export const CALLS_AT_ONCE = 100;
/** Streams of one client at once: what servers allow on one connection. */
export const STREAMS_AT_ONCE = 1000;
/** How many calls of one client wait at most; the next is refused. */
export const WAITING_CALLS = 10_000;

interface Waiter {
  proceed(): void;
  fail(error: unknown): void;
}

/** A number of places for calls, and a bounded queue for those that wait, first come, first served. */
export class Slots {
  private readonly waiting = new Set<Waiter>();

  constructor(
    private free: number,
    private readonly what: string,
    private readonly mostWaiting = WAITING_CALLS,
  ) {}

  /**
   * Waits for a place, which the caller gives back.
   *
   * Fails with OVERLOADED if too many wait already, with DEADLINE_EXCEEDED after `timeoutMs`, and with the reason of
   * the signal once that is aborted.
   */
  async take(timeoutMs: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    if (this.free > 0) {
      this.free--;
      return;
    }
    if (this.waiting.size >= this.mostWaiting) {
      const message = `${this.mostWaiting} ${this.what} of this client are waiting already: make fewer at once`;
      throw new DatastoreError("OVERLOADED", message, { retryAfterMs: RETRY_AFTER_MS });
    }
    await this.lineUp(timeoutMs, signal);
  }

  /** Gives a place back: to the call that has waited for longest, if there is one. */
  release(): void {
    const [next] = this.waiting;
    if (next === undefined) this.free++;
    else next.proceed();
  }

  /** Fails all that wait. */
  close(error: DatastoreError): void {
    for (const waiter of this.waiting) waiter.fail(error);
  }

  private lineUp(timeoutMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        this.waiting.delete(waiter);
      };
      const waiter = {
        proceed(): void {
          leave();
          resolve();
        },
        fail(error: unknown): void {
          leave();
          // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the reason is the caller's
          reject(error);
        },
      };
      const abort = (): void => {
        waiter.fail(signal?.reason);
      };
      const timer = setTimeout(() => {
        const message = `the call was not sent within ${timeoutMs} ms: too many other ${this.what} were in progress`;
        waiter.fail(new DatastoreError("DEADLINE_EXCEEDED", message));
      }, timeoutMs);
      signal?.addEventListener("abort", abort);
      this.waiting.add(waiter);
    });
  }
}
