// Attempts of writes, by which a store makes only one of those that are sent again. Reads clocks.

import type { WriteInit } from "./operations.js";
import type { Init } from "./wire.js";

/** What a message says of an attempt. */
export type AttemptInit = Init<WriteInit["attempt"]>;

/** A write that may be sent several times. */
export class Attempt {
  private readonly requestId = crypto.getRandomValues(new Uint8Array(16));
  private lastSent: Moment | undefined;
  /** When the first attempt was sent that may have been made. */
  private firstSent: Moment | undefined;

  /** What the message says if it is sent now. */
  sent(): AttemptInit {
    this.lastSent = now();
    return { requestId: this.requestId, ageUs: this.firstSent ? elapsedUs(this.firstSent, this.lastSent) : 0n };
  }

  /** Notes that the last attempt may have been made. */
  follow(): void {
    this.firstSent ??= this.lastSent;
  }
}

interface Moment {
  readonly steady: number;
  readonly wall: number;
}

function now(): Moment {
  return { steady: performance.now(), wall: Date.now() };
}

/**
 * The time between two moments, or more.
 *
 * The steady clock is never set, but stops while the machine sleeps; the wall clock is the reverse. After too long a
 * time a store says that it has forgotten the write, after too short a one it could make it twice: hence the longer.
 */
function elapsedUs(from: Moment, to: Moment): bigint {
  return BigInt(Math.ceil(1000 * Math.max(to.steady - from.steady, to.wall - from.wall)));
}
