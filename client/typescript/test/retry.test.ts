// When to retry, and which call is next: by clocks of the tests' own.

import assert from "node:assert/strict";
import { test } from "node:test";
import { DatastoreError } from "../src/index.js";
import { Link, mayHaveBeenMade, RetryPolicy, UnsentError } from "../src/retry.js";
import { pause } from "../src/signals.js";
import { Slots } from "../src/slots.js";

const LOST = new DatastoreError("UNAVAILABLE", "lost");

/** A clock that a test sets. */
function clock() {
  const time = { now: 0 };
  return { time, read: () => time.now };
}

test("backoffs double from 50 ms to a second, and are shortened by up to a half", () => {
  const policy = new RetryPolicy(1e6, clock().read);
  for (const longest of [50, 100, 200, 400, 800, 1000, 1000]) {
    const waitMs = policy.backoffMs(LOST) ?? NaN;
    assert.ok(waitMs >= longest / 2 && waitMs <= longest, `${waitMs} of ${longest}`);
  }
  policy.sawMessage();
  assert.ok((policy.backoffMs(LOST) ?? NaN) <= 50);
});

test("the delay that a server asks for comes first", () => {
  const policy = new RetryPolicy(1e6, clock().read);
  const waitMs = policy.backoffMs(LOST.repeatableAfter(300)) ?? NaN;
  assert.ok(waitMs >= 325 && waitMs <= 350, String(waitMs));
});

test("without a deadline a server's delay counts for up to 30 s", () => {
  const waitMs = new RetryPolicy(Infinity, clock().read).backoffMs(LOST.repeatableAfter(2 ** 31 - 1)) ?? NaN;
  assert.ok(waitMs >= 30_000 && waitMs <= 30_050, String(waitMs));
});

test("a part of a call has its deadline, and backs off by itself", () => {
  const { time, read } = clock();
  const policy = new RetryPolicy(1000, read);
  policy.backoffMs(LOST);
  time.now = 400;
  const part = policy.ofPart();
  assert.equal(part.leftMs(), 600);
  assert.ok((part.backoffMs(LOST) ?? NaN) <= 50);
});

test("no wait goes past the deadline, or past 30 s without a message", () => {
  assert.equal(new RetryPolicy(20, clock().read).backoffMs(LOST), undefined);
  const { time, read } = clock();
  const policy = new RetryPolicy(1e6, read);
  assert.ok(policy.backoffMs(LOST) !== undefined);
  time.now = 29_999;
  assert.ok(policy.backoffMs(LOST) !== undefined);
  time.now = 30_000;
  assert.equal(policy.backoffMs(LOST), undefined);
});

test("a server that answered is expected back for 30 s, and one that never did is not", () => {
  const { time, read } = clock();
  const link = new Link(read);
  link.down(false);
  assert.equal(link.isExpectedBack, false);
  link.up();
  assert.equal(link.isExpectedBack, true);
  link.down(false);
  time.now = 29_999;
  assert.equal(link.isExpectedBack, true);
  time.now = 30_000;
  assert.equal(link.isExpectedBack, false);
});

test("what may have been made is what was sent, and neither refused nor answered", () => {
  assert.equal(mayHaveBeenMade(LOST), true);
  assert.equal(mayHaveBeenMade(new DatastoreError("DEADLINE_EXCEEDED", "late")), true);
  assert.equal(mayHaveBeenMade(LOST.repeatableAfter(0)), false);
  assert.equal(mayHaveBeenMade(new UnsentError("UNAVAILABLE", "no connection")), false);
  assert.equal(mayHaveBeenMade(new DatastoreError("STORE_FULL", "full")), false);
});

test("a pause ends with the reason of its signal", async () => {
  const controller = new AbortController();
  const paused = pause(1e6, controller.signal);
  controller.abort("enough");
  await assert.rejects(paused, (reason) => reason === "enough");
  await assert.rejects(pause(1e6, controller.signal), (reason) => reason === "enough");
});

test("places are given in the order of the queue, and the queue has an end", async () => {
  const slots = new Slots(1, "calls", 2);
  await slots.take(1e6);
  const order: number[] = [];
  const waiting = [1, 2].map((number) => slots.take(1e6).then(() => order.push(number)));
  await assert.rejects(slots.take(1e6), { reason: "OVERLOADED", details: { retryAfterMs: 100 } });
  slots.release();
  await waiting[0];
  slots.release();
  await waiting[1];
  assert.deepEqual(order, [1, 2]);
});

test("a call leaves the queue at its deadline or with its signal, and takes no place along", async () => {
  const slots = new Slots(1, "calls", 2);
  await slots.take(1e6);
  await assert.rejects(slots.take(1), { reason: "DEADLINE_EXCEEDED" });
  const controller = new AbortController();
  const waiting = slots.take(1e6, controller.signal);
  controller.abort("enough");
  await assert.rejects(waiting, (reason) => reason === "enough");
  slots.release();
  await slots.take(1e6);
});
