// The package for Node.js: gRPC over HTTP/2.

import { config, parseAddress, tokenHeaders } from "./addresses.js";
import { Client } from "./client.js";
import { connectionOptions, type ClientOptions } from "./options.js";
import { Connection } from "./connection.js";
import { NodeChannel } from "./node.js";
import { secureContext, type TlsOptions } from "./tls.js";

export * from "./api.js";
export type { ClientOptions } from "./options.js";
export type { Pem, TlsOptions } from "./tls.js";

/** How to connect. */
export interface ConnectOptions extends ClientOptions {
  /**
   * TLS: true to trust the authorities of Node.js, or files. An address with `grpcs://` has it anyway, and with
   * `grpc://` never.
   */
  readonly tls?: boolean | TlsOptions | undefined;
  /** Send the token over a connection without TLS to another machine, where anyone on the way can read it. */
  readonly insecure?: boolean | undefined;
}

/**
 * The datastore of a server, node or proxy, at `HOST:PORT` or `grpcs://HOST:PORT` (default port 7420), or at several
 * addresses of the same store: the first that answers is used, and the next when it cannot be reached.
 *
 * Nothing is sent before the first call. The caller closes the client. Fails with CONFIG for settings that cannot be
 * used, and with INVALID for a timeout that cannot be kept.
 */
export function connect(addresses: string | readonly string[], options: ConnectOptions = {}): Client {
  const { tls = false, token, insecure = false } = options;
  const texts = typeof addresses === "string" ? [addresses] : addresses;
  const parsed = texts.map((text) => parseAddress(text, tls !== false));
  for (const { text, isSecure, isLoopback } of parsed) {
    if (token === undefined || isSecure || isLoopback || insecure) continue;
    throw config(`a token is not sent to ${text} without TLS, because anyone on the way could read it`);
  }
  const context = secureContext(typeof tls === "object" ? tls : {});
  const [first, ...others] = parsed.map((address) => new NodeChannel(address, context));
  if (first === undefined) throw config("connect needs at least one address");
  const connection = new Connection([first, ...others], connectionOptions(options, tokenHeaders(token)));
  return new Client(connection, options.retryWrites ?? false);
}
