// Queries: which entries, in which order, how many; built in steps, checked at each, and made into messages. Pure.

import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  CompositeFilter_Joint as Joint,
  FieldFilter_Operator as OperatorNumber,
  Order_Direction as Direction,
  QueryScope,
  QueryView,
} from "../gen/datastore/v1/query_pb.js";
import { metadataInit, type Entry } from "./entries.js";
import { DatastoreError } from "./errors.js";
import { fieldOf, METADATA_FIELDS, OWN_FIELDS } from "./fields.js";
import { Key, type KeyLike } from "./key.js";
import { sortKey } from "./sortkeys.js";
import { loneSurrogate, utf8Length } from "./text.js";
import { Timestamp } from "./timestamp.js";
import { encodeValue, type ValueInput } from "./values.js";
import type { Init, Service } from "./wire.js";

/** The longest path of a field, in bytes of UTF-8. */
export const FIELD_PATH_BYTES = 1024;
/** How many comparisons, orders and fields a query has at most, and how deep filters nest. */
export const FILTERS = 64;
export const ORDERS = 16;
export const FIELDS = 256;
export const FILTER_DEPTH = 16;
/** How deep lists and maps nest in a value within `and`, `or` and `not`. */
export const TREE_VALUE_DEPTH = 16;
/** Instead of a longer sort key, the value that it is computed from is sent, in bytes. */
const LONG_SORT_KEY_BYTES = 64 * 1024;

const INT64_MAX = 2n ** 63n - 1n;

const OPERATORS = {
  "<": OperatorNumber.LESS_THAN,
  "<=": OperatorNumber.LESS_THAN_OR_EQUAL,
  "=": OperatorNumber.EQUAL,
  "!=": OperatorNumber.NOT_EQUAL,
  ">=": OperatorNumber.GREATER_THAN_OR_EQUAL,
  ">": OperatorNumber.GREATER_THAN,
  in: OperatorNumber.IN,
  not_in: OperatorNumber.NOT_IN,
  starts_with: OperatorNumber.STARTS_WITH,
  contains: OperatorNumber.CONTAINS,
  exists: OperatorNumber.EXISTS,
} as const;

/** A comparison of a field with a value; docs/protocol.md says what each matches. */
export type Operator = keyof typeof OPERATORS;

/** A query in a message. */
export type QueryInit = Init<MessageInitShape<typeof Service.method.query.input>["query"]>;
type FilterInit = Init<NonNullable<QueryInit["filters"]>[number]>;

/** A condition on entries: made by `field`, `and`, `or` and `not`. */
export class Filter {
  /** @internal */
  constructor(
    readonly init: FilterInit,
    readonly comparisons: number,
    readonly depth: number,
    readonly valueDepth: number,
  ) {}
}

/**
 * The field compares with the value as the operator says.
 *
 * The path is a name in the entry's map, or names joined by dots for nested maps; `__key__`, `__value__`,
 * `__version__`, `__create_time__` and `__update_time__` are the entry's own. Fails with INVALID_QUERY for a path that
 * is empty or too long, and for a value that the operator does not take.
 */
export function field(path: string, operator: Operator, value: ValueInput): Filter {
  const number = (OPERATORS as Readonly<Record<string, OperatorNumber | undefined>>)[operator];
  if (number === undefined) {
    throw invalid(
      `${JSON.stringify(operator)} is not an operator; use one of ${Object.keys(OPERATORS).join(" ")}`,
      "operator",
    );
  }
  const needed = operandOf(operator, value);
  if (needed !== undefined) throw invalid(`the operator ${operator} takes ${needed}`, "value");
  const init = { fieldPath: checkedPath(path), operator: number, value: encodeValue(value) };
  return new Filter({ kind: { case: "field", value: init } }, 1, 0, depthOf(value));
}

/** All of the filters match. */
export function and(...filters: readonly Filter[]): Filter {
  return joined(Joint.AND, filters);
}

/** At least one of the filters matches. */
export function or(...filters: readonly Filter[]): Filter {
  return joined(Joint.OR, filters);
}

/** The filter does not match, e.g. because the field is missing. */
export function not(filter: Filter): Filter {
  return joined(Joint.NOT, [filter]);
}

