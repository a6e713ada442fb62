// The settings of a client that do not depend on what carries its calls. Pure.

import { checkedTimeout, type ConnectionOptions } from "./connection.js";
import { DatastoreError } from "./errors.js";

/** The deadlines of a call and of a stream, unless they say otherwise. */
const TIMEOUT_MS = 10_000;
const QUERY_TIMEOUT_MS = 3_600_000;

/** How a client behaves, whatever carries its calls. */
export interface ClientOptions {
  /** Who calls: sent with every call. */
  readonly token?: string | undefined;
  /** The deadline of a call with all its attempts, 10 s by default. */
  readonly timeoutMs?: number | undefined;
  /** The deadline of a query or an aggregate from its first to its last entry, an hour by default. */
  readonly queryTimeoutMs?: number | undefined;
  /** Whether to retry what may be retried: true by default. Queries that were cut off are continued in any case. */
  readonly retry?: boolean | undefined;
  /** Whether to repeat writes whose outcome is unknown, too. Each is made only once all the same. */
  readonly retryWrites?: boolean | undefined;
}

/** The settings of a connection. Fails with INVALID. */
export function connectionOptions(
  options: ClientOptions,
  headers: Readonly<Record<string, string>>,
): ConnectionOptions {
  const { timeoutMs = TIMEOUT_MS, queryTimeoutMs = QUERY_TIMEOUT_MS, retry = true, retryWrites = false } = options;
  if (retryWrites && !retry) throw new DatastoreError("INVALID", "retryWrites needs retry", { field: "retryWrites" });
  return { timeoutMs: checkedTimeout(timeoutMs), streamTimeoutMs: checkedTimeout(queryTimeoutMs), retry, headers };
}
