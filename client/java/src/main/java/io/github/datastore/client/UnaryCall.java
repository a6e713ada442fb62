package io.github.datastore.client;

import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.function.Function;
import java.util.function.Predicate;
import java.util.function.Supplier;

/**
 * One unary call, over as many attempts as the rules allow within its deadline. The request is made
 * anew for each.
 *
 * <p>Each attempt takes a slot; the future is completed once, after the last attempt.
 */
final class UnaryCall<Q, A, R> {
  private final Connection connection;
  private final MethodDescriptor<Q, A> method;
  private final Supplier<Q> request;
  private final boolean isRead;
  private final Predicate<DatastoreException> mayFollow;
  private final RetryPolicy policy;
  private final Function<A, R> result;
  private final CompletableFuture<R> future = new CompletableFuture<>();
  private volatile ClientCall<Q, A> call;

  /** Ends the wait for a turn, which has come. */
  private volatile Runnable stopWaiting = () -> {};

  UnaryCall(
      Connection connection,
      MethodDescriptor<Q, A> method,
      Supplier<Q> request,
      boolean isRead,
      Predicate<DatastoreException> mayFollow,
      RetryPolicy policy,
      Function<A, R> result) {
    this.connection = connection;
    this.method = method;
    this.request = request;
    this.isRead = isRead;
    this.mayFollow = mayFollow;
    this.policy = policy;
    this.result = result;
  }

  /** Makes the call. A caller that cancels the future cancels the call. */
  CompletableFuture<R> begin() {
    takeTurn();
    if (!future.isDone()) {
      future.whenComplete(
          (answer, error) -> {
            if (future.isCancelled() && call != null) {
              call.cancel("the caller was cancelled", null);
            }
          });
    }
    return future;
  }

  private void takeTurn() {
    if (connection.isClosed()) {
      future.completeExceptionally(connection.closed());
    } else if (connection.slots().take()) {
      attempt();
    } else {
      lineUp();
    }
  }

  private void lineUp() {
    CallSlots.Waiter waiter = connection.slots().lineUp(this::attempt);
    if (waiter == null) {
      future.completeExceptionally(
          Reason.OVERLOADED.exception(
              ("%,d calls to %s are already waiting, the limit of one client; make fewer concurrent"
                      + " calls")
                  .formatted(Connection.WAITING_CALLS, connection.server()),
              Details.NONE.retryAfter(RetryPolicy.RETRY_AFTER)));
      return;
    }
    stopWaiting =
        connection
            .timer()
            .after(
                Duration.ofNanos(policy.leftNanos()),
                () -> {
                  if (connection.slots().giveUp(waiter)) {
                    future.completeExceptionally(notSent());
                  }
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

  private void attempt() {
    stopWaiting.run();
    if (future.isDone()) {
      connection.slots().release();
      return;
    }
    Connection.Sent sent = new Connection.Sent();
    ClientCall<Q, A> begun = connection.call(method, policy, sent);
    call = begun;
    begun.start(new Listener(sent), connection.headers());
    begun.request(2);
    begun.sendMessage(request.get());
    begun.halfClose();
  }

  private void failed(DatastoreException error) {
    Optional<Duration> backoff = connection.backoff(error, policy, mayFollow);
    if (backoff.isEmpty() || future.isDone()) {
      future.completeExceptionally(error);
    } else {
      connection.timer().after(backoff.get(), this::takeTurn);
    }
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
      connection.slots().release();
      if (status.isOk() && answer != null) {
        connection.link().up();
        answered();
      } else {
        Status cause =
            status.isOk()
                ? Status.INTERNAL.withDescription("Received unexpected EOS without an answer")
                : status;
        failed(connection.failure(cause, trailers, sent, policy, isRead));
      }
    }

    private void answered() {
      try {
        future.complete(result.apply(answer));
      } catch (RuntimeException error) {
        future.completeExceptionally(error);
      }
    }
  }
}
