// The twelve operations that every client shows: node operations.js HOST:PORT

// [connect]
import { connect, count, DatastoreError, Patch, Query, Write } from "datastore-grpc-client";

const client = connect(process.argv[2] ?? "127.0.0.1:7420");
// [/connect]

type Airport = {
  readonly name: string;
  readonly code: string;
  readonly country: string;
  readonly elevation: bigint;
};

const zurich: Airport = { name: "Zurich", code: "LSZH", country: "CH", elevation: 1416n };
const frankfurt: Airport = { name: "Frankfurt", code: "EDDF", country: "DE", elevation: 364n };

// [put]
// A bigint is stored as an integer; a number such as 5600 would be stored as a double.
const samedan: Airport = { name: "Samedan", code: "LSZS", country: "CH", elevation: 5600n };
await client.put("/Airport:LSZS", samedan);
// [/put]
console.log("put /Airport:LSZS");

// [get]
const value = (await client.get("/Airport:LSZS")) as Airport | undefined;
// [/get]
console.log("get", value?.name);

await client.put("/Airport:XXXX", zurich);
// [delete]
await client.delete("/Airport:XXXX");
const exists = await client.contains("/Airport:XXXX");
// [/delete]
console.log("delete", exists);

// [batch_write]
const written = await client.batchWrite([
  Write.put("/Airport:LSZS", samedan),
  Write.put("/Airport:LSZH", zurich),
  Write.put("/Airport:EDDF", frankfurt),
]);
const failed = written.filter(({ error }) => error !== undefined);
// [/batch_write]
console.log("batch_write", written.length - failed.length);

// [batch_get]
const found = await client.batchGet(["/Airport:LSZH", "/Airport:EDDF", "/Airport:XXXX"]);
const codes = found.map((result) => (result.value as Airport | undefined)?.code ?? "-");
// [/batch_get]
console.log("batch_get", ...codes);

// [query]
const query = new Query("/Airport").filter("elevation", "<", 5000n).order("-elevation").limit(2);
const keys: string[] = [];
for await (const entry of client.query(query)) {
  keys.push(entry.key.text);
}
// [/query]
console.log("query", ...keys);

// [condition]
let reason = "";
try {
  await client.put("/Airport:LSZS", samedan, { condition: { exists: false } });
} catch (error) {
  if (!(error instanceof DatastoreError)) throw error;
  reason = error.reason;
}
const entry = await client.getEntry("/Airport:LSZS");
if (entry?.metadata) {
  await client.put("/Airport:LSZS", samedan, { condition: { version: entry.metadata.version } });
}
// [/condition]
console.log("condition", reason);

// [patch]
const change = Patch.increment("elevation", 1n);
const patched = await client.patch("/Airport:LSZS", change, { returnValue: true });
// [/patch]
console.log("patch", (patched.value as Airport).elevation.toString());

// [expiry]
const metadata = await client.put("/Session:1", { user: "ada" }, { expiry: { inMs: 3_600_000 } });
// [/expiry]
console.log("expiry", metadata?.expireTime !== undefined);

// [aggregate]
const groups = await client.aggregate("/Airport", [count("airports")], { groupBy: ["country"] });
const counts = groups.map(({ group, values }) => `${group[0] as string}=${values[0] as bigint}`);
// [/aggregate]
console.log("aggregate", ...counts);

// [watch]
const watch = await client.watch("/Airport");
await client.put("/Airport:LSZS", samedan);
for await (const { kind, key } of watch) {
  console.log("watch", kind, key.text);
  break;
}
// [/watch]

client.close();
