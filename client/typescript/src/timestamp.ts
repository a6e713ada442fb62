// Instants in whole microseconds. Pure.

import { DatastoreError } from "./errors.js";

const SECOND_US = 1_000_000n;
/** The first and the last instant that can be sent: the years 1 to 9999. */
const FIRST_US = -62_135_596_800n * SECOND_US;
const LAST_US = 253_402_300_800n * SECOND_US - 1n;

/**
 * An instant in whole microseconds, the precision of the store, which takes those of the years 1 to 9999.
 *
 * Immutable. A Date has only milliseconds: `fromDate` is exact, and `toDate` drops the last three digits.
 */
export class Timestamp {
  /** An instant by the microseconds since 1970 UTC. */
  constructor(readonly microseconds: bigint) {
    if (typeof microseconds === "bigint") return;
    const message = `a timestamp is made of a bigint of microseconds, not of a ${typeof microseconds}`;
    throw new DatastoreError("UNSUPPORTED_TYPE", message, { path: "value" });
  }

  /** The present, as precise as the clock is. */
  static now(): Timestamp {
    return new Timestamp(BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)));
  }

  /** The instant of a Date. Fails with INVALID_VALUE for an invalid one. */
  static fromDate(date: Date): Timestamp {
    const milliseconds = date.getTime();
    if (Number.isNaN(milliseconds)) throw new DatastoreError("INVALID_VALUE", "the Date is invalid");
    return new Timestamp(BigInt(milliseconds) * 1000n);
  }

  /** The Date of the millisecond in which the instant is: microseconds are lost. */
  toDate(): Date {
    return new Date(Number(divided(this.microseconds, 1000n)[0]));
  }

  /** Whether this is the same instant. */
  equals(other: Timestamp): boolean {
    return this.microseconds === other.microseconds;
  }

  /** RFC 3339 in UTC with all six digits: `2026-11-30T03:15:00.123456Z`. */
  toString(): string {
    const [, rest] = divided(this.microseconds, SECOND_US);
    const iso = this.toDate().toISOString();
    return `${iso.slice(0, iso.indexOf("."))}.${rest.toString().padStart(6, "0")}Z`;
  }

  /** The same as `toString`. */
  toJSON(): string {
    return this.toString();
  }

  /** @internal Whether it can be sent. */
  get isInRange(): boolean {
    return this.microseconds >= FIRST_US && this.microseconds <= LAST_US;
  }

  /** @internal Whole seconds and nanoseconds, as on the wire. */
  get parts(): { seconds: bigint; nanos: number } {
    const [seconds, rest] = divided(this.microseconds, SECOND_US);
    return { seconds, nanos: Number(rest) * 1000 };
  }

  /**
   * @internal The instant of whole seconds and nanoseconds of an answer, of which whole microseconds count.
   *
   * Fails with CORRUPT_DATA outside the years 1 to 9999, and for nanoseconds that are not part of a second.
   */
  static ofParts(seconds: bigint, nanos: number): Timestamp {
    const instant = new Timestamp(seconds * SECOND_US + BigInt(Math.floor(nanos / 1000)));
    if (nanos >= 0 && nanos < 1e9 && instant.isInRange) return instant;
    throw new DatastoreError("CORRUPT_DATA", `${seconds} s and ${nanos} ns are not a timestamp`);
  }
}

/** Quotient and remainder, rounded towards the past. */
function divided(value: bigint, by: bigint): [bigint, bigint] {
  const rest = ((value % by) + by) % by;
  return [(value - rest) / by, rest];
}
