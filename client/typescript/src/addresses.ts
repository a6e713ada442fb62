// Addresses of servers: their text, their parts, and whether they are on this machine. Pure.

import { DatastoreError } from "./errors.js";

const DEFAULT_PORT = 7420;
const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/;

/** An address, taken apart. */
export interface Address {
  /** As messages show it: `db.example.com:7420`. */
  readonly text: string;
  readonly isSecure: boolean;
  readonly isLoopback: boolean;
}

/**
 * An address of its text: `HOST`, `HOST:PORT`, or a URL with `grpc://` or, for TLS, `grpcs://`.
 *
 * Fails with CONFIG for any other text, and for `grpc://` if it is to be secure.
 */
export function parseAddress(text: string, isSecure: boolean): Address {
  const [, scheme, host, port] =
    /^(?:(grpcs?):\/\/)?(\[[0-9A-Fa-f:.]+\]|[^\s:/?#@[\]]+)(?::(\d{1,5}))?\/?$/.exec(text) ?? [];
  if (text.includes(",")) {
    throw config(`give several addresses as an array: ${JSON.stringify(text.split(","))}`);
  }
  if (host === undefined || Number(port ?? DEFAULT_PORT) > 65_535 || Number(port ?? DEFAULT_PORT) === 0) {
    throw config(
      `${JSON.stringify(text)} is not an address: write HOST:PORT, grpc://HOST:PORT or, for TLS, grpcs://HOST:PORT`,
    );
  }
  if (isSecure && scheme === "grpc") {
    throw config(`${text} is without TLS, and tls asks for it: write grpcs://, or leave out tls`);
  }
  return {
    text: `${host}:${port ?? DEFAULT_PORT}`,
    isSecure: isSecure || scheme === "grpcs",
    isLoopback: LOOPBACK.test(host),
  };
}

/** The headers of calls with a token. Fails with CONFIG for one that cannot be sent. */
export function tokenHeaders(token: string | undefined): Record<string, string> {
  if (token === undefined) return {};
  if (!/^[A-Za-z0-9\-._~+/=]+$/.test(token)) throw config("a token has only letters, digits and -._~+/=");
  return { authorization: `Bearer ${token}` };
}

/** The error of settings that cannot be used. */
export function config(message: string): DatastoreError {
  return new DatastoreError("CONFIG", message);
}
