// The way to a server from Node.js: gRPC over HTTP/2, with TLS or without, two connections for each address.

import { ConnectError, type Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import type { ClientHttp2Session, ClientHttp2Stream } from "node:http2";
import type { SecureContextOptions } from "node:tls";
import type { Address } from "./addresses.js";
import { MESSAGE_BYTES, QUERY_REQUEST_BYTES, type Channel, type Use } from "./channel.js";

/** Keepalive: a ping after so long without a byte, and the time for its answer. */
const PING_INTERVAL_MS = 12_000;
const PING_TIMEOUT_MS = 5000;
/** How much of a stream is buffered while it is not read: about two of the server's messages. */
const STREAM_WINDOW_BYTES = 512 * 1024;

/** The way to one address. */
export class NodeChannel implements Channel {
  readonly address: string;
  readonly isSecure: boolean;
  private readonly sessions: Readonly<Record<Use, Sessions>>;
  private readonly transports: Readonly<Record<Use, Transport>>;

  constructor(address: Address, tls: SecureContextOptions) {
    this.address = address.text;
    this.isSecure = address.isSecure;
    const baseUrl = `${address.isSecure ? "https" : "http"}://${address.text}`;
    this.sessions = { calls: new Sessions(baseUrl, tls), streams: new Sessions(baseUrl, tls) };
    const transportOf = (sessionManager: Sessions): Transport =>
      createGrpcTransport({
        ...{ baseUrl, sessionManager },
        ...{ acceptCompression: [], readMaxBytes: MESSAGE_BYTES, writeMaxBytes: QUERY_REQUEST_BYTES },
      });
    this.transports = { calls: transportOf(this.sessions.calls), streams: transportOf(this.sessions.streams) };
  }

  isConnected(use: Use): boolean {
    return this.sessions[use].isConnected;
  }

  connect(use: Use): Promise<void> {
    return this.sessions[use].connect();
  }

  lostUnheard(use: Use): { readonly cause: unknown } | undefined {
    return this.sessions[use].lostUnheard;
  }

  transport(use: Use): Transport {
    return this.transports[use];
  }

  close(): void {
    for (const sessions of Object.values(this.sessions)) sessions.close();
  }
}

/** The sessions of HTTP/2 to one server, one after the other, and whether the server has said anything on the last. */
class Sessions {
  readonly authority: string;
  private readonly manager: Http2SessionManager;
  private last: ClientHttp2Session | undefined;
  private isHeard = false;
  private cause: unknown;

  constructor(baseUrl: string, tls: SecureContextOptions) {
    this.manager = new Http2SessionManager(
      baseUrl,
      { pingIntervalMs: PING_INTERVAL_MS, pingTimeoutMs: PING_TIMEOUT_MS },
      { ...tls, settings: { initialWindowSize: STREAM_WINDOW_BYTES } },
    );
    this.authority = this.manager.authority;
  }

  get isConnected(): boolean {
    const state = this.manager.state();
    return state === "open" || state === "idle";
  }

  get lostUnheard(): { readonly cause: unknown } | undefined {
    return this.last === undefined || this.isHeard ? undefined : { cause: this.cause };
  }

  async connect(): Promise<void> {
    if ((await this.manager.connect()) !== "error") return;
    throw ConnectError.from(this.manager.error() ?? "the connection was lost");
  }

  async request(...[method, path, headers, options]: Parameters<Http2SessionManager["request"]>) {
    const stream = await this.manager.request(method, path, headers, options);
    if (stream.session !== undefined && stream.session !== this.last) this.listen(stream.session as ClientHttp2Session);
    return stream;
  }

  notifyResponseByteRead(stream: ClientHttp2Stream): void {
    this.manager.notifyResponseByteRead(stream);
  }

  close(): void {
    this.manager.abort();
  }

  private listen(session: ClientHttp2Session): void {
    [this.last, this.isHeard, this.cause] = [session, false, undefined];
    session.once("remoteSettings", () => {
      if (session === this.last) this.isHeard = true;
    });
    session.once("error", (error) => {
      if (session === this.last) this.cause = error;
    });
  }
}
