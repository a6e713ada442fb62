// The client on a real node: what is particular to this language. What all clients do is in the suite.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { after, before, suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import { rootCertificates } from "node:tls";
import { inspect, promisify } from "node:util";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { DatastoreService } from "../gen/datastore/v1/service_pb.js";
import { avg, connect, count, isDatastoreError, Query, sum, Write, type Client } from "../src/index.js";
import { secureContext } from "../src/tls.js";
import { startNode, type Running } from "./support.js";

/** What docs/clients.md says that the sample prints. */
const PRINTED = [
  "put /Airport:LSZS",
  "get Samedan",
  "delete false",
  "batch_write 3",
  "batch_get LSZH EDDF -",
  "query /Airport:LSZH /Airport:EDDF",
  "condition CONDITION_FAILED",
  "patch 5601",
  "expiry true",
  "aggregate CH=2 DE=1",
  "watch PUT /Airport:LSZS",
];

suite("on a node", () => {
  let node: Running;
  let client: Client;

  before(async () => {
    node = await startNode();
    client = connect(node.address);
    const written = await client.batchWrite(
      Array.from({ length: 3000 }, (_, at) => Write.put(`/K/${String(at).padStart(4, "0")}`, { n: BigInt(at) })),
    );
    assert.deepEqual(
      written.filter(({ error }) => error),
      [],
    );
  });

  after(async () => {
    client.close();
    await node.stop();
  });

  /** How often a method was called since the node started. */
  async function calls(method: string): Promise<bigint> {
    const stub = createClient(DatastoreService, createGrpcTransport({ baseUrl: `http://${node.address}` }));
    const { load } = await stub.describeStore({});
    return load?.methods.find((each) => each.method === method)?.calls ?? 0n;
  }

  test("gets of one tick are one call, in which each has its own outcome", async () => {
    const before = { Get: await calls("Get"), BatchGet: await calls("BatchGet") };
    const [first, absent, bad] = await Promise.allSettled(
      ["/K/0001", "/absent", "\u0000"].map((key) => client.get(key)),
    );
    assert.deepEqual(first, { status: "fulfilled", value: { n: 1n } });
    assert.deepEqual(absent, { status: "fulfilled", value: undefined });
    assert.equal(bad?.status, "rejected");
    assert.deepEqual(await client.get("/K/0002"), { n: 2n });
    assert.equal((await calls("BatchGet")) - before.BatchGet, 1n);
    assert.equal((await calls("Get")) - before.Get, 1n);
  });

  test("a signal that is aborted ends calls and loops with its reason", async () => {
    await assert.rejects(
      client.get("/K/0001", { signal: AbortSignal.abort("enough") }),
      (reason) => reason === "enough",
    );
    const controller = new AbortController();
    const reading = (async () => {
      for await (const _ of client.query("/K", { signal: controller.signal })) controller.abort("enough");
    })();
    await assert.rejects(reading, (reason) => reason === "enough");
    const watch = await client.watch("/K", { signal: controller.signal }).catch((reason: unknown) => reason);
    assert.equal(watch, "enough");
  });

  test("a watch ends with its signal while it waits, and with close", async () => {
    const controller = new AbortController();
    const aborted = await client.watch("/K", { signal: controller.signal });
    const waiting = aborted[Symbol.asyncIterator]().next();
    controller.abort("enough");
    await assert.rejects(waiting, (reason) => reason === "enough");
    const closed = await client.watch("/K");
    const next = closed[Symbol.asyncIterator]().next();
    await closed.close();
    assert.deepEqual(await next, { done: true, value: undefined });
  });

  test("a loop that is left ends its call", async () => {
    for await (const { key } of client.query("/K")) {
      assert.equal(key.text, "/K/0000");
      break;
    }
    const stub = createClient(DatastoreService, createGrpcTransport({ baseUrl: `http://${node.address}` }));
    let open = 1;
    // The server learns of it soon, but not before the loop is left.
    while (open > 0) {
      const { load } = await stub.describeStore({});
      open = load?.methods.find(({ method }) => method === "Query")?.openStreams ?? 0;
    }
  });

  test("results come in order, even if several are asked for at once, and are read once", async () => {
    const results = client.query("/K");
    const iterator = results[Symbol.asyncIterator]();
    const keys: string[] = [];
    while (true) {
      const some = await Promise.all([iterator.next(), iterator.next(), iterator.next()]);
      keys.push(...some.flatMap(({ value }) => (value ? [value.key.text] : [])));
      if (some.some(({ done }) => done)) break;
    }
    assert.equal(keys.length, 3000);
    assert.deepEqual(keys, keys.toSorted());
    assert.deepEqual(results.summary, { reason: "EXHAUSTED", entries: 3000, unreachable: [] });
    await assert.rejects(results.toArray(), { reason: "CURSOR_REUSE" });
  });

  test("pages continue each other", async () => {
    const query = new Query("/K").order("-n").limit(2500);
    let [count, after] = [0, (await client.listEntries(query, { pageSize: 1 })).next];
    while (after !== undefined) {
      const page = await client.listEntries(query, { pageSize: 1000, after });
      count += page.entries.length;
      after = page.next;
    }
    assert.equal(count, 2499);
  });

  test("an aggregation has the field before the name, by which groups are sorted", async () => {
    const [{ group, values } = assert.fail()] = await client.aggregate(
      new Query("/K").limit(3),
      [count("entries"), count("n", "numbers"), avg("n", "mean"), sum("n")],
      { groupBy: ["name"], orders: ["-entries", "numbers", "mean", "sum(n)"] },
    );
    assert.deepEqual([group, values], [[null], [3n, 3n, 1, 3n]]);
    await assert.rejects(client.aggregate("/K", [avg("n", { as: "mean" } as never)]), { reason: "INVALID_QUERY" });
  });

  test("updates at once are all made", async () => {
    const increase = (value: unknown) => ({ n: ((value as { n: bigint } | undefined)?.n ?? 0n) + 1n });
    await Promise.all(Array.from({ length: 10 }, () => client.update("/Counter", increase)));
    assert.deepEqual(await client.get("/Counter"), { n: 10n });
  });

  test("the next address is used when the first cannot be reached, and all are named when none can", async () => {
    const gone = await startNode();
    await gone.stop();
    const both = connect([gone.address, node.address]);
    assert.deepEqual(await both.get("/K/0001"), { n: 1n });
    both.close();
    const none = connect([gone.address, gone.address]);
    const named = new RegExp(`${gone.address} \\(connection refused\\); nothing answers at ${gone.address}`);
    await assert.rejects(none.get("/K/0001"), { reason: "UNAVAILABLE", message: named });
    none.close();
  });

  test("a closed client says so", async () => {
    const closed = connect(node.address);
    const waiting = closed.get("/K/0001");
    closed.close();
    await assert.rejects(waiting, { reason: "DATASTORE_CLOSED" });
    await assert.rejects(closed.query("/K").toArray(), { reason: "DATASTORE_CLOSED" });
  });

  test("the sample prints what the pages say, and its program ends by itself", async () => {
    const sample = fileURLToPath(new URL("../samples/operations.js", import.meta.url));
    const other = await startNode();
    const { stdout } = await promisify(execFile)(process.execPath, [sample, other.address]);
    await other.stop();
    assert.deepEqual(stdout.trimEnd().split("\n"), PRINTED);
  });
});

