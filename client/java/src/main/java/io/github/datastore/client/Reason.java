package io.github.datastore.client;

import java.util.Locale;

/** Why a call failed. docs/protocol.md says of each whether it may be repeated. */
public enum Reason {
  /** An invalid argument. */
  INVALID(InvalidException::new),
  /** Text that is not a valid key, or too long. */
  INVALID_KEY(InvalidException::new),
  /** A value that is out of range, nested too deeply, or that a patch does not fit. */
  INVALID_VALUE(InvalidException::new),
  /** A query with a part that is not valid. */
  INVALID_QUERY(InvalidException::new),
  /** A resume or page token that was truncated, altered, or belongs to another query. */
  INVALID_TOKEN(InvalidException::new),
  /** A value of a type that cannot be sent. */
  UNSUPPORTED_TYPE(InvalidException::new),
  /** More than a limit allows; nothing was done. */
  LIMIT_EXCEEDED(LimitExceededException::new),
  /** The condition of a write did not hold; nothing was changed. */
  CONDITION_FAILED(ConditionFailedException::new),
  /** Another write of the atomic batch failed; nothing was changed. */
  BATCH_ABORTED(BatchAbortedException::new),
  /** Whether a repeated write was made is not known; it was not made again. */
  REQUEST_FORGOTTEN(RequestForgottenException::new),
  /** The changes after a token are not kept any more. */
  CHANGES_EXPIRED(ChangesExpiredException::new),
  /** The store cannot answer this query, or the server does not have the method. */
  QUERY_NOT_SUPPORTED(UnsupportedException::new),
  /** The store cannot do this, e.g. keep versions. */
  UNSUPPORTED(UnsupportedException::new),
  /** No answer in time; a write may have happened. */
  DEADLINE_EXCEEDED(DeadlineExceededException::new),
  /** The store cannot be reached now. */
  UNAVAILABLE(UnavailableException::new),
  /** Too busy; nothing was done. */
  OVERLOADED(OverloadedException::new),
  /** The server does not know who calls. */
  UNAUTHENTICATED(AccessException::new),
  /** The caller's rights do not include this; nothing was done. */
  PERMISSION_DENIED(AccessException::new),
  /** Not a key of this server; nothing was done. */
  WRONG_SHARD(WrongShardException::new),
  /** A change that does not fit the node's placement. */
  PLACEMENT(DatastoreException::new),
  /** Results ended without their summary: some may be missing. */
  TRUNCATED_STREAM(TruncatedStreamException::new),
  /** The store or the client was closed. */
  DATASTORE_CLOSED(DatastoreClosedException::new),
  /** The storage of the server failed. */
  STORE(StoreException::new),
  /** There is no space for the write; nothing was changed. */
  STORE_FULL(StoreException::new),
  /** Another process has the storage open. */
  STORE_LOCKED(StoreException::new),
  /** The data was written in another format, or for another shard. */
  STORE_FORMAT(StoreException::new),
  /** Bytes that cannot be read as what they should be. */
  CORRUPT_DATA(StoreException::new),
  /** A collection of stores has none. */
  NO_STORES(DatastoreException::new),
  /** A cursor that has begun cannot be changed. */
  CURSOR_RUNNING(DatastoreException::new),
  /** A cursor can be read once. */
  CURSOR_REUSE(DatastoreException::new),
  /** Links that lead back to themselves. */
  CIRCULAR_LINK(DatastoreException::new),
  /** Settings that are not valid. */
  CONFIG(DatastoreException::new),
  /** Something unexpected in the server; {@link DatastoreException#details} have the incident. */
  INTERNAL(DatastoreException::new),
  /** Anything else. */
  DATASTORE(DatastoreException::new);

  /** Makes the exception of a reason. */
  interface Factory {
    DatastoreException make(Reason reason, String message, Details details);
  }

  private final Factory factory;

  Reason(Factory factory) {
    this.factory = factory;
  }

  /** The exception of this reason. */
  DatastoreException exception(String message, Details details) {
    return factory.make(this, message, details);
  }

  DatastoreException exception(String message) {
    return exception(message, Details.NONE);
  }

  String words() {
    return name().toLowerCase(Locale.ROOT).replace('_', ' ');
  }
}
