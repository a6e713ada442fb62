// Aggregates: what to compute of the entries of a query, by group.

import { QueryView } from "../gen/datastore/v1/query_pb.js";
import { Aggregation_Function as FunctionNumber } from "../gen/datastore/v1/service_pb.js";
import type { CallOptions, Connection } from "./connection.js";
import { DatastoreError, isDatastoreError } from "./errors.js";
import {
  checkedCount,
  checkedPath,
  checkLimit,
  FIELDS,
  invalid,
  orderInits,
  ORDERS,
  sortingOf,
  type Query,
} from "./query.js";
import { truncated } from "./results.js";
import { decodeValue, type Value } from "./values.js";
import { Service } from "./wire.js";

const FUNCTIONS = {
  COUNT: FunctionNumber.COUNT,
  SUM: FunctionNumber.SUM,
  AVG: FunctionNumber.AVG,
  MIN: FunctionNumber.MIN,
  MAX: FunctionNumber.MAX,
} as const;

/** One value to compute for each group: made by `count`, `sum`, `avg`, `min` and `max`. */
export interface Aggregation {
  readonly function: keyof typeof FUNCTIONS;
  /** The field that it is computed from; without one, `count` counts every entry. */
  readonly field?: string | undefined;
  /** Its name, for `orders`; by default such as `count` or `sum(elevation)`. */
  readonly as?: string | undefined;
}

/** How many entries there are, a bigint. */
export function count(name?: string): Aggregation;
/** How many entries have a field, null left out. */
export function count(field: string, name: string): Aggregation;
export function count(first?: string, name?: string): Aggregation {
  return { function: "COUNT", ...(name === undefined ? { as: first } : { field: first, as: name }) };
}

/** The exact sum of the numbers in a field, rounded once: a bigint if all are and it fits, otherwise a number. */
export function sum(field: string, name?: string): Aggregation {
  return { function: "SUM", field, as: name };
}

/** The exact mean of the numbers in a field, rounded once; null without any. */
export function avg(field: string, name?: string): Aggregation {
  return { function: "AVG", field, as: name };
}

/** The first value of a field in the total order, null left out; null without any. */
export function min(field: string, name?: string): Aggregation {
  return { function: "MIN", field, as: name };
}

/** The last value of a field in the total order, null left out; null without any. */
export function max(field: string, name?: string): Aggregation {
  return { function: "MAX", field, as: name };
}

/** The options of an aggregate. */
export interface AggregateOptions extends CallOptions {
  /** Entries that are equal in all of these fields are one group; by default all entries are. */
  readonly groupBy?: readonly string[] | undefined;
  /** How groups are sorted: fields of `groupBy` or names of aggregations, a minus in front for descending. */
  readonly orders?: readonly string[] | undefined;
  /** At most so many groups, the first in this order. */
  readonly limit?: number | bigint | undefined;
}

/** One group of entries. */
export interface Group {
  /** Its value of each field of `groupBy`, in their order; null if the field is missing. */
  readonly group: readonly Value[];
  /** The value of each aggregation, in their order. */
  readonly values: readonly Value[];
}

/** The groups. A call that is cut off is repeated from the beginning. */
export async function aggregate(
  connection: Connection,
  query: Query,
  aggregations: readonly Aggregation[],
  options: AggregateOptions,
): Promise<Group[]> {
  const request = requestOf(query, aggregations, options);
  const policy = connection.streamPolicy(options);
  while (true) {
    try {
      const groups: Group[] = [];
      for await (const response of connection.stream(Service.method.aggregate, request, options, policy)) {
        for (const { values, results } of response.groups) {
          if (values.length !== request.groupBy.length || results.length !== aggregations.length) {
            throw new DatastoreError("CORRUPT_DATA", `${connection.address} returned a group with other values`);
          }
          groups.push({ group: values.map(decodeValue), values: results.map(decodeValue) });
        }
        if (response.summary?.groups === BigInt(groups.length)) return groups;
        if (response.summary) break;
      }
      throw truncated(`the groups from ${connection.address} ended after ${groups.length}, without their summary`);
    } catch (error) {
      const waitMs = isDatastoreError(error) ? connection.backoffMs(error, policy) : undefined;
      if (waitMs === undefined) throw error;
      await connection.pause(waitMs, options.signal);
    }
  }
}

/** The message. Fails with INVALID_QUERY for what contradicts. */
function requestOf(query: Query, aggregations: readonly Aggregation[], options: AggregateOptions) {
  const { groupBy = [], orders = [], limit } = options;
  if (query.init.view === QueryView.KEYS_ONLY || query.init.fieldPaths || query.init.includeMetadata) {
    throw invalid("the query of an aggregate returns no entries: leave out keysOnly, fields and metadata", "query");
  }
  const computed = aggregations.map(aggregationInit);
  if (computed.length === 0) throw invalid("an aggregate computes at least one value, such as count()", "aggregations");
  const names = [...groupBy.map((path) => checkedPath(path)), ...computed.map(({ name }) => checkedPath(name))];
  checkLimit("fields", FIELDS, names.length, "an aggregate has", "fields and values");
  const twice = names.find((name, at) => names.indexOf(name) < at);
  if (twice !== undefined) throw invalid(`each group would have ${twice} twice: name the values`, "aggregations");
  const sortings = orders.map(sortingOf);
  const unknown = sortings.find(({ path }) => !names.includes(path));
  if (unknown) throw invalid(`groups have ${names.join(", ")}, and cannot be sorted by ${unknown.path}`, "orders");
  checkLimit("orders", ORDERS, sortings.length, "an aggregate has", "orders");
  return {
    ...{ query: query.init, aggregations: computed, groupBy: [...groupBy], orders: orderInits(sortings) },
    ...(limit !== undefined && { limit: checkedCount(limit, "limit") }),
  };
}

function aggregationInit({ function: named, field, as }: Aggregation) {
  const number = (FUNCTIONS as Readonly<Record<string, FunctionNumber | undefined>>)[named];
  if (number === undefined) {
    throw invalid(`${named} is not a function; use one of ${Object.keys(FUNCTIONS).join(" ")}`, "function");
  }
  if (field === undefined && named !== "COUNT") {
    throw invalid(`${named} needs a field`, "field");
  }
  const name = as ?? (field === undefined ? "count" : `${named.toLowerCase()}(${field})`);
  return { name, function: number, fieldPath: field === undefined ? "" : checkedPath(field) };
}
