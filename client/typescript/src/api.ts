// What both entries of the package export, but for `connect`.

export { avg, count, max, min, sum, type AggregateOptions, type Aggregation, type Group } from "./aggregates.js";
export {
  Client,
  type Description,
  type Feature,
  type ListOptions,
  type Page,
  type PagePosition,
  type Patched,
  type PatchOptions,
  type Shard,
  type WriteOptions,
} from "./client.js";
export type { CallOptions } from "./connection.js";
export type { Entry, Metadata } from "./entries.js";
export { DatastoreError, isDatastoreError, REASONS, type ErrorDetails, type Reason } from "./errors.js";
export { Key, type KeyLike } from "./key.js";
export { Patch, Write, type Condition, type Expiry, type WriteTerms } from "./operations.js";
export { and, field, Filter, not, or, Query, type Operator } from "./query.js";
export type { ReadResult } from "./reading.js";
export { QueryResults, type Explanation, type QueryOptions, type Summary, type UnreachableShard } from "./results.js";
export { Timestamp } from "./timestamp.js";
export { type Value, type ValueInput, type ValueMap } from "./values.js";
export { Watch, type Change, type ChangeBatch, type WatchOptions } from "./watching.js";
export type { WriteResult } from "./writing.js";