function joined(joint: Joint, filters: readonly Filter[]): Filter {
  if (filters.length === 0) throw invalid("and, or and not join at least one filter", "filters");
  const depth = 1 + Math.max(...filters.map((each) => each.depth));
  checkLimit("filter_depth", FILTER_DEPTH, depth, "filters nest");
  const valueDepth = Math.max(...filters.map((each) => each.valueDepth));
  checkLimit("tree_value_depth", TREE_VALUE_DEPTH, valueDepth, "a value within and, or and not nests");
  const comparisons = filters.reduce((sum, each) => sum + each.comparisons, 0);
  const init = { joint, filters: filters.map((each) => each.init) };
  return new Filter({ kind: { case: "composite", value: init } }, comparisons, depth, valueDepth);
}

function operandOf(operator: Operator, value: ValueInput): string | undefined {
  if (operator === "in" || operator === "not_in") return Array.isArray(value) ? undefined : "a list";
  if (operator === "exists") return typeof value === "boolean" ? undefined : "true or false";
  if (operator !== "starts_with") return undefined;
  return typeof value === "string" || value instanceof Uint8Array || value instanceof Key
    ? undefined
    : "a string, bytes or a key";
}

function depthOf(value: ValueInput): number {
  if (value === null || typeof value !== "object") return 0;
  if (value instanceof Uint8Array || value instanceof Key || value instanceof Timestamp) return 0;
  return 1 + Math.max(0, ...Object.values<ValueInput>(value).map(depthOf));
}

interface Sorting {
  readonly path: string;
  readonly descending: boolean;
}

/**
 * Which entries, in which order, how many.
 *
 * Immutable: each step returns another query. Results are sorted by the orders, then always by key. Without a scope
 * it selects the collection of the key: for `/a` entries such as `/a/b` and `/a:b`, but not `/a/b/c`.
 */
export class Query {
  /** @internal What the query adds to a message. */
  readonly init: QueryInit;
  private readonly sortings: readonly Sorting[];
  private readonly comparisons: number;

  constructor(key: KeyLike = "/") {
    this.init = {
      key: { text: Key.from(key).text },
      scope: QueryScope.COLLECTION,
      view: QueryView.ENTRIES,
      filters: [],
      orders: [],
    };
    this.sortings = [];
    this.comparisons = 0;
  }

  /** Select everything below the key, not only its collection. */
  recursive(): Query {
    return this.with({ scope: QueryScope.RECURSIVE });
  }

  /** Only entries that match this too: a filter, or a field, an operator and a value as for `field`. */
  filter(filter: Filter): Query;
  filter(path: string, operator: Operator, value: ValueInput): Query;
  filter(filter: Filter | string, operator?: Operator, value?: ValueInput): Query {
    const added = typeof filter === "string" ? field(filter, operator!, value as ValueInput) : filter;
    const comparisons = this.comparisons + added.comparisons;
    checkLimit("filters", FILTERS, comparisons, "a query has", "comparisons");
    return this.with({ filters: [...(this.init.filters ?? []), added.init] }, { comparisons });
  }

  /** Sort by these fields, after those of earlier calls; a minus in front sorts descending: `order("-elevation")`. */
  order(...fields: readonly string[]): Query {
    const sortings = [...this.sortings, ...fields.map(sortingOf)];
    checkLimit("orders", ORDERS, sortings.length, "a query has", "orders");
    return this.with({ orders: orderInits(sortings) }, { sortings });
  }

  /** At most so many entries. */
  limit(entries: number | bigint): Query {
    return this.with({ limit: checkedCount(entries, "limit") });
  }

  /** Skip so many entries, which are still read: for long results continue with `startAfter`. */
  offset(entries: number | bigint): Query {
    return this.with({ offset: checkedCount(entries, "offset") });
  }

  /** Entries without their values. Excludes `fields`. */
  keysOnly(): Query {
    if (this.init.fieldPaths !== undefined) throw contradiction();
    return this.with({ view: QueryView.KEYS_ONLY });
  }

  /** Of each value only these fields, as a map nested as in the value. Excludes `keysOnly`. */
  fields(...paths: readonly string[]): Query {
    if (this.init.view === QueryView.KEYS_ONLY) throw contradiction();
    checkLimit("fields", FIELDS, paths.length, "a query returns", "fields");
    for (const path of paths) {
      if (!OWN_FIELDS.has(path)) continue;
      throw invalid(`${path} cannot be among the fields to return: it is not a part of the value`, "fields");
    }
    return this.with({ fieldPaths: paths.map((path) => checkedPath(path)) });
  }

