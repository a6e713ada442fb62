// The error of a `google.rpc.Status`, of a call or of one item of a batch, by the table of docs/protocol.md. Pure.

import { fromBinary, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { ErrorInfoSchema, RequestInfoSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb.js";
import { DatastoreError, REASONS, type ErrorDetails, type Reason } from "./errors.js";

const DOMAIN = "datastore";
const TEXTS = ["shard", "field", "path", "limit", "owner", "right", "incident"] as const;
const NUMBERS = ["maximum", "index"] as const;
const INTEGERS = ["version", "epoch"] as const;
const NUMBER = /^[0-9]{1,19}$/;
const REQUEST_ID = /^[A-Za-z0-9][A-Za-z0-9._:@/+=-]{0,63}$/;
/** The longest delay that a timer keeps. */
const LONGEST_MS = 2 ** 31 - 1;

/** A status, wherever it comes from. */
export interface Status {
  readonly code: number;
  readonly message: string;
  readonly details: readonly { readonly typeUrl: string; readonly value: Uint8Array }[];
}

/** For statuses without our ErrorInfo: from gRPC itself, or from something between client and server. */
const BY_CODE: Readonly<Partial<Record<number, Reason>>> = {
  [Code.InvalidArgument]: "INVALID",
  [Code.OutOfRange]: "INVALID",
  [Code.ResourceExhausted]: "LIMIT_EXCEEDED",
  [Code.Unauthenticated]: "UNAUTHENTICATED",
  [Code.PermissionDenied]: "PERMISSION_DENIED",
  [Code.Unimplemented]: "QUERY_NOT_SUPPORTED",
  [Code.DeadlineExceeded]: "DEADLINE_EXCEEDED",
  [Code.Unavailable]: "UNAVAILABLE",
  [Code.Canceled]: "UNAVAILABLE",
  [Code.DataLoss]: "CORRUPT_DATA",
  [Code.Internal]: "INTERNAL",
  [Code.Unknown]: "INTERNAL",
};

/** The error of a status, with what its details say. Decides by the reason, and without one by the code. */
export function errorOf(status: Status, cause?: unknown): DatastoreError {
  const info = detail(status, ErrorInfoSchema);
  const retry = detail(status, RetryInfoSchema)?.retryDelay;
  const retryAfterMs = retry && Math.min(Math.max(Number(retry.seconds) * 1000 + retry.nanos / 1e6, 0), LONGEST_MS);
  const named = info?.domain === DOMAIN ? REASONS.find((reason) => reason === info.reason) : undefined;
  const byCode = BY_CODE[status.code];
  const reason = named ?? (byCode === "LIMIT_EXCEEDED" && retry ? "OVERLOADED" : (byCode ?? "DATASTORE"));
  const message = (named ?? byCode) ? status.message : `${Code[status.code] ?? status.code}: ${status.message}`;
  const requestId = detail(status, RequestInfoSchema)?.requestId ?? "";
  const details: ErrorDetails = {
    ...(info?.domain === DOMAIN && factsOf(info.metadata)),
    ...(REQUEST_ID.test(requestId) && { requestId }),
    ...(retryAfterMs !== undefined && (reason === "UNAVAILABLE" || reason === "OVERLOADED") && { retryAfterMs }),
  };
  return new DatastoreError(reason, message, details, cause === undefined ? {} : { cause });
}

function factsOf(metadata: Readonly<Record<string, string>>): ErrorDetails {
  const facts: Record<string, string | number | bigint> = {};
  for (const name of TEXTS) if (metadata[name]) facts[name] = metadata[name];
  for (const name of NUMBERS) if (NUMBER.test(metadata[name] ?? "")) facts[name] = Number(metadata[name]);
  for (const name of INTEGERS) if (NUMBER.test(metadata[name] ?? "")) facts[name] = BigInt(metadata[name] ?? "");
  return facts;
}

/** Whether a status has our ErrorInfo: then a server of ours sent it. */
export function isOurs(status: Status): boolean {
  return detail(status, ErrorInfoSchema)?.domain === DOMAIN;
}

/** The first detail of a type; undefined if there is none or it is malformed. */
function detail<Schema extends DescMessage>(status: Status, schema: Schema): MessageShape<Schema> | undefined {
  const found = status.details.find(({ typeUrl }) => typeUrl.slice(typeUrl.lastIndexOf("/") + 1) === schema.typeName);
  try {
    return found && fromBinary(schema, found.value);
  } catch {
    return undefined;
  }
}
