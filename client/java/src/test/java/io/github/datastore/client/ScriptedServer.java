package io.github.datastore.client;

import com.google.protobuf.Any;
import com.google.protobuf.Duration;
import com.google.protobuf.Message;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.github.datastore.v1.AggregateRequest;
import io.github.datastore.v1.AggregateResponse;
import io.github.datastore.v1.BatchGetRequest;
import io.github.datastore.v1.BatchGetResponse;
import io.github.datastore.v1.BatchWriteRequest;
import io.github.datastore.v1.BatchWriteResponse;
import io.github.datastore.v1.DatastoreServiceGrpc;
import io.github.datastore.v1.GetRequest;
import io.github.datastore.v1.GetResponse;
import io.github.datastore.v1.PutRequest;
import io.github.datastore.v1.PutResponse;
import io.github.datastore.v1.QueryRequest;
import io.github.datastore.v1.QueryResponse;
import io.github.datastore.v1.WatchRequest;
import io.github.datastore.v1.WatchResponse;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.ConcurrentLinkedDeque;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;

/** A server on a free port of this machine that answers its calls, one after another, as told. */
final class ScriptedServer extends DatastoreServiceGrpc.DatastoreServiceImplBase
    implements AutoCloseable {
  /** Leaves a call open. */
  static final Object HANGS = new Object();

  /** The requests of all calls. */
  final LinkedBlockingQueue<Message> requests = new LinkedBlockingQueue<>();

  /** How much time each call had. */
  final ConcurrentLinkedDeque<Long> millisLeft = new ConcurrentLinkedDeque<>();

  /** A permit for each call that its client cancelled. */
  final Semaphore cancelled = new Semaphore(0);

  private final Deque<List<Object>> answers = new ArrayDeque<>();
  private final Server server;

  ScriptedServer() {
    try {
      server =
          NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", 0))
              .addService(this)
              .build()
              .start();
    } catch (IOException error) {
      throw new IllegalStateException(error);
    }
  }

  String address() {
    return "127.0.0.1:" + server.getPort();
  }

  /**
   * The next call is answered by messages, which an error or HANGS may end; the last one repeats.
   */
  synchronized ScriptedServer then(Object... answer) {
    answers.add(List.of(answer));
    return this;
  }

  @Override
  public void close() {
    server.shutdownNow();
  }

  private synchronized List<Object> answer() {
    return answers.size() > 1 ? answers.poll() : answers.element();
  }

  @SuppressWarnings("unchecked")
  private <A> void play(Message request, StreamObserver<A> to) {
    ((ServerCallStreamObserver<A>) to).setOnCancelHandler(cancelled::release);
    List<Object> answer = answer();
    Deadline deadline = Context.current().getDeadline();
    if (deadline != null) {
      millisLeft.add(deadline.timeRemaining(TimeUnit.MILLISECONDS));
    }
    requests.add(request);
    for (Object part : answer) {
      if (part instanceof Throwable error) {
        to.onError(error);
        return;
      }
      if (part == HANGS) {
        return;
      }
      to.onNext((A) part);
    }
    to.onCompleted();
  }

  @Override
  public void get(GetRequest request, StreamObserver<GetResponse> to) {
    play(request, to);
  }

  @Override
  public void put(PutRequest request, StreamObserver<PutResponse> to) {
    play(request, to);
  }

  @Override
  public void batchGet(BatchGetRequest request, StreamObserver<BatchGetResponse> to) {
    play(request, to);
  }

  @Override
  public void batchWrite(BatchWriteRequest request, StreamObserver<BatchWriteResponse> to) {
    play(request, to);
  }

  @Override
  public void query(QueryRequest request, StreamObserver<QueryResponse> to) {
    play(request, to);
  }

  @Override
  public void aggregate(AggregateRequest request, StreamObserver<AggregateResponse> to) {
    play(request, to);
  }

  @Override
  public void watch(WatchRequest request, StreamObserver<WatchResponse> to) {
    play(request, to);
  }

  /** A status as our servers send it. */
  static com.google.rpc.Status status(Status.Code code, Reason reason, String... facts) {
    ErrorInfo.Builder info = ErrorInfo.newBuilder().setDomain("datastore").setReason(reason.name());
    for (int i = 0; i < facts.length; i += 2) {
      info.putMetadata(facts[i], facts[i + 1]);
    }
    return com.google.rpc.Status.newBuilder()
        .setCode(code.value())
        .addDetails(Any.pack(info.build()))
        .build();
  }

  /** The same status with a delay of the server. */
  static com.google.rpc.Status after(com.google.rpc.Status status, long seconds, int nanos) {
    Duration delay = Duration.newBuilder().setSeconds(seconds).setNanos(nanos).build();
    return status.toBuilder()
        .addDetails(Any.pack(RetryInfo.newBuilder().setRetryDelay(delay).build()))
        .build();
  }

  static StatusRuntimeException error(com.google.rpc.Status status) {
    return StatusProto.toStatusRuntimeException(status);
  }

  /** An error with details that may be anything. */
  static StatusRuntimeException error(Status status, byte[] details) {
    Metadata trailers = new Metadata();
    trailers.put(
        Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER), details);
    return status.asRuntimeException(trailers);
  }
}
