// The client and servers that misbehave: each call ends, as an error of the client, and no write is made twice.

import { create, toBinary } from "@bufbuild/protobuf";
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { suite, test, type TestContext } from "node:test";
import {
  BatchGetResponseSchema,
  BatchWriteResponseSchema,
  GetResponseSchema,
  PutResponseSchema,
  QueryResponseSchema,
  QuerySummary_Reason,
  WatchResponseSchema,
} from "../gen/datastore/v1/service_pb.js";
import { ErrorInfoSchema } from "../gen/google/rpc/error_details_pb.js";
import { connect, DatastoreError, Write, type Client, type ClientOptions } from "../src/index.js";
import { errorOf } from "../src/status.js";
import { startScripted, statusOf, type Call, type Scripted } from "./scripted.js";

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
      const when = isBegun ? " and headers" : "";
      test(`after ${what}${when} reads and watches are retried, writes not`, async (context) => {
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

suite("deadlines", () => {
  test("a watch that does not begin ends with the deadline of calls", async (context) => {
    const { client } = await against(context, () => undefined, { timeoutMs: 200 });
    await assert.rejects(client.watch("/a"), { reason: "DEADLINE_EXCEEDED" });
    await assert.rejects(client.watch("/a", { token: new Uint8Array(1) }), { reason: "DEADLINE_EXCEEDED" });
  });

  test("gets of one tick are sent in messages at once, each of which answers its own", async (context) => {
    const calls: Call[] = [];
    const { client } = await against(context, (call) => calls.push(call));
    const gets = Array.from({ length: 2500 }, (_, at) => client.get(`/a/${at}`));
    while (calls.length < 3) await new Promise(setImmediate);
    const byLength = calls.toSorted((a, b) => keysOf(a) - keysOf(b));
    assert.deepEqual(byLength.map(keysOf), [500, 1000, 1000]);
    for (const call of byLength) {
      call.answer(BatchGetResponseSchema, { results: Array.from({ length: keysOf(call) }, () => ({})) });
      await gets[keyAt(call)];
    }
    await Promise.all(gets);
  });

  test("batches have one deadline for all of their calls", async (context) => {
    const calls: Call[] = [];
    const { client } = await against(context, (call) => {
      calls.push(call);
      const isFirst = calls.filter(({ method }) => method === call.method).length === 1;
      const results = isFirst ? [{}, { status: statusOf(8, "OVERLOADED", 0n) }] : [{}];
      if (call.method === "BatchGet") call.answer(BatchGetResponseSchema, { results });
      else call.answer(BatchWriteResponseSchema, { results });
    });
    assert.deepEqual(await client.batchGet(["/a", "/b"]), [{}, {}]);
    assert.deepEqual(await client.batchWrite([Write.delete("/a"), Write.delete("/b")]), [{}, {}]);
    for (const method of ["BatchGet", "BatchWrite"]) {
      const [first, second] = calls.filter((call) => call.method === method).map(({ timeout }) => parseInt(timeout));
      assert.ok(first! > second!, `${method}: ${first} ms, then ${second} ms`);
    }
  });

  test("a query ends at the second deadline of the server at one place", async (context) => {
    let calls = 0;
    const { client } = await against(context, (call) => {
      calls++;
      if (calls !== 2) call.send(QueryResponseSchema, { resumeToken: new Uint8Array([7]) });
      if (calls === 1) call.fail(14, "UNAVAILABLE");
      else call.fail(4, "DEADLINE_EXCEEDED");
    });
    await assert.rejects(client.query("/a").toArray(), { reason: "DEADLINE_EXCEEDED" });
    assert.equal(calls, 3);
  });

  test("a write that the server's deadline ended is not repeated, also with retryWrites", async (context) => {
    let calls = 0;
    const { client } = await against(
      context,
      (call) => {
        calls++;
        if (call.method === "Put") call.fail(4, "DEADLINE_EXCEEDED");
        else call.answer(BatchWriteResponseSchema, { results: [{ status: statusOf(4, "DEADLINE_EXCEEDED") }] });
      },
      { retryWrites: true },
    );
    await assert.rejects(client.put("/a", 1n), { reason: "DEADLINE_EXCEEDED" });
    const [result] = await client.batchWrite([Write.put("/a", 1n)]);
    assert.equal(result?.error?.reason, "DEADLINE_EXCEEDED");
    assert.equal(calls, 2);
  });
});

function keysOf(call: Call): number {
  return call.request("batchGet").keys.length;
}

/** The number in the first key. */
function keyAt(call: Call): number {
  return Number(call.request("batchGet").keys[0]?.text.slice("/a/".length));
}

/** What a Get is answered with that is no answer, or no status. */
const ANSWERS: readonly [what: string, answer: (call: Call) => void, reason: string, message: RegExp][] = [
  [
    "no message",
    (call) => {
      call.end();
    },
    "CORRUPT_DATA",
    /cannot be read/,
  ],
  [
    "half a message",
    (call) => {
      call.answerBytes(new Uint8Array(1), 2);
    },
    "CORRUPT_DATA",
    /cannot be read/,
  ],
  [
    "bytes",
    (call) => {
      call.answerBytes(Buffer.from("0aff", "hex"));
    },
    "CORRUPT_DATA",
    /cannot be read/,
  ],
  [
    "5 MiB",
    (call) => {
      call.sendBytes(new Uint8Array(1), 5 << 20);
    },
    "LIMIT_EXCEEDED",
    /message size/,
  ],
  [
    "details that are not a status",
    (call) => {
      call.end({ "grpc-status": "9", "grpc-message": "so it is", "grpc-status-details-bin": "/////w" });
    },
    "DATASTORE",
    /FailedPrecondition: so it is/,
  ],
  [
    "details without a code",
    (call) => {
      call.end({ "grpc-status": "3", "grpc-message": "so it is", "grpc-status-details-bin": "EgFh" });
    },
    "INVALID",
    /so it is/,
  ],
  [
    "a bad escape",
    (call) => {
      call.end({ "grpc-status": "3", "grpc-message": "100%zz" });
    },
    "INVALID",
    /100%zz/,
  ],
  [
    "a code of no meaning",
    (call) => {
      call.end({ "grpc-status": "x" });
    },
    "INTERNAL",
    /grpc-status: x/,
  ],
];

suite("answers that are none", () => {
  for (const [what, answer, reason, message] of ANSWERS) {
    test(`${what} is ${reason}`, async (context) => {
      const { client } = await against(context, answer);
      await assert.rejects(client.get("/a"), { name: "DatastoreError", reason, message });
    });
  }

  test("an update of an entry without its metadata is CORRUPT_DATA", async (context) => {
    const { client } = await against(context, (call) => {
      if (call.method === "Put") call.fail(10, "CONDITION_FAILED");
      else call.answer(GetResponseSchema, { value: { kind: { case: "int64Value", value: 1n } } });
    });
    await assert.rejects(
      client.update("/a", () => 2n),
      { reason: "CORRUPT_DATA" },
    );
  });

  test("metadata that cannot be read fails its own item of a batch", async (context) => {
    const { client } = await against(context, (call) => {
      call.answer(BatchWriteResponseSchema, { results: [{}, { metadata: { createTime: { seconds: 1n << 62n } } }] });
    });
    const results = await client.batchWrite([Write.delete("/a"), Write.put("/b", 1n)]);
    assert.deepEqual(
      results.map(({ error }) => error?.reason),
      [undefined, "CORRUPT_DATA"],
    );
  });
});

test("a signal keeps nothing of the calls that it could have ended", async (context) => {
  const { client } = await against(context, (call) => {
    if (call.method === "Query")
      call.answer(QueryResponseSchema, { summary: { reason: QuerySummary_Reason.EXHAUSTED } });
    else if (call.method === "Get") call.answer(GetResponseSchema, {});
    else call.send(WatchResponseSchema, { resumeToken: new Uint8Array(1) });
  });
  const { signal } = new AbortController();
  await client.query("/a", { signal }).toArray();
  await client.get("/a", { signal });
  await (await client.watch("/a", { signal })).close();
  assert.equal(getEventListeners(signal, "abort").length, 0);
  // Nor what AbortSignal.any leaves for as long as the signal lives.
  const names = Object.getOwnPropertySymbols(signal).filter(({ description = "" }) =>
    /Depend.ntSignals/.test(description),
  );
  assert.deepEqual(
    names.map((name) => (signal as unknown as Record<symbol, unknown>)[name]).filter((kept) => kept),
    [],
  );
});

test("what an error counts is a number, which JSON can write, and what may be any 64 bits a bigint", () => {
  const metadata = { limit: "entry_bytes", maximum: "3145728", index: "2" };
  const error = (more: Record<string, string>) => {
    const info = create(ErrorInfoSchema, {
      domain: "datastore",
      reason: "INVALID",
      metadata: { ...metadata, ...more },
    });
    const detail = { typeUrl: "type.googleapis.com/google.rpc.ErrorInfo", value: toBinary(ErrorInfoSchema, info) };
    return errorOf({ code: 3, message: "", details: [detail] }).details;
  };
  assert.equal(JSON.stringify(error({})), '{"limit":"entry_bytes","maximum":3145728,"index":2}');
  assert.equal(error({ version: "9007199254740993" }).version, 9007199254740993n);
});
