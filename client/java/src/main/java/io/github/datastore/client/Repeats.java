package io.github.datastore.client;

/** After which errors a call is made again, and what the last one means. */
@FunctionalInterface
interface Repeats {
  /** Calls that are repeated if nothing was done, or if they are reads. */
  Repeats IF_SAFE = error -> error.retryAfter().isPresent();

  /** Whether another attempt may follow one that ended so. */
  boolean mayFollow(DatastoreException error);

  /** The error of a call whose last attempt ended with one. */
  default DatastoreException outcome(DatastoreException error) {
    return error;
  }
}
