package io.github.datastore.client;

import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.function.Function;
import java.util.function.Supplier;

/**
 * One unary call, over as many attempts as the rules allow within its deadline. The request is made
 * anew for each.
 *
 * <p>Each attempt takes a slot; the future is completed once, after the last attempt, whatever a
 * server sends.
 */
final class UnaryCall<Q, A, R> {
  private final Connection connection;
  private final MethodDescriptor<Q, A> method;
  private final Supplier<Q> request;
  private final boolean isRead;
  private final Repeats repeats;
  private final RetryPolicy policy;
  private final Function<A, R> result;
  private final CompletableFuture<R> future = new CompletableFuture<>();
  private ClientCall<Q, A> call;

  /** Ends the wait for a turn, or for the next attempt. */
  private Runnable stopWaiting = () -> {};

  UnaryCall(
      Connection connection,
      MethodDescriptor<Q, A> method,
      Supplier<Q> request,
      boolean isRead,
      Repeats repeats,
      RetryPolicy policy,
      Function<A, R> result) {
    this.connection = connection;
    this.method = method;
    this.request = request;
    this.isRead = isRead;
    this.repeats = repeats;
    this.policy = policy;
    this.result = result;
  }

  /** Makes the call. A caller that cancels the future cancels the call. */
  CompletableFuture<R> begin() {
    takeTurn();
    if (!future.isDone()) {
      future.whenComplete(
          (answer, error) -> {
            if (future.isCancelled()) {
              leave();
            }
          });
    }
    return future;
  }

  /** Ends what is under way; what begins later finds that the future is done. */
  private synchronized void leave() {
    stopWaiting.run();
    if (call != null) {
      call.cancel("the caller was cancelled", null);
    }
  }

  /** Notes how to end a wait, before what is waited for can begin: that takes the lock, too. */
  private synchronized void waiting(Runnable stop) {
    stopWaiting = stop;
    if (future.isDone()) {
      stop.run();
    }
  }

  private void takeTurn() {
    if (connection.isClosed()) {
      fail(connection.closed());
    } else if (connection.slots().take()) {
      if (!attempt()) {
        connection.slots().release();
      }
    } else {
      lineUp();
    }
  }

  private synchronized void lineUp() {
    CallSlots.Waiter waiter = connection.slots().lineUp(this::attempt);
    if (waiter == null) {
      fail(
          Reason.OVERLOADED.exception(
              ("%,d calls to %s are already waiting, the limit of one client; make fewer concurrent"
                      + " calls")
                  .formatted(Connection.WAITING_CALLS, connection.server()),
              Details.NONE.retryAfter(RetryPolicy.RETRY_AFTER)));
      return;
    }
    Runnable stopTimer =
        connection
            .timer()
            .after(
                Duration.ofNanos(policy.leftNanos()),
                () -> {
                  if (connection.slots().giveUp(waiter)) {
                    fail(notSent());
                  }
                });
    waiting(
        () -> {
          connection.slots().giveUp(waiter);
          stopTimer.run();
        });
  }

  private DatastoreException notSent() {
    if (connection.isClosed()) {
      return connection.closed();
    }
    return Reason.DEADLINE_EXCEEDED.exception(
        ("the call was not sent to %s within %s s: %d other calls of this client were in progress")
            .formatted(
                connection.server(), Failures.seconds(policy.timeout()), Connection.CALLS_AT_ONCE));
  }

  /**
   * Begins an attempt in a slot. Returns false, and leaves the slot, if none is needed any more.
   */
  private synchronized boolean attempt() {
    stopWaiting.run();
    if (future.isDone()) {
      return false;
    }
    Q message;
    try {
      message = request.get();
    } catch (RuntimeException error) {
      fail(Caller.asDatastoreException(error));
      return false;
    }
    Connection.Sent sent = new Connection.Sent();
    call = connection.call(method, policy, sent);
    call.start(new Listener(sent), connection.headers());
    call.request(2);
    call.sendMessage(message);
    call.halfClose();
    return true;
  }

  private void failed(DatastoreException error) {
    Optional<Duration> backoff = connection.backoff(error, policy, repeats);
    if (backoff.isEmpty() || future.isDone()) {
      fail(error);
    } else {
      repeatAfter(backoff.get());
    }
  }

  private synchronized void repeatAfter(Duration delay) {
    waiting(connection.timer().after(delay, this::takeTurn));
  }

  private void fail(DatastoreException error) {
    future.completeExceptionally(repeats.outcome(error));
  }

  private final class Listener extends ClientCall.Listener<A> {
    private final Connection.Sent sent;
    private A answer;

    Listener(Connection.Sent sent) {
      this.sent = sent;
    }

    @Override
    public void onMessage(A message) {
      answer = message;
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
      try {
        connection.slots().release();
        ended(status, trailers);
      } catch (Throwable error) {
        fail(Caller.asDatastoreException(error));
      }
    }

    private void ended(Status status, Metadata trailers) {
      if (!status.isOk()) {
        failed(connection.failure(status, trailers, sent, policy, isRead));
        return;
      }
      connection.link().up();
      if (answer == null) {
        throw Reason.CORRUPT_DATA.exception(
            "the answer of %s is missing".formatted(connection.server()));
      }
      future.complete(result.apply(answer));
    }
  }
}
