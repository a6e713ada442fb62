package io.github.datastore.client;

import io.grpc.MethodDescriptor;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.function.Function;
import java.util.function.Supplier;

/**
 * Makes the calls of one client: reads, and writes with their attempts. Knows messages only as
 * requests and answers.
 */
final class Caller {
  private static final int BATCH_ITEMS = 1000;

  private final Connection connection;
  private final Settings settings;

  /** The maximum number of items in a message; lowered if the server refuses that many. */
  private volatile int batchItems = BATCH_ITEMS;

  Caller(Connection connection, Settings settings) {
    this.connection = connection;
    this.settings = settings;
  }

  /** The deadline of one call, starting now. */
  RetryPolicy policy() {
    return new RetryPolicy(Optional.of(settings.timeout()));
  }

  <Q, A> CompletableFuture<A> read(MethodDescriptor<Q, A> method, Q request, RetryPolicy policy) {
    return read(method, request, policy, Function.identity());
  }

  <Q, A, R> CompletableFuture<R> read(
      MethodDescriptor<Q, A> method, Q request, RetryPolicy policy, Function<A, R> result) {
    return new UnaryCall<>(connection, method, () -> request, true, Repeats.IF_SAFE, policy, result)
        .begin();
  }

  <Q, A> CompletableFuture<A> write(
      MethodDescriptor<Q, A> method, Supplier<Q> request, Repeats repeats, RetryPolicy policy) {
    return new UnaryCall<>(
            connection, method, request, false, repeats, policy, Function.<A>identity())
        .begin();
  }

  /**
   * One write; {@code request} is given the message of its attempt, null if it must not be made
   * again.
   */
  <Q, A, R> CompletableFuture<R> write(
      MethodDescriptor<Q, A> method,
      Function<io.github.datastore.v1.Attempt, Q> request,
      RetryPolicy policy,
      Function<A, R> result) {
    Attempt attempt = newAttempt();
    if (attempt == null) {
      Q only = request.apply(null);
      return new UnaryCall<>(connection, method, () -> only, false, Repeats.IF_SAFE, policy, result)
          .begin();
    }
    Supplier<Q> attempted = () -> request.apply(attempt.sent());
    return new UnaryCall<>(connection, method, attempted, false, attempt, policy, result).begin();
  }

  /** The first attempt of a write that may be made again; null if it may not. */
  Attempt newAttempt() {
    return settings.retryWrites() ? new Attempt() : null;
  }

  Optional<Duration> backoff(DatastoreException error, RetryPolicy policy) {
    return connection.backoff(error, policy, Repeats.IF_SAFE);
  }

  /** How long to wait before writes are made again of which the caller knows that they may be. */
  Optional<Duration> backoffOfWrite(DatastoreException error, RetryPolicy policy) {
    return connection.backoff(error, policy, any -> true);
  }

  /** Runs a task after a delay. Returns what prevents that. */
  Runnable after(Duration delay, Runnable task) {
    return connection.timer().after(delay, task);
  }

  int batchItems() {
    return batchItems;
  }

  /** Whether a message was refused because the server accepts fewer items, and nothing was done. */
  boolean acceptsFewer(DatastoreException error, int items) {
    if (error instanceof LimitExceededException limit
        && limit.limit().equals("batch_items")
        && limit.maximum() > 0
        && limit.maximum() < items) {
      batchItems = (int) limit.maximum();
      return true;
    }
    return false;
  }

  DatastoreException miscounted(int answered, int asked) {
    return Reason.CORRUPT_DATA.exception(
        "%s returned %,d results for %,d items".formatted(connection.server(), answered, asked));
  }

  static DatastoreException asDatastoreException(Throwable error) {
    Throwable cause =
        error instanceof CompletionException && error.getCause() != null ? error.getCause() : error;
    return cause instanceof DatastoreException known
        ? known
        : Reason.INTERNAL.exception("unexpected: " + cause).causedBy(cause);
  }
}
