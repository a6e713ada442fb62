// What the test of browsers runs in a page, by the package's entry for browsers.

import { connect, count, isDatastoreError, Key, Query, Timestamp, Write } from "../src/web.js";

/** Does a bit of everything at a URL, and returns what came of it as text. */
export async function run(url: string): Promise<string> {
  const client = connect(url);
  const value = { int: 2n ** 60n, double: 1, at: new Timestamp(1_795_961_662_123_456n), key: new Key("/a"), bytes: [] };
  await client.put("/Web:a", value);
  const outcome = {
    got: await client.get("/Web:a"),
    together: await Promise.all(["/Web:a", "/Web:b"].map(async (key) => (await client.get(key)) !== undefined)),
    ...(await streams()),
    condition: await client.put("/Web:a", 1n, { condition: { exists: false } }).catch(shown),
  };
  client.close();
  const closed = await client.get("/Web:a").catch(shown);
  return JSON.stringify({ ...outcome, closed }, (_, part: unknown) => (typeof part === "bigint" ? `${part}n` : part));

  async function streams() {
    const bytes = new Uint8Array(1000).fill(7);
    const written = await client.batchWrite(Array.from({ length: 1500 }, (_, at) => Write.put(`/Big/${at}`, bytes)));
    const results = client.query(new Query("/Big"));
    let [entries, size] = [0, 0];
    for await (const { value: read } of results) {
      entries++;
      size += (read as Uint8Array).length;
    }
    for await (const _ of client.query("/Big")) break;
    const watch = await client.watch("/Web");
    await client.put("/Web:watched", true);
    const { value: change } = await watch[Symbol.asyncIterator]().next();
    await watch.close();
    const groups = await client.aggregate("/Big", [count()]);
    return {
      failed: written.filter(({ error }) => error).length,
      entries,
      size,
      summary: results.summary,
      change,
      groups,
    };
  }
}

function shown(error: unknown): unknown {
  return isDatastoreError(error) ? { reason: error.reason, details: error.details } : String(error);
}
