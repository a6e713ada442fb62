// The operations for measurements: through the client, and through the bare generated stub.

import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { QueryScope } from "../gen/datastore/v1/query_pb.js";
import { DatastoreService } from "../gen/datastore/v1/service_pb.js";
import { connect, Query } from "../src/index.js";

/** What to measure. */
export interface Bench {
  readonly address: string;
  readonly key: string;
  readonly through: "client" | "stub";
}

function stubOf(address: string) {
  return createClient(DatastoreService, createGrpcTransport({ baseUrl: `http://${address}` }));
}

/** Reads all entries below a key, and does nothing with them. */
export async function benchQuery({ address, key, through }: Bench): Promise<object> {
  const began = performance.now();
  let entries = 0;
  if (through === "stub") {
    const query = { key: { text: key }, scope: QueryScope.RECURSIVE };
    for await (const response of stubOf(address).query({ query })) entries += response.entries.length;
  } else {
    const client = connect(address);
    const results = client.query(new Query(key).recursive())[Symbol.asyncIterator]();
    while (!(await results.next()).done) entries++;
    client.close();
  }
  return { entries: String(entries), seconds: (performance.now() - began) / 1000 };
}

/** Gets one key again and again, so many at a time. */
export async function benchGet(request: Bench & { in_flight: number; calls: number }): Promise<object> {
  const { address, key, through, in_flight: inFlight, calls } = request;
  const client = connect(address);
  const stub = stubOf(address);
  const get = through === "stub" ? () => stub.get({ key: { text: key } }) : () => client.get(key);
  await repeat(get, inFlight, inFlight);
  const began = performance.now();
  await repeat(get, calls, inFlight);
  const seconds = (performance.now() - began) / 1000;
  client.close();
  return { seconds };
}

async function repeat(call: () => Promise<unknown>, times: number, atOnce: number): Promise<void> {
  let left = times;
  const some = async (): Promise<void> => {
    while (left-- > 0) await call();
  };
  await Promise.all(Array.from({ length: atOnce }, some));
}
