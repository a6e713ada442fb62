// The way to one server, whatever carries it: connections of HTTP/2 in Node.js, the browser's in browsers.

import type { Transport } from "@connectrpc/connect";

/** Calls and streams have a connection each, so that no call waits behind unread results. */
export type Use = "calls" | "streams";

/** The way to one server. */
export interface Channel {
  /** The address, as messages show it. */
  readonly address: string;
  readonly isSecure: boolean;

  /** Whether calls can be sent without connecting first. */
  isConnected(use: Use): boolean;

  /** Connects, and waits until the server has spoken. Fails with what the transport fails with. */
  connect(use: Use): Promise<void>;

  /** What makes the calls. */
  transport(use: Use): Transport;

  /** Ends the connections, and all calls on them. */
  close(): void;
}

/** A server took the connection and ended it without a word: it does not speak this protocol, or refused it. */
export class SilentError extends Error {
  constructor(cause: unknown) {
    super("the connection ended without a word", { cause });
  }
}

/** A call was not sent, because the connection had ended. */
export class UnsentCall extends Error {
  constructor(options?: ErrorOptions) {
    super("the connection was lost", options);
  }
}

/** The largest message in either direction, in bytes. */
export const MESSAGE_BYTES = 4 * 1024 * 1024;
/** The largest request of a query, in bytes. */
export const QUERY_REQUEST_BYTES = 3 * MESSAGE_BYTES;
