package io.github.datastore.client;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;

/** Waits on the caller's thread, which may be interrupted. */
final class Blocking {
  private Blocking() {}

  /** The result of a call. An interrupt cancels it. */
  static <T> T awaited(CompletableFuture<T> future) {
    try {
      return future.get();
    } catch (InterruptedException error) {
      future.cancel(true);
      throw interrupted(error);
    } catch (ExecutionException error) {
      DatastoreException failure = Caller.asDatastoreException(error.getCause());
      // It was made on a thread of gRPC, whose frames say nothing about the caller.
      failure.fillInStackTrace();
      throw failure;
    }
  }

  /** The error of a caller that was interrupted, and still is. */
  static DatastoreException interrupted(InterruptedException error) {
    Thread.currentThread().interrupt();
    return Reason.UNAVAILABLE
        .exception("interrupted; a write may or may not have happened")
        .causedBy(error);
  }
}
