// A server that does what a test says, for what a real one does not do.

import { create, fromBinary, toBinary, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { once } from "node:events";
import { createServer, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import {
  createConnection,
  createServer as createTcpServer,
  type AddressInfo,
  type Server,
  type Socket,
} from "node:net";
import { DatastoreService } from "../gen/datastore/v1/service_pb.js";
import { ErrorInfoSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "../gen/google/rpc/status_pb.js";

type Method = keyof typeof DatastoreService.method;

/** One call that a scripted server was sent. */
export class Call {
  private isBegun = false;

  constructor(
    readonly stream: ServerHttp2Stream,
    readonly method: string,
    /** What is left of its deadline, as the client wrote it. */
    readonly timeout: string,
    private readonly sent: Uint8Array,
  ) {}

  get session(): ServerHttp2Session {
    return this.stream.session as ServerHttp2Session;
  }

  /** The request, which follows five bytes of gRPC. */
  request<Name extends Method>(name: Name) {
    return fromBinary<(typeof DatastoreService.method)[Name]["input"]>(
      DatastoreService.method[name].input,
      this.sent.subarray(5),
    );
  }

  /** Sends the headers, if that has not been done. */
  begin(): void {
    if (!this.isBegun) this.stream.respond({ "content-type": "application/grpc" }, { waitForTrailers: true });
    this.isBegun = true;
  }

  /** Sends a message. */
  send<O extends DescMessage>(schema: O, init: MessageInitShape<O>): void {
    this.sendBytes(toBinary(schema, create(schema, init)));
  }

  sendBytes(bytes: Uint8Array, announced = bytes.length): void {
    this.begin();
    const frame = Buffer.alloc(5 + bytes.length);
    frame.writeUInt32BE(announced, 1);
    frame.set(bytes, 5);
    this.stream.write(frame);
  }

  /** Ends the call in order, with a status. */
  end(trailers: Readonly<Record<string, string>> = { "grpc-status": "0" }): void {
    this.begin();
    this.stream.once("wantTrailers", () => {
      this.stream.sendTrailers(trailers);
    });
    this.stream.end();
  }

  answerBytes(bytes: Uint8Array, announced = bytes.length): void {
    this.sendBytes(bytes, announced);
    this.end();
  }

  answer<O extends DescMessage>(schema: O, init: MessageInitShape<O>): void {
    this.send(schema, init);
    this.end();
  }

  fail(code: number, reason: string, retryAfterS?: bigint): void {
    const details = statusOf(code, reason, retryAfterS);
    const bytes = Buffer.from(toBinary(StatusSchema, create(StatusSchema, details))).toString("base64");
    this.end({ "grpc-status": String(code), "grpc-message": reason, "grpc-status-details-bin": bytes });
  }
}

/** A status as a server of ours makes it. */
export function statusOf(code: number, reason: string, retryAfterS?: bigint): MessageInitShape<typeof StatusSchema> {
  const info = anyPack(ErrorInfoSchema, create(ErrorInfoSchema, { domain: "datastore", reason }));
  const retry = retryAfterS !== undefined && create(RetryInfoSchema, { retryDelay: { seconds: retryAfterS } });
  return { code, message: reason, details: [info, ...(retry ? [anyPack(RetryInfoSchema, retry)] : [])] };
}

/** A running server. */
export interface Scripted {
  readonly address: string;
  /** The connections so far, the first first. */
  readonly sockets: readonly Socket[];
  stop(): Promise<void>;
}

/** Starts a server. It speaks on the connections that `speaks` says, by their number from 0. */
export async function startScripted(
  handle: (call: Call) => void,
  speaks: (connection: number) => boolean = () => true,
): Promise<Scripted> {
  const http2 = createServer();
  http2.on("session", (session) => session.on("error", () => undefined));
  http2.on("stream", (stream, headers) => {
    const parts: Buffer[] = [];
    stream.on("error", () => undefined);
    stream.on("data", (part: Buffer) => parts.push(part));
    stream.on("end", () => {
      const path = headers[":path"] ?? "";
      const method = path.slice(path.lastIndexOf("/") + 1);
      handle(new Call(stream, method, String(headers["grpc-timeout"]), Buffer.concat(parts)));
    });
  });
  const inner = await listening(http2);
  const sockets: Socket[] = [];
  // In front of it, so that a test can write what is not HTTP/2.
  const front = createTcpServer((socket) => {
    socket.on("error", () => undefined);
    sockets.push(socket);
    if (!speaks(sockets.length - 1)) return;
    const behind = createConnection(inner, "127.0.0.1");
    behind.on("error", () => undefined);
    behind.on("close", () => socket.end());
    socket.on("close", () => behind.destroy());
    socket.pipe(behind);
    behind.pipe(socket);
  });
  const port = await listening(front);
  const stop = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    front.close();
    http2.close();
    await Promise.all([once(front, "close"), once(http2, "close")]);
  };
  return { address: `127.0.0.1:${port}`, sockets, stop };
}

async function listening(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}
