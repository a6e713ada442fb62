// The one error class, told apart by `reason`. docs/protocol.md has the table of reasons.

/** Every reason that an error of this client or of a server can have. Decide by it, not by the message. */
export const REASONS = [
  "INVALID",
  "INVALID_KEY",
  "INVALID_VALUE",
  "INVALID_QUERY",
  "INVALID_TOKEN",
  "UNSUPPORTED_TYPE",
  "LIMIT_EXCEEDED",
  "CONDITION_FAILED",
  "BATCH_ABORTED",
  "REQUEST_FORGOTTEN",
  "CHANGES_EXPIRED",
  "QUERY_NOT_SUPPORTED",
  "UNSUPPORTED",
  "DEADLINE_EXCEEDED",
  "UNAVAILABLE",
  "OVERLOADED",
  "UNAUTHENTICATED",
  "PERMISSION_DENIED",
  "WRONG_SHARD",
  "PLACEMENT",
  "TRUNCATED_STREAM",
  "DATASTORE_CLOSED",
  "STORE",
  "STORE_FULL",
  "STORE_LOCKED",
  "STORE_FORMAT",
  "CORRUPT_DATA",
  "NO_STORES",
  "CURSOR_RUNNING",
  "CURSOR_REUSE",
  "CIRCULAR_LINK",
  "CONFIG",
  "INTERNAL",
  "DATASTORE",
] as const;

/** Why something failed. */
export type Reason = (typeof REASONS)[number];

/** What an error says besides its reason and message; each only where it applies. */
export interface ErrorDetails {
  /** The name of the shard that failed. */
  readonly shard?: string;
  /** The field of the request, e.g. `query.filters[0].operator`. */
  readonly field?: string;
  /** The part of a value, e.g. `value['a'][3]`. */
  readonly path?: string;
  /** The limit that was exceeded, named as in `Limits`. */
  readonly limit?: string;
  /** The value of that limit. */
  readonly maximum?: number;
  /** The current version of the entry whose condition failed; not set if it is absent. */
  readonly version?: bigint;
  /** The place of the write that failed in an atomic batch. */
  readonly index?: number;
  /** The shard that owns the key. */
  readonly owner?: string;
  /** The placement epoch of the node that refused the key. */
  readonly epoch?: bigint;
  /** The right that the caller lacks: `read`, `write`, `delete` or `admin`. */
  readonly right?: string;
  /** The id under which the server logged what happened. */
  readonly incident?: string;
  /** The id of the call, which is in the server's log too. */
  readonly requestId?: string;
  /** If set, nothing was done (or it was a read): the call may be repeated unchanged after this time. */
  readonly retryAfterMs?: number;
}

/**
 * What every call of this client fails with, apart from the reason of an aborted signal.
 *
 * `reason` tells errors apart; `details` has what the reason comes with; `cause` is the failure underneath, if any.
 */
export class DatastoreError extends Error {
  override readonly name = "DatastoreError";

  constructor(
    readonly reason: Reason,
    message: string,
    readonly details: ErrorDetails = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
  }

  /** The same error, of which it is known that the call may be repeated. */
  repeatableAfter(retryAfterMs: number): DatastoreError {
    return new DatastoreError(this.reason, this.message, { ...this.details, retryAfterMs }, { cause: this.cause });
  }
}

/** Whether something is a DatastoreError, of this reason if one is given. */
export function isDatastoreError(error: unknown, reason?: Reason): error is DatastoreError {
  return error instanceof DatastoreError && (reason === undefined || error.reason === reason);
}
