// The driver of tests/clients/README.md: answers requests, one JSON object a line, through the client's public API.

import { createInterface } from "node:readline";
import { DatastoreError } from "../src/index.js";
import { operations, type Request } from "./operations.js";
import { errorNotation, Unsupported } from "./notation.js";

async function answer({ id, op, ...request }: Request): Promise<object> {
  try {
    const operation = operations[op];
    if (operation === undefined) return { id, unsupported: `this driver does not know the operation ${op}` };
    return { id, result: (await operation(request)) ?? {} };
  } catch (error) {
    if (error instanceof Unsupported) return { id, unsupported: error.message };
    if (error instanceof DatastoreError) return { id, error: errorNotation(error) };
    return {
      id,
      error: {
        reason: "DATASTORE",
        message: error instanceof Error ? (error.stack ?? error.message) : String(error),
        details: {},
      },
    };
  }
}

/** The request of a line. Integers beyond a number's precision become texts; all in strings stays as it is. */
function requestOf(line: string): Request {
  return JSON.parse(
    line.replace(/"(?:[^"\\]|\\.)*"|\d{16,}/g, (part) => (part.startsWith('"') ? part : `"${part}"`)),
  ) as Request;
}

for await (const line of createInterface({ input: process.stdin })) {
  const response = await answer(requestOf(line));
  process.stdout.write(`${JSON.stringify(response)}\n`);
}
process.exit(0);
