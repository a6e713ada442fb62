// The package for browsers: gRPC-Web over fetch, which a proxy such as Envoy translates to gRPC.

import type { Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { config, tokenHeaders } from "./addresses.js";
import type { Channel } from "./channel.js";
import { Client } from "./client.js";
import { Connection } from "./connection.js";
import { follow } from "./signals.js";
import { connectionOptions, type ClientOptions } from "./options.js";

export * from "./api.js";
export type { ClientOptions } from "./options.js";

/**
 * The datastore behind a proxy for gRPC-Web at a URL such as `https://db.example.com`.
 *
 * The proxy has to allow the page's origin, the headers of gRPC-Web, and to expose `grpc-status`, `grpc-message` and
 * `grpc-status-details-bin`. Otherwise like `connect` for Node.js.
 */
export function connect(url: string, options: ClientOptions = {}): Client {
  const connection = new Connection([new WebChannel(url)], connectionOptions(options, tokenHeaders(options.token)));
  return new Client(connection, options.retryWrites ?? false);
}

/** The way to one URL. The browser connects by itself. */
class WebChannel implements Channel {
  private readonly fetched: Transport;
  private readonly closing = new AbortController();

  readonly isSecure: boolean;

  constructor(readonly address: string) {
    this.isSecure = address.startsWith("https:");
    if (!/^https?:\/\/[^\s/]+/.test(address)) {
      throw config(
        `${JSON.stringify(address)} is not a URL of a proxy for gRPC-Web: write https://HOST or http://HOST:PORT`,
      );
    }
    this.fetched = createGrpcWebTransport({
      baseUrl: address,
      fetch: (input, init) => {
        // Connect aborts the signal of each call at its end.
        const call = new AbortController();
        const leave = follow(call, this.closing.signal, init?.signal ?? undefined);
        call.signal.addEventListener("abort", leave);
        return fetch(input, { ...init, signal: call.signal });
      },
    });
  }

  isConnected(): boolean {
    return true;
  }

  connect(): Promise<void> {
    return Promise.resolve();
  }

  transport(): Transport {
    return this.fetched;
  }

  close(): void {
    this.closing.abort();
  }
}
