package io.github.datastore.client;

import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.util.ArrayDeque;
import java.util.Queue;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * The messages of one streaming call, for one reader. It asks for a message more whenever one is
 * taken, so that at most {@link #AHEAD} wait for the reader.
 *
 * <p>What gRPC has to tell, the reader's thread does when it needs it, also the parsing of
 * messages: no other thread hands them over.
 */
final class MessageStream<Q, A> implements AutoCloseable {
  private static final int AHEAD = 2;

  private final Connection connection;
  private final RetryPolicy policy;
  private final Connection.Sent sent = new Connection.Sent();
  private final ClientCall<Q, A> call;
  private final ReaderTasks tasks = new ReaderTasks();
  private final Queue<A> received = new ArrayDeque<>();
  private final Semaphore place;
  private final AtomicBoolean isClosed = new AtomicBoolean();
  private volatile End end;

  private record End(Status status, Metadata trailers) {}

  MessageStream(
      Connection connection, MethodDescriptor<Q, A> method, Q request, RetryPolicy policy) {
    place = connection.takeStream();
    this.connection = connection;
    this.policy = policy;
    call = connection.stream(method, policy, sent, tasks);
    call.start(new Listener(), connection.headers());
    call.request(AHEAD);
    call.sendMessage(request);
    call.halfClose();
  }

  /** The next message; null at the end. Throws what ended the stream otherwise. */
  A next() {
    return next(policy);
  }

  /** The same, within the time that another policy leaves. */
  A next(RetryPolicy limit) {
    try {
      while (received.isEmpty() && end == null) {
        if (!tasks.runNext(limit.leftNanos()) && limit.isOver()) {
          close();
          throw Failures.late(connection.server(), limit.timeout());
        }
      }
    } catch (InterruptedException error) {
      close();
      throw Blocking.interrupted(error);
    }
    A message = received.poll();
    if (message != null) {
      call.request(1);
      connection.link().up();
      policy.sawMessage();
      return message;
    }
    if (end.status.isOk()) {
      return null;
    }
    throw connection.failure(end.status, end.trailers, sent, policy, true);
  }

  /** Ends the call, unless it has ended. May be repeated. */
  @Override
  public void close() {
    if (isClosed.compareAndSet(false, true)) {
      call.cancel("the reader left", null);
      tasks.close();
      place.release();
    }
  }

  private final class Listener extends ClientCall.Listener<A> {
    @Override
    public void onMessage(A message) {
      if (!isClosed.get()) {
        received.add(message);
      }
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
      end = new End(status, trailers);
    }
  }
}
