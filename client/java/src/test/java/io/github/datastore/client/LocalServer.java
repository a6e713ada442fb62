package io.github.datastore.client;

import com.google.protobuf.ByteString;
import io.github.datastore.v1.ContainsRequest;
import io.github.datastore.v1.ContainsResponse;
import io.github.datastore.v1.DatastoreServiceGrpc;
import io.github.datastore.v1.GetRequest;
import io.github.datastore.v1.GetResponse;
import io.github.datastore.v1.PutRequest;
import io.github.datastore.v1.PutResponse;
import io.github.datastore.v1.QueryRequest;
import io.github.datastore.v1.QueryResponse;
import io.github.datastore.v1.QuerySummary;
import io.github.datastore.v1.Value;
import io.github.datastore.v1.WatchRequest;
import io.github.datastore.v1.WatchResponse;
import io.grpc.Server;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.logging.Level;
import java.util.logging.Logger;

/**
 * A server on a free port of this machine. It keeps values in memory; it holds gets of {@code
 * /held} until they are released or cancelled, and streams queries as fast as they are read.
 */
final class LocalServer extends DatastoreServiceGrpc.DatastoreServiceImplBase
    implements AutoCloseable {
  /** It would log each call that a test cancels. Held, because loggers are forgotten otherwise. */
  private static final Logger STREAM_ERRORS =
      Logger.getLogger("io.grpc.netty.shaded.io.grpc.netty.NettyServerHandler");

  static {
    STREAM_ERRORS.setLevel(Level.OFF);
  }

  static final String HELD = "/held";
  static final int MESSAGES = 200;
  private static final int MESSAGE_BYTES = 256 * 1024;

  final AtomicInteger sent = new AtomicInteger();
  final LinkedBlockingQueue<StreamObserver<GetResponse>> held = new LinkedBlockingQueue<>();
  final CountDownLatch cancelled = new CountDownLatch(1);
  private final Map<String, Value> values = new ConcurrentHashMap<>();
  private final Server server;
  private final String address;

  LocalServer() {
    try {
      server =
          NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", 0))
              .addService(this)
              .build()
              .start();
      address = "127.0.0.1:" + server.getPort();
    } catch (IOException error) {
      throw new IllegalStateException(error);
    }
  }

  String address() {
    return address;
  }

  @Override
  public void close() {
    server.shutdownNow();
  }

  @Override
  public void get(GetRequest request, StreamObserver<GetResponse> answers) {
    if (request.getKey().getText().equals(HELD)) {
      ((ServerCallStreamObserver<GetResponse>) answers).setOnCancelHandler(cancelled::countDown);
      held.add(answers);
      return;
    }
    GetResponse.Builder response = GetResponse.newBuilder();
    Value value = values.get(request.getKey().getText());
    answered(answers, value == null ? response.build() : response.setValue(value).build());
  }

  @Override
  public void put(PutRequest request, StreamObserver<PutResponse> answers) {
    values.put(request.getEntry().getKey().getText(), request.getEntry().getValue());
    answered(answers, PutResponse.getDefaultInstance());
  }

  @Override
  public void contains(ContainsRequest request, StreamObserver<ContainsResponse> answers) {
    boolean contains = values.containsKey(request.getKey().getText());
    answered(answers, ContainsResponse.newBuilder().setContains(contains).build());
  }

  static <A> void answered(StreamObserver<A> answers, A answer) {
    answers.onNext(answer);
    answers.onCompleted();
  }

  @Override
  public void query(QueryRequest request, StreamObserver<QueryResponse> answers) {
    ServerCallStreamObserver<QueryResponse> stream =
        (ServerCallStreamObserver<QueryResponse>) answers;
    stream.setOnCancelHandler(cancelled::countDown);
    stream.setOnReadyHandler(
        () -> {
          while (stream.isReady() && sent.get() < MESSAGES) {
            send(stream, sent.incrementAndGet());
          }
        });
  }

  @Override
  public void watch(WatchRequest request, StreamObserver<WatchResponse> answers) {
    answers.onNext(
        WatchResponse.newBuilder().setResumeToken(ByteString.copyFromUtf8("now")).build());
  }

  private static void send(StreamObserver<QueryResponse> stream, int number) {
    QueryResponse.Builder response =
        QueryResponse.newBuilder().setResumeToken(ByteString.copyFromUtf8("token " + number));
    response
        .addEntriesBuilder()
        .setKey(Key.of("/" + number).message())
        .setValue(Values.encode(new byte[MESSAGE_BYTES]));
    if (number == MESSAGES) {
      response.setSummary(
          QuerySummary.newBuilder()
              .setReason(QuerySummary.Reason.REASON_EXHAUSTED)
              .setEntries(MESSAGES));
    }
    stream.onNext(response.build());
    if (number == MESSAGES) {
      stream.onCompleted();
    }
  }
}