const REFUSED: readonly [what: string, make: () => Client, reason: string][] = [
  ["no address", () => connect([]), "CONFIG"],
  ["another scheme", () => connect("http://127.0.0.1:7420"), "CONFIG"],
  ["a port that is none", () => connect("127.0.0.1:70000"), "CONFIG"],
  ["a path", () => connect("grpc://127.0.0.1/a"), "CONFIG"],
  ["a token without TLS", () => connect("db.example.com", { token: "t" }), "CONFIG"],
  ["a token with a space", () => connect("127.0.0.1", { token: "a b" }), "CONFIG"],
  ["several addresses in one text", () => connect("a:1,b:2"), "CONFIG"],
  ["several hosts in one text", () => connect("a,b"), "CONFIG"],
  ["TLS for an address without it", () => connect("grpc://a", { tls: true }), "CONFIG"],
  ["a certificate without its key", () => connect("grpcs://a", { tls: { cert: "a.pem" } }), "CONFIG"],
  ["a file that is missing", () => connect("grpcs://a", { tls: { ca: "/no/such/ca.pem" } }), "CONFIG"],
  ["bytes that are not a certificate", () => connect("grpcs://a", { tls: { ca: Buffer.from("no") } }), "CONFIG"],
  ["a timeout of 0", () => connect("127.0.0.1", { timeoutMs: 0 }), "INVALID"],
  ["a timeout of 28 hours", () => connect("127.0.0.1", { queryTimeoutMs: 28 * 3_600_000 }), "INVALID"],
  ["retries of writes alone", () => connect("127.0.0.1", { retry: false, retryWrites: true }), "INVALID"],
];

for (const [what, make, reason] of REFUSED) {
  test(`${what} is refused by connect`, () => {
    assert.throws(make, { name: "DatastoreError", reason });
  });
}

test("several addresses in one text are told how to be given", () => {
  assert.throws(() => connect("a:1,b:2"), { message: /as an array: \["a:1","b:2"\]/ });
});

test("a private key is taken as text, and is in no message", () => {
  const { privateKey } = generateKeyPairSync("ed25519");
  const key = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  const [, secret] = key.split("\n") as [string, string];
  const quiet = (error: Error) => isDatastoreError(error, "CONFIG") && !inspect(error).includes(secret);
  for (const text of [key, `${secret}\n`, key.replaceAll("\n", "\\n")]) {
    assert.throws(() => connect("grpcs://a", { tls: { cert: "/no/such/cert.pem", key: text } }), quiet);
    assert.throws(() => connect("grpcs://a", { tls: { cert: text, key: text } }), quiet);
  }
  const pem = (text: string) => secureContext({ ca: text }).ca;
  assert.deepEqual(pem(rootCertificates[0]!), Buffer.from(rootCertificates[0]!));
});

test("a token goes to this machine, over TLS, or where it is told to", () => {
  for (const address of ["localhost", "127.0.0.1:1", "[::1]:7420", "grpcs://db.example.com"]) {
    connect(address, { token: "a-._~+/=" }).close();
  }
  connect("db.example.com", { token: "t", insecure: true }).close();
});
