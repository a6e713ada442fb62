// Writes: what to do with an entry, under which condition, until when; and their messages. Pure.

import type { MessageInitShape } from "@bufbuild/protobuf";
import { encodeEntry } from "./entries.js";
import { DatastoreError } from "./errors.js";
import { Key, type KeyLike } from "./key.js";
import { checkedPath } from "./query.js";
import type { Timestamp } from "./timestamp.js";
import { encodeValue, type ValueInput } from "./values.js";
import type { Init, Service } from "./wire.js";

/** The most changes of a patch. */
export const CHANGES = 256;

/** What must hold of an entry for a write to be made: whether it exists, or which version it has. */
export type Condition = { readonly exists: boolean } | { readonly version: bigint };

/** When an entry expires: so long after the write, by the clock of the store, or at an instant. */
export type Expiry = { readonly inMs: number } | { readonly at: Timestamp };

/** The terms of a write; each is left out by default. */
export interface WriteTerms {
  /** Make the write only if this holds, or fail with CONDITION_FAILED. */
  readonly condition?: Condition | undefined;
  /** When the entry expires. A put without it makes the entry permanent, a patch keeps what there was. */
  readonly expiry?: Expiry | undefined;
}

/** One write in the message of a batch. */
export type WriteInit = Init<NonNullable<MessageInitShape<typeof Service.method.batchWrite.input>["writes"]>[number]>;
/** What a message says of the terms of a write. */
export type TermsInit = Pick<WriteInit, "condition" | "expiry">;
/** A patch in a message. */
export type PatchInit = Init<MessageInitShape<typeof Service.method.patch.input>["patch"]>;
/** A change in a message. */
export type ChangeInit = Init<NonNullable<PatchInit["changes"]>[number]>;

/**
 * Changes of parts of a value, which must be a map, made in one atomic step: all of them, or none.
 *
 * Each method adds a change and returns another patch. A path is that of a filter, such as `geo.lat`; setting makes the
 * maps on the way.
 */
export class Patch {
  private constructor(private readonly changes: readonly Step[]) {}

  /** A patch without changes, to begin with. */
  static readonly empty = new Patch([]);

  /** Store a value. */
  static set(path: string, value: ValueInput): Patch {
    return Patch.empty.set(path, value);
  }

  /** Add a number; a missing one is 0. */
  static increment(path: string, by: number | bigint): Patch {
    return Patch.empty.increment(path, by);
  }

  /** Append values to a list; a missing one is empty. */
  static append(path: string, values: readonly ValueInput[]): Patch {
    return Patch.empty.append(path, values);
  }

  /** Remove a member, if there is one. */
  static remove(path: string): Patch {
    return Patch.empty.remove(path);
  }

  set(path: string, value: ValueInput): Patch {
    return this.with(path, () => ({ case: "set", value: encodeValue(value) }));
  }

  increment(path: string, by: number | bigint): Patch {
    return this.with(path, () => {
      if (typeof by === "number" || typeof by === "bigint") return { case: "increment", value: encodeValue(by) };
      throw new DatastoreError("UNSUPPORTED_TYPE", `${path} is incremented by a number or bigint, not ${typeof by}`, {
        path,
      });
    });
  }

  append(path: string, values: readonly ValueInput[]): Patch {
    return this.with(path, () => {
      if (Array.isArray(values)) return { case: "append", value: { values: values.map(encodeValue) } };
      throw new DatastoreError("UNSUPPORTED_TYPE", `an array is appended to ${path}, not a ${typeof values}`, { path });
    });
  }

  remove(path: string): Patch {
    return this.with(path, () => ({ case: "remove", value: {} }));
  }

  private with(path: string, kind: Step["kind"]): Patch {
    return new Patch([...this.changes, { path, kind }]);
  }

  /** @internal The message. Fails with INVALID for changes that contradict, or with the error of an operand. */
  init(key: Key, create: boolean): PatchInit {
    const fault = faultOf(this.changes.map(({ path }) => checkedPath(path, "INVALID")));
    if (fault !== undefined) throw new DatastoreError("INVALID", fault, { field: "changes" });
    const changes = this.changes.map(({ path, kind }) => ({ fieldPath: path, kind: kind() }));
    return { key: { text: key.text }, create, changes };
  }
}

