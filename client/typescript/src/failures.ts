// Why a call failed, as a DatastoreError in plain words. Pure.

import { Code, ConnectError } from "@connectrpc/connect";
import { SilentError, UnsentCall, type Channel } from "./channel.js";
import { DatastoreError } from "./errors.js";
import { UnsentError } from "./retry.js";
import { errorOf, isOurs, type Status } from "./status.js";

/** The failure of one attempt of a call. */
export interface Failure {
  readonly error: DatastoreError;
  /** Whether the server itself answered so; otherwise the call failed on its way. */
  readonly isAnswer: boolean;
}

/** What the errors of sockets and of TLS mean; the certificates' in the second table. */
const PLAIN_WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ENOTFOUND: "no such host",
  EAI_AGAIN: "the name of the host cannot be looked up",
  EHOSTUNREACH: "no route to that host",
  ENETUNREACH: "network unreachable",
  ETIMEDOUT: "it does not respond",
  ECONNRESET: "connection reset",
  EPIPE: "connection lost",
};
const NOT_TRUSTED = "its certificate is not of an authority that is trusted here: give that of its authority as tls.ca";
const TLS_WORDS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "its certificate has expired",
  CERT_NOT_YET_VALID: "its certificate is not valid yet; do the clocks agree?",
  INVALID_PURPOSE: "its certificate is not for a server",
  ERR_TLS_CERT_ALTNAME_INVALID: "its certificate is for another host",
  DEPTH_ZERO_SELF_SIGNED_CERT: NOT_TRUSTED,
  SELF_SIGNED_CERT_IN_CHAIN: NOT_TRUSTED,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: NOT_TRUSTED,
  UNABLE_TO_GET_ISSUER_CERT: NOT_TRUSTED,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: NOT_TRUSTED,
  CERT_SIGNATURE_FAILURE: NOT_TRUSTED,
  ERR_SSL_WRONG_VERSION_NUMBER: "it does not use TLS: leave out tls and grpcs://",
  ERR_SSL_PACKET_LENGTH_TOO_LONG: "it does not use TLS: leave out tls and grpcs://",
  EPROTO: "it does not use TLS: leave out tls and grpcs://",
};
const ENDED_TLS =
  "it ended the TLS handshake; it may demand a certificate, tls.cert and tls.key, of an authority that it trusts";
const ENDED_PLAIN = "it closed the connection without an error: if it uses TLS, its address begins with grpcs://";

/** How Connect's messages begin for an answer that cannot be parsed, is truncated or missing, or is several. */
const NOT_AN_ANSWER = /^(parse binary|protocol error: (incomplete|promised|missing output|received extra))/;

/** The failure of a call to `address`, as Connect or the platform throws it. */
export function failureOf(thrown: unknown, address: string, timeoutMs: number): Failure {
  const error = ConnectError.from(thrown);
  const status = statusOf(error);
  if (isOurs(status)) return { error: ofServer(errorOf(status, thrown)), isAnswer: true };
  if (error.metadata.has("grpc-status") || isOwnLimit(error))
    return { error: ofGrpc(status, address, thrown), isAnswer: false };
  if (error.code === Code.DeadlineExceeded) {
    return { error: late(address, timeoutMs, thrown), isAnswer: false };
  }
  if (NOT_AN_ANSWER.test(error.rawMessage)) {
    const message = `the answer of ${address} cannot be read`;
    return { error: new DatastoreError("CORRUPT_DATA", message, {}, { cause: thrown }), isAnswer: true };
  }
  return { error: onTheWay(error, address, thrown), isAnswer: false };
}

/** The error of a call whose deadline has passed. */
export function late(address: string, timeoutMs: number, cause?: unknown): DatastoreError {
  const message = `the call to ${address} did not finish within ${Math.round(timeoutMs)} ms`;
  return new DatastoreError("DEADLINE_EXCEEDED", message, {}, { cause });
}

/** The error for the status of one item of a batch. */
export function itemError(status: Status): DatastoreError {
  return ofServer(errorOf(status));
}

/** Why there is no connection to a server. */
export function unreachable(
  thrown: unknown,
  { address, isSecure }: Pick<Channel, "address" | "isSecure">,
): UnsentError {
  const [code, why] = explained(thrown);
  const silent = isSecure ? ENDED_TLS : ENDED_PLAIN;
  const message =
    thrown instanceof SilentError
      ? `cannot connect to ${address} (${code in TLS_WORDS ? (why ?? silent) : silent})`
      : code in PLAIN_WORDS || why === undefined
        ? `nothing answers at ${address} (${why ?? ConnectError.from(thrown).rawMessage})`
        : `cannot connect to ${address} (${why})`;
  return new UnsentError("UNAVAILABLE", message, {}, { cause: thrown });
}

function statusOf(error: ConnectError): Status {
  const details = error.details.flatMap((each) => ("type" in each ? [{ typeUrl: each.type, value: each.value }] : []));
  return { code: error.code, message: error.rawMessage, details };
}

/** A server's error, as its client should see it: a store that the server closed was not closed by the caller. */
function ofServer(error: DatastoreError): DatastoreError {
  if (error.reason !== "DATASTORE_CLOSED") return error;
  return new DatastoreError("UNAVAILABLE", error.message, error.details, { cause: error.cause });
}

/** Whether a message was refused because it is larger than this client sends or takes. */
function isOwnLimit(error: ConnectError): boolean {
  return error.code === Code.ResourceExhausted && error.rawMessage.includes("message size");
}

/** The error of a status that a server of ours has not made. */
function ofGrpc(status: Status, address: string, thrown: unknown): DatastoreError {
  const { reason, message, details } = errorOf(status);
  const texts: Partial<Record<number, string>> = {
    [Code.Unimplemented]:
      `${address} does not have this method: ` +
      `it speaks another version of the protocol, or is not a datastore (${message})`,
    [Code.Unavailable]: `a call to ${address} was cut short (${message})`,
    [Code.Canceled]: `a call to ${address} was cut short (it ended the call)`,
  };
  return new DatastoreError(reason, texts[status.code] ?? `${address}: ${message}`, details, { cause: thrown });
}

/** The error of a call that neither ended with a status nor by its deadline. */
function onTheWay(error: ConnectError, address: string, thrown: unknown): DatastoreError {
  const [, why] = explained(thrown);
  const message = `a call to ${address} was cut short (${why ?? error.rawMessage})`;
  const isUnsent = causes(thrown).some((cause) => cause instanceof UnsentCall);
  return new (isUnsent ? UnsentError : DatastoreError)("UNAVAILABLE", message, {}, { cause: thrown });
}

/** The code of the failure underneath, and what it means if that is known. */
function explained(thrown: unknown): [code: string, why: string | undefined] {
  for (const { code } of causes(thrown)) {
    if (code === undefined) continue;
    const why = PLAIN_WORDS[code] ?? TLS_WORDS[code] ?? (/^ERR_SSL_.*ALERT/.test(code) ? ENDED_TLS : undefined);
    if (why !== undefined) return [code, why];
  }
  return ["", undefined];
}

/** An error, its cause, the cause of that, and so on; an AggregateError also has those of its attempts. */
function causes(thrown: unknown): { code?: string }[] {
  const found: { code?: string }[] = [];
  for (let error: unknown = thrown; error instanceof Error && !found.includes(error as object); error = error.cause) {
    found.push(error as object);
    if (error instanceof AggregateError) found.push(...(error.errors as object[]));
  }
  return found;
}
