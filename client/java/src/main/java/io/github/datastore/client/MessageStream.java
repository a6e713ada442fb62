package io.github.datastore.client;

import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;

/**
 * The messages of one streaming call, for one reader. It asks for a message more whenever one is
 * taken, so that at most {@link #AHEAD} wait for the reader.
 */
final class MessageStream<Q, A> implements AutoCloseable {
  private static final int AHEAD = 2;

  private final Connection connection;
  private final RetryPolicy policy;
  private final Connection.Sent sent = new Connection.Sent();
  private final ClientCall<Q, A> call;

  /** Messages, and at the end what ended them. */
  private final BlockingQueue<Object> received = new LinkedBlockingQueue<>();

  private record End(Status status, Metadata trailers) {}

  MessageStream(
      Connection connection, MethodDescriptor<Q, A> method, Q request, RetryPolicy policy) {
    connection.checkOpen();
    this.connection = connection;
    this.policy = policy;
    call = connection.stream(method, policy, sent);
    call.start(new Listener(), connection.headers());
    call.request(AHEAD);
    call.sendMessage(request);
    call.halfClose();
  }

  /** The next message; null at the end. Throws what ended the stream otherwise. */
  A next() {
    Object next;
    try {
      next = received.take();
    } catch (InterruptedException error) {
      close();
      throw Client.interrupted(error);
    }
    if (next instanceof End end) {
      received.add(end);
      if (end.status.isOk()) {
        return null;
      }
      throw connection.failure(end.status, end.trailers, sent, policy, true);
    }
    call.request(1);
    connection.link().up();
    policy.sawMessage();
    @SuppressWarnings("unchecked")
    A message = (A) next;
    return message;
  }

  /** Ends the call, unless it has ended. May be repeated. */
  @Override
  public void close() {
    call.cancel("the reader left", null);
  }

  private final class Listener extends ClientCall.Listener<A> {
    @Override
    public void onMessage(A message) {
      received.add(message);
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
      received.add(new End(status, trailers));
    }
  }
}