/** A change: of which member, and what to do with it. */
interface Step {
  readonly path: string;
  readonly kind: () => NonNullable<ChangeInit["kind"]>;
}

function faultOf(paths: readonly string[]): string | undefined {
  if (paths.length === 0) return "a patch has at least one change";
  if (paths.length > CHANGES) return `a patch has at most ${CHANGES} changes, and this one ${paths.length}`;
  const seen = new Set(paths);
  if (seen.size < paths.length) return "a patch changes one path twice";
  const below = paths.find((path) => parentsOf(path).some((parent) => seen.has(parent)));
  return below && `a patch changes ${below} and what it is in`;
}

/** The paths that a path is below: `a` and `a.b` of `a.b.c`. */
function parentsOf(path: string): string[] {
  return Array.from(path.matchAll(/\./g), ({ index }) => path.slice(0, index));
}

/** One write of a batch; see `Client.batchWrite`. */
export class Write {
  private constructor(
    /** The key of the entry. */
    readonly key: Key,
    /** @internal The operation and its terms. Fails for what cannot be sent. */
    readonly init: () => WriteInit,
  ) {}

  /** Store an entry; see `Client.put`. */
  static put(key: KeyLike, value: ValueInput, terms: WriteTerms = {}): Write {
    return Write.of(key, terms, (to) => ({ case: "put", value: encodeEntry(to, value) }));
  }

  /** Remove an entry; see `Client.delete`. */
  static delete(key: KeyLike, terms: Pick<WriteTerms, "condition"> = {}): Write {
    return Write.of(key, terms, (to) => ({ case: "delete", value: { text: to.text } }));
  }

  /** Change parts of a value; see `Client.patch`. */
  static patch(key: KeyLike, patch: Patch, terms: WriteTerms & { readonly create?: boolean } = {}): Write {
    return Write.of(key, terms, (to) => ({ case: "patch", value: patch.init(to, terms.create ?? false) }));
  }

  /** Change when an entry expires; see `Client.touch`. */
  static touch(key: KeyLike, terms: WriteTerms = {}): Write {
    return Write.of(key, terms, (to) => ({ case: "touch", value: { text: to.text } }));
  }

  private static of(
    key: KeyLike,
    terms: WriteTerms,
    operation: (key: Key) => NonNullable<WriteInit["operation"]>,
  ): Write {
    const to = Key.from(key);
    return new Write(to, () => ({ operation: operation(to), ...termsInit(terms) }));
  }
}

/** The condition and the expiry of a message. Fails with INVALID, which names the field. */
export function termsInit({ condition, expiry }: WriteTerms): TermsInit {
  return {
    ...(condition && { condition: conditionInit(condition) }),
    ...(expiry && { expiry: expiryInit(expiry) }),
  };
}

function conditionInit(condition: Condition): Init<TermsInit["condition"]> {
  if ("exists" in condition) return { kind: { case: "exists", value: condition.exists } };
  if (typeof condition.version === "bigint" && condition.version >= 1n) {
    return { kind: { case: "version", value: condition.version } };
  }
  throw new DatastoreError("INVALID", `a version is a bigint of at least 1n, not ${String(condition.version)}`, {
    field: "condition.version",
  });
}

function expiryInit(expiry: Expiry): Init<TermsInit["expiry"]> {
  if ("at" in expiry) {
    if (expiry.at.isInRange) return { kind: { case: "expireTime", value: expiry.at.parts } };
    throw new DatastoreError("INVALID", "an entry expires at a time in the years 1 to 9999", {
      field: "expiry.expire_time",
    });
  }
  const microseconds = Math.ceil(expiry.inMs * 1000);
  if (!Number.isSafeInteger(microseconds) || microseconds <= 0) {
    throw new DatastoreError(
      "INVALID",
      `an entry expires in more than 0 ms and less than 285 years, not in ${expiry.inMs} ms`,
      {
        field: "expiry.expires_in",
      },
    );
  }
  const seconds = Math.floor(microseconds / 1e6);
  return {
    kind: { case: "expiresIn", value: { seconds: BigInt(seconds), nanos: (microseconds - seconds * 1e6) * 1000 } },
  };
}
