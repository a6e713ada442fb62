// The client and servers that misbehave: each call ends, as an error of the client, and no write is made twice.

import assert from "node:assert/strict";
import { suite, test, type TestContext } from "node:test";
import { GetResponseSchema, PutResponseSchema, WatchResponseSchema } from "../gen/datastore/v1/service_pb.js";
import { connect, DatastoreError, type Client, type ClientOptions } from "../src/index.js";
import { startScripted, type Call, type Scripted } from "./scripted.js";

/** A server and a client of it, which end with the test. */
async function against(
  context: TestContext,
  handle: (call: Call) => void,
  options: ClientOptions = {},
  speaks?: (connection: number) => boolean,
): Promise<{ server: Scripted; client: Client }> {
  const server = await startScripted(handle, speaks);
  const client = connect(server.address, options);
  context.after(async () => {
    client.close();
    await server.stop();
  });
  return { server, client };
}

suite("connections", () => {
  test("a write in flight is not sent again because another connection has not been heard", async (context) => {
    const puts: Call[] = [];
    const { server, client } = await against(
      context,
      (call) => {
        puts.push(call);
        if (puts.length === 1) call.answer(PutResponseSchema, {});
        else if (puts.length === 2) call.session.goaway(0, 2 ** 31 - 1);
      },
      {},
      (connection) => connection === 0,
    );
    await client.put("/a", 1n);
    const lost = client.put("/b", 2n);
    while (puts.length < 2 || !puts[1]?.session.closed) await new Promise(setImmediate);
    // The client opens another connection once it knows that the server is leaving.
    const others: Promise<unknown>[] = [];
    while (server.sockets.length < 2) {
      others.push(client.get("/a").catch((error: unknown) => error));
      await new Promise(setImmediate);
    }
    server.sockets[0]?.destroy();
    await assert.rejects(lost, { reason: "UNAVAILABLE", details: {} });
    assert.equal(puts.length, 2);
    client.close();
    await Promise.all(others);
  });

  test("an address that takes the connection and does not speak is left for the next", async (context) => {
    const silent = await startScripted(
      () => undefined,
      () => false,
    );
    const live = await startScripted((call) => {
      call.answer(GetResponseSchema, {});
    });
    const client = connect([silent.address, live.address], { timeoutMs: 300 });
    context.after(async () => {
      client.close();
      await Promise.all([silent.stop(), live.stop()]);
    });
    await assert.rejects(client.get("/a"), { reason: "UNAVAILABLE", message: /does not respond/ });
    assert.equal(await client.get("/a"), undefined);
  });

  test("one that does not speak for 5 s is left within the deadline", async (context) => {
    const silent = await startScripted(
      () => undefined,
      () => false,
    );
    const live = await startScripted((call) => {
      call.answer(GetResponseSchema, {});
    });
    const client = connect([silent.address, live.address], { timeoutMs: 60_000 });
    context.after(async () => {
      client.close();
      await Promise.all([silent.stop(), live.stop()]);
    });
    assert.equal(await client.get("/a"), undefined);
  });
});

suite("close", () => {
  test("ends what is in progress and what waits for a place, and nothing is sent after it", async (context) => {
    const puts: Call[] = [];
    const { server, client } = await against(context, (call) => puts.push(call));
    const outcomes = Array.from({ length: 300 }, (_, at) =>
      client.put(`/a/${at}`, 1n).catch((error: unknown) => error),
    );
    while (puts.length < 100) await new Promise(setImmediate);
    client.close();
    for (const outcome of await Promise.all(outcomes)) assert.equal(reasonOf(outcome), "DATASTORE_CLOSED");
    assert.equal(puts.length, 100);
    assert.equal(server.sockets.length, 1);
  });

  test("ends the wait for the next attempt", async (context) => {
    const calls: Call[] = [];
    const { client } = await against(context, (call) => {
      calls.push(call);
      call.fail(14, "UNAVAILABLE", 5n);
    });
    const outcomes = [client.put("/a", 1n), client.query("/a").toArray(), client.get("/a")].map((made) =>
      made.then(String, (error: unknown) => error),
    );
    outcomes.push(client.watch("/a").catch((error: unknown) => error));
    while (calls.length < 4) await new Promise(setImmediate);
    // Once the answers have arrived, which the calls themselves show only later.
    await client.describe({ timeoutMs: 1000 }).catch(() => undefined);
    client.close();
    for (const outcome of await Promise.all(outcomes)) assert.equal(reasonOf(outcome), "DATASTORE_CLOSED");
  });
});

function reasonOf(outcome: unknown): string {
  return outcome instanceof DatastoreError ? outcome.reason : String(outcome);
}

/** Ends of a call, each without an answer. */
const ENDS: readonly [what: string, end: (call: Call, server: Scripted) => void][] = [
  [
    "a reset without an error",
    (call) => {
      call.stream.close(0);
    },
  ],
  [
    "a reset",
    (call) => {
      call.stream.close(2);
    },
  ],
  [
    "a reset with a code of no meaning",
    (call) => {
      call.stream.close(0x77);
    },
  ],
  [
    "the end of the connection",
    (call) => {
      call.session.destroy();
    },
  ],
  [
    "the announced end of the connection",
    (call, server) => {
      call.session.goaway(0);
      server.sockets.at(-1)?.end();
    },
  ],
  [
    "a frame against the protocol",
    (_, server) => server.sockets.at(-1)?.write(Buffer.from("00000408000000000000000000", "hex")),
  ],
];

suite("calls that end without an answer", () => {
  for (const [what, end] of ENDS) {
    for (const isBegun of [false, true]) {
      test(`after ${what}${isBegun ? ", with headers" : ""} reads and watches are retried, writes not`, async (context) => {
        const calls: string[] = [];
        const { server, client } = await against(context, (call) => {
          calls.push(call.method);
          if (call.method !== "Put" && calls.filter((method) => method === call.method).length > 1) {
            if (call.method === "Get") call.answer(GetResponseSchema, {});
            else call.send(WatchResponseSchema, { resumeToken: new Uint8Array(1) });
            return;
          }
          if (isBegun) call.begin();
          setImmediate(() => {
            end(call, server);
          });
        });
        assert.equal(await client.get("/a"), undefined);
        await assert.rejects(client.put("/a", 1n), { reason: "UNAVAILABLE", details: {} });
        await (await client.watch("/a")).close();
        assert.deepEqual(calls, ["Get", "Get", "Put", "Watch", "Watch"]);
      });
    }
  }
});
