// One connection of HTTP/2: whether the server has spoken on it, and pings that notice when it no longer does.

import { connect, constants } from "node:http2";
import type {
  ClientHttp2Session,
  ClientHttp2Stream,
  OutgoingHttpHeaders,
  SecureClientSessionOptions,
} from "node:http2";
import { SilentError, UnsentCall } from "./channel.js";

/** How long connecting may take, until the server has spoken. */
const CONNECT_TIMEOUT_MS = 5000;
/** Keepalive: a ping after so long without a byte, and the time for its answer. */
const PING_INTERVAL_MS = 12_000;
const PING_TIMEOUT_MS = 5000;

/** A connection, from its beginning. */
export class Session {
  /** Settles once calls can be sent; fails if the connection is lost before, also with SilentError. */
  readonly ready: Promise<void>;
  private readonly http2: ClientHttp2Session;
  private isHeard = false;
  private isLeaving = false;
  private streams = 0;
  private aliveAt = Date.now();
  private keepingAlive: ReturnType<typeof setTimeout> | undefined;
  private pinging: Promise<void> | undefined;

  constructor(authority: string, options: SecureClientSessionOptions, ended: (session: Session) => void) {
    this.http2 = connect(authority, options);
    this.http2.once("goaway", () => {
      this.leave();
    });
    this.ready = new Promise((resolve, reject) => {
      let isConnected = false;
      let cause: Error | undefined;
      const late = setTimeout(() => {
        this.end(timedOut("connecting took too long"));
      }, CONNECT_TIMEOUT_MS);
      this.http2.once("connect", () => (isConnected = true));
      this.http2.once("remoteSettings", () => {
        clearTimeout(late);
        this.isHeard = true;
        this.restIfIdle();
        resolve();
      });
      // For as long as the session lives: an error that nobody listens to would end the process.
      this.http2.on("error", (error: Error) => (cause ??= error));
      this.http2.once("close", () => {
        clearTimeout(late);
        clearTimeout(this.keepingAlive);
        ended(this);
        reject(isConnected && !isTimeout(cause) ? new SilentError(cause) : asError(cause));
      });
    });
    this.ready.catch(() => undefined);
  }

  /** Whether no more calls can be sent, because the connection is lost or the server is going away. */
  get isOver(): boolean {
    return this.isLeaving || this.http2.closed || this.http2.destroyed;
  }

  /** Whether calls can be sent now. */
  get isReady(): boolean {
    return this.isHeard && !this.isOver && !this.isStale;
  }

  /** Whether the server has been silent for so long that a ping has to show that it is still there. */
  get isStale(): boolean {
    return this.isHeard && !this.isOver && Date.now() - this.aliveAt > PING_INTERVAL_MS;
  }

  /** Sends a call. Fails with UnsentCall if that is not possible any more. */
  request(headers: OutgoingHttpHeaders): ClientHttp2Stream {
    if (!this.isHeard || this.isOver) throw new UnsentCall();
    let stream: ClientHttp2Stream;
    try {
      stream = this.http2.request(headers);
    } catch (cause) {
      throw new UnsentCall({ cause });
    }
    if (this.streams++ === 0) this.http2.ref();
    this.keepAlive();
    stream.once("response", () => {
      this.alive();
    });
    stream.once("close", () => {
      this.streams--;
      this.restIfIdle();
    });
    return stream;
  }

  /** Whether a call is on this connection. */
  has(stream: ClientHttp2Stream): boolean {
    return stream.session === this.http2;
  }

  /** Notes that the server has sent something. */
  alive(): void {
    this.aliveAt = Date.now();
  }

  /** Waits for the answer of a ping. Without one the connection has ended. */
  ping(): Promise<void> {
    this.pinging ??= new Promise((resolve) => {
      const late = setTimeout(() => {
        this.end(timedOut("a ping was not answered"));
      }, PING_TIMEOUT_MS);
      const done = (error?: Error | null): void => {
        clearTimeout(late);
        if (!error) this.alive();
        this.pinging = undefined;
        resolve();
      };
      if (this.http2.destroyed) done(new Error("lost"));
      else this.http2.ping(done);
    });
    return this.pinging;
  }

  /** Ends the connection, and all calls on it. */
  end(error?: Error): void {
    if (!this.http2.destroyed) this.http2.destroy(error, constants.NGHTTP2_CANCEL);
  }

  /** Calls in progress are finished, and others go to another connection. */
  private leave(): void {
    this.isLeaving = true;
    this.restIfIdle();
  }

  /** Without calls, a connection neither keeps the process running nor is pinged, nor is it kept if it is of no use. */
  private restIfIdle(): void {
    if (this.streams > 0 || this.http2.destroyed) return;
    clearTimeout(this.keepingAlive);
    if (this.isLeaving) this.end();
    else this.http2.unref();
  }

  private keepAlive(): void {
    clearTimeout(this.keepingAlive);
    if (this.streams === 0 || this.http2.destroyed) return;
    const leftMs = this.aliveAt + PING_INTERVAL_MS - Date.now();
    const next = (): void => {
      this.keepAlive();
    };
    if (leftMs <= 0) void this.ping().then(next);
    else this.keepingAlive = setTimeout(next, leftMs).unref();
  }
}

function timedOut(message: string): Error {
  return Object.assign(new Error(message), { code: "ETIMEDOUT" });
}

function isTimeout(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ETIMEDOUT";
}

function asError(cause: unknown): Error {
  return cause instanceof Error ? cause : new Error("the connection was closed", { cause });
}
