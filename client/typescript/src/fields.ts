// Fields: what a path finds in an entry, and values cut to some of them, by the rules of docs/protocol.md. Pure.

import type { Entry } from "./entries.js";
import { DatastoreError } from "./errors.js";
import { Key } from "./key.js";
import { Timestamp } from "./timestamp.js";
import { setMember, type Value, type ValueMap } from "./values.js";

/** The paths that read an entry's metadata. */
export const METADATA_FIELDS: ReadonlySet<string> = new Set(["__version__", "__create_time__", "__update_time__"]);
/** The paths that do not lead into an entry's value. */
export const OWN_FIELDS: ReadonlySet<string> = new Set(["__key__", "__value__", ...METADATA_FIELDS]);

/** What a path finds in an entry; undefined if it is missing. Fails with INVALID_QUERY if the entry lacks its value. */
export function fieldOf(entry: Entry, path: string): Value | undefined {
  if (path === "__key__") return entry.key;
  const part = METADATA_FIELDS.has(path) ? metadataField(entry, path) : entry.value;
  if (part === undefined) {
    const message = `a position in a query sorted by ${path} needs an entry with its value or metadata`;
    throw new DatastoreError("INVALID_QUERY", message, { field: "start_after" });
  }
  return OWN_FIELDS.has(path) ? part : memberOf(part, path);
}

function metadataField({ metadata }: Entry, path: string): Value | undefined {
  if (path === "__version__") return metadata?.version;
  return path === "__create_time__" ? metadata?.createTime : metadata?.updateTime;
}

function memberOf(value: Value, path: string): Value | undefined {
  const [name, rest] = stepInto(value, path) ?? [];
  if (name === undefined) return undefined;
  const member = (value as ValueMap)[name];
  return rest === undefined || member === undefined ? member : memberOf(member, rest);
}

/** The member that a path leads into, and the rest of the path below it, if there is one. */
function stepInto(value: Value, path: string): [name: string, rest?: string] | undefined {
  if (!isMap(value)) return undefined;
  if (Object.hasOwn(value, path)) return [path];
  const dot = path.indexOf(".");
  if (dot < 0 || !Object.hasOwn(value, path.slice(0, dot))) return undefined;
  return [path.slice(0, dot), path.slice(dot + 1)];
}

/** Whether a value is a map. */
export function isMap(value: Value): value is ValueMap {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return false;
  return !(value instanceof Uint8Array || value instanceof Key || value instanceof Timestamp);
}

/** A value cut to these fields, nested as in the value; an empty map if it is not a map. */
export function projected(value: Value, paths: readonly string[]): ValueMap {
  const kept: ValueMap = {};
  if (!isMap(value)) return kept;
  const within = new Map<string, string[]>();
  for (const path of paths) {
    const [name, rest] = stepInto(value, path) ?? [];
    if (name === undefined) continue;
    if (rest === undefined) setMember(kept, name, value[name] as Value);
    else within.set(name, [...(within.get(name) ?? []), rest]);
  }
  for (const [name, rests] of within) {
    const inner = projected(value[name] as Value, rests);
    if (!Object.hasOwn(kept, name) && Object.keys(inner).length > 0) setMember(kept, name, inner);
  }
  return kept;
}