  /** Entries with their metadata. */
  metadata(): Query {
    return this.with({ includeMetadata: true });
  }

  /**
   * Only entries after this one, which need not exist any more. Call it after all orders.
   *
   * With orders the entry needs the value, and with orders by metadata the metadata, that it had.
   */
  startAfter(entry: Entry): Query {
    const text = { text: entry.key.text };
    if (this.sortings.length === 0) return this.with({ startAfter: { key: text } });
    const position = joinedBytes(
      this.sortings.map(({ path, descending }) => sortKey(fieldOf(entry, path), descending)),
    );
    if (position.length <= LONG_SORT_KEY_BYTES) return this.with({ startAfter: { key: text, sortKey: position } });
    if (entry.value === undefined) throw invalid("a position in a sorted query needs the entry's value", "start_after");
    const readsMetadata = this.sortings.some(({ path }) => METADATA_FIELDS.has(path));
    const metadata = readsMetadata && entry.metadata ? metadataInit(entry.metadata) : undefined;
    return this.with({ startAfter: { key: text, value: encodeValue(entry.value), ...(metadata && { metadata }) } });
  }

  private with(init: QueryInit, more: { sortings?: readonly Sorting[]; comparisons?: number } = {}): Query {
    if (init.orders !== undefined && this.init.startAfter !== undefined) {
      throw invalid("startAfter comes after all orders, because it depends on them", "start_after");
    }
    return Object.assign(Object.create(Query.prototype) as Query, this, { init: { ...this.init, ...init } }, more);
  }
}

/** The orders of a message. */
export function orderInits(orders: readonly Sorting[]) {
  return orders.map(({ path, descending }) => ({
    fieldPath: path,
    direction: descending ? Direction.DESCENDING : Direction.ASCENDING,
  }));
}

/** An order of its text, `-elevation` or `country`. */
export function sortingOf(text: string): Sorting {
  const signed = text.startsWith("-") || text.startsWith("+");
  return { path: checkedPath(signed ? text.slice(1) : text), descending: text.startsWith("-") };
}

/** A path of a field that can be sent. Fails with INVALID_QUERY. */
export function checkedPath(path: string, reason: "INVALID" | "INVALID_QUERY" = "INVALID_QUERY"): string {
  const fault = pathFault(path);
  if (fault !== undefined) throw new DatastoreError(reason, fault, { field: "field_path" });
  return path;
}

function pathFault(path: string): string | undefined {
  if (typeof path !== "string") return `the path of a field is a string, not ${typeof path}`;
  if (path === "") return "the path of a field is empty; name one, e.g. 'age', 'geo.lat' or '__key__'";
  const lone = loneSurrogate(path);
  if (lone >= 0) return `the path of a field has a lone surrogate at ${lone}, which UTF-8 cannot carry`;
  const bytes = utf8Length(path);
  return bytes > FIELD_PATH_BYTES
    ? `the path of a field has at most ${FIELD_PATH_BYTES} bytes, and this one has ${bytes}`
    : undefined;
}

/** A count to send. Fails with INVALID_QUERY. */
export function checkedCount(count: number | bigint, name: string): bigint {
  if (typeof count === "bigint" ? count < 0n || count > INT64_MAX : !Number.isSafeInteger(count) || count < 0) {
    throw invalid(`${name} is a whole number from 0 to 2^63 - 1, not ${count}`, name);
  }
  return BigInt(count);
}

/** Fails with LIMIT_EXCEEDED if there are more than the limit. */
export function checkLimit(limit: string, maximum: number, count: number, what: string, of = "deep"): void {
  if (count <= maximum) return;
  throw new DatastoreError("LIMIT_EXCEEDED", `${what} at most ${maximum} ${of}, and this one ${count}`, {
    limit,
    maximum,
  });
}

/** The error of a query that contradicts itself or the protocol; `name` is the part. */
export function invalid(text: string, name: string): DatastoreError {
  return new DatastoreError("INVALID_QUERY", text, { field: name });
}

function contradiction(): DatastoreError {
  return invalid("a query for keys only returns no fields: leave out one of keysOnly and fields", "fields");
}

function joinedBytes(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
