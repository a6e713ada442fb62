// The way to a server from Node.js: gRPC over HTTP/2, with TLS or without, two connections for each address.

import { Code, ConnectError, decodeBinaryHeader, type Transport } from "@connectrpc/connect";
import { createGrpcTransport, type GrpcTransportOptions } from "@connectrpc/connect-node";
import type {
  ClientHttp2Stream,
  IncomingHttpHeaders,
  OutgoingHttpHeaders,
  SecureClientSessionOptions,
} from "node:http2";
import type { SecureContextOptions } from "node:tls";
import { StatusSchema } from "../gen/google/rpc/status_pb.js";
import type { Address } from "./addresses.js";
import { MESSAGE_BYTES, QUERY_REQUEST_BYTES, UnsentCall, type Channel, type Use } from "./channel.js";
import { Session } from "./session.js";

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

  transport(use: Use): Transport {
    return this.transports[use];
  }

  close(): void {
    for (const sessions of Object.values(this.sessions)) sessions.close();
  }
}

/** The connections to one server, one after the other. */
class Sessions implements NonNullable<GrpcTransportOptions["sessionManager"]> {
  readonly authority: string;
  private readonly options: SecureClientSessionOptions;
  private current: Session | undefined;
  /** The current one, and those that end with their last call. */
  private readonly open = new Set<Session>();
  private isClosed = false;

  constructor(baseUrl: string, tls: SecureContextOptions) {
    this.authority = new URL(baseUrl).origin;
    this.options = { ...tls, settings: { enablePush: false, initialWindowSize: STREAM_WINDOW_BYTES } };
  }

  get isConnected(): boolean {
    return this.current?.isReady ?? false;
  }

  async connect(): Promise<void> {
    if (this.current?.isStale) await this.current.ping();
    if (this.isClosed) throw new UnsentCall();
    if (this.current === undefined || this.current.isOver) this.current = this.opened();
    await this.current.ready;
  }

  request(method: string, path: string, headers: OutgoingHttpHeaders): Promise<ClientHttp2Stream> {
    return new Promise((resolve) => {
      if (this.current === undefined || this.isClosed) throw new UnsentCall();
      const stream = this.current.request({ ...headers, ":method": method, ":path": path });
      stream.once("response", readableStatus);
      stream.once("trailers", readableStatus);
      failWithoutAnswer(stream);
      resolve(stream);
    });
  }

  notifyResponseByteRead(stream: ClientHttp2Stream): void {
    for (const session of this.open) if (session.has(stream)) session.alive();
  }

  close(): void {
    this.isClosed = true;
    for (const session of this.open) session.end();
  }

  private opened(): Session {
    const session = new Session(this.authority, this.options, () => this.open.delete(session));
    this.open.add(session);
    return session;
  }
}

/** Empties the details of a status if they are not one, and escapes a message that cannot be unescaped. */
function readableStatus(headers: IncomingHttpHeaders): void {
  const { "grpc-status-details-bin": details, "grpc-message": message } = headers;
  if (typeof details === "string" && !isReadable(() => decodeBinaryHeader(details, StatusSchema).code !== 0)) {
    delete headers["grpc-status-details-bin"];
  }
  if (typeof message === "string" && !isReadable(() => decodeURIComponent(message) !== "")) {
    headers["grpc-message"] = encodeURIComponent(message);
  }
}

function isReadable(read: () => boolean): boolean {
  try {
    return read();
  } catch {
    return false;
  }
}

/** Fails a stream that closes without an answer, for which Connect would wait until the deadline if it has no code. */
function failWithoutAnswer(stream: ClientHttp2Stream): void {
  let isAnswered = false;
  stream.once("response", () => (isAnswered = true));
  stream.once("close", () => {
    if (isAnswered) return;
    // After Connect's own listener, which says more if there is a code.
    process.nextTick(() => stream.emit("error", new ConnectError("it ended without an answer", Code.Unavailable)));
  });
}
