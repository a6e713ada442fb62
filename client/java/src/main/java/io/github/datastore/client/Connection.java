package io.github.datastore.client;

import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.ClientStreamTracer;
import io.grpc.Deadline;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.netty.shaded.io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.netty.handler.ssl.SslContextBuilder;
import java.io.File;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executor;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import javax.net.ssl.SSLException;

/**
 * The channels to a server, and what calls on them share. Unary calls and streams have a channel
 * each, so that no call waits behind unread results. Connects at the first call; safe for threads.
 */
final class Connection implements AutoCloseable {
  static final int CALLS_AT_ONCE = 100;
  static final int WAITING_CALLS = 10_000;
  static final int STREAMS_AT_ONCE = 1000;
  private static final int MESSAGE_BYTES = 4 * 1024 * 1024;

  /** How long to wait for a connection, up to the server's settings, before the next address. */
  private static final Duration LONGEST_CONNECT = Duration.ofSeconds(5);

  private static final Duration SHORTEST_CONNECT = Duration.ofSeconds(1);

  /**
   * How far the server may send ahead of the reader of a stream: four messages of a query. With
   * less it waits for its reader after each; what gRPC would choose grows up to 8 MiB.
   */
  private static final int STREAM_WINDOW_BYTES = 1024 * 1024;

  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  private final String server;
  private final String authorization;
  private final boolean retry;
  private final Duration timeout;
  private final ManagedChannel calls;
  private final ManagedChannel streams;
  private final CallSlots slots = new CallSlots(CALLS_AT_ONCE, WAITING_CALLS);
  private final Semaphore openStreams = new Semaphore(STREAMS_AT_ONCE, true);
  private final Link link = new Link();
  private final Timer timer = new Timer();
  private final CountDownLatch closed = new CountDownLatch(1);

  Connection(Settings settings) {
    server = settings.targets().stream().map(Target::toString).collect(Collectors.joining(", "));
    authorization = settings.token().map(token -> "Bearer " + token).orElse(null);
    retry = settings.retry();
    timeout = settings.timeout();
    calls = channel(settings).build();
    streams = channel(settings).flowControlWindow(STREAM_WINDOW_BYTES).disableRetry().build();
  }

  private static NettyChannelBuilder channel(Settings settings) {
    NettyChannelBuilder builder =
        Sockets.within(
                connectTimeout(settings.timeout()),
                NettyChannelBuilder.forTarget(AddressList.nameOf(settings.targets())))
            .maxInboundMessageSize(MESSAGE_BYTES)
            .keepAliveTime(12, TimeUnit.SECONDS)
            .keepAliveTimeout(5, TimeUnit.SECONDS);
    return settings.targets().get(0).isSecure()
        ? encrypted(builder, settings)
        : builder.usePlaintext();
  }

  /**
   * Not much longer than a call: after one that ended before a server spoke, the next address is
   * tried.
   */
  private static Duration connectTimeout(Duration timeout) {
    Duration most = timeout.compareTo(LONGEST_CONNECT) < 0 ? timeout : LONGEST_CONNECT;
    return most.compareTo(SHORTEST_CONNECT) < 0 ? SHORTEST_CONNECT : most;
  }

  private static NettyChannelBuilder encrypted(NettyChannelBuilder builder, Settings settings) {
    try {
      SslContextBuilder tls = GrpcSslContexts.forClient();
      settings.ca().ifPresent(ca -> tls.trustManager(readable(ca.toFile())));
      if (settings.certificate().isPresent()) {
        tls.keyManager(
            readable(settings.certificate().get().toFile()),
            readable(settings.privateKey().get().toFile()));
      }
      return builder.sslContext(tls.build());
    } catch (SSLException | IllegalArgumentException error) {
      throw Reason.CONFIG
          .exception("the certificate files are not valid: " + error.getMessage())
          .causedBy(error);
    }
  }

  private static File readable(File file) {
    if (!file.canRead()) {
      throw Reason.CONFIG.exception(file + ": the file cannot be read");
    }
    return file;
  }

  String server() {
    return server;
  }

  CallSlots slots() {
    return slots;
  }

  Link link() {
    return link;
  }

  /** Begins a unary call. */
  <Q, A> ClientCall<Q, A> call(MethodDescriptor<Q, A> method, RetryPolicy policy, Sent sent) {
    return begun(calls, method, policy, sent, CallOptions.DEFAULT);
  }

  /** Waits for a place for one more stream, which the caller releases when it ends. */
  Semaphore takeStream() {
    checkOpen();
    try {
      if (openStreams.tryAcquire(timeout.toNanos(), TimeUnit.NANOSECONDS)) {
        if (!isClosed()) {
          return openStreams;
        }
        // For the next that waits.
        openStreams.release();
      }
    } catch (InterruptedException error) {
      throw Blocking.interrupted(error);
    }
    checkOpen();
    throw Reason.OVERLOADED.exception(
        "%,d cursors to %s are open, the limit of one client; read them to the end, or close them"
            .formatted(STREAMS_AT_ONCE, server),
        Details.NONE.retryAfter(RetryPolicy.RETRY_AFTER));
  }

  /** Begins a streaming call, whose listener is called on an executor. */
  <Q, A> ClientCall<Q, A> stream(
      MethodDescriptor<Q, A> method, RetryPolicy policy, Sent sent, Executor executor) {
    return begun(streams, method, policy, sent, CallOptions.DEFAULT.withExecutor(executor));
  }

  private <Q, A> ClientCall<Q, A> begun(
      ManagedChannel channel,
      MethodDescriptor<Q, A> method,
      RetryPolicy policy,
      Sent sent,
      CallOptions defaults) {
    if (link.isDown()) {
      // Otherwise gRPC waits for up to two minutes before it connects again.
      channel.resetConnectBackoff();
    }
    CallOptions options = defaults.withStreamTracerFactory(sent);
    if (policy.isLimited()) {
      options = options.withDeadline(Deadline.after(policy.leftNanos(), TimeUnit.NANOSECONDS));
    }
    return channel.newCall(method, options);
  }

  /** The metadata of a call. */
  Metadata headers() {
    Metadata headers = new Metadata();
    if (authorization != null) {
      headers.put(AUTHORIZATION, authorization);
    }
    return headers;
  }

  /** Whether a call has reached a connection; in its last attempt, if gRPC itself made several. */
  static final class Sent extends ClientStreamTracer.Factory {
    private volatile boolean isSent;

    @Override
    public ClientStreamTracer newClientStreamTracer(
        ClientStreamTracer.StreamInfo info, Metadata headers) {
      isSent = false;
      return new ClientStreamTracer() {
        @Override
        public void outboundHeaders() {
          isSent = true;
        }
      };
    }

    boolean isSent() {
      return isSent;
    }
  }

  /** The error of a call that failed; a call that may be repeated unchanged says so. */
  DatastoreException failure(
      Status status, Metadata trailers, Sent sent, RetryPolicy policy, boolean isRead) {
    if (isClosed()) {
      return closed();
    }
    DatastoreException failure =
        Failures.ofCall(server, status, trailers, sent.isSent(), policy.timeout());
    if (Failures.isAnswer(status, trailers)) {
      link.up();
    } else if (failure.reason() == Reason.UNAVAILABLE) {
      link.down(sent.isSent());
      if (link.isExpectedBack() && (isRead || !sent.isSent())) {
        return repeatable(failure);
      }
    }
    return failure;
  }

  private static DatastoreException repeatable(DatastoreException failure) {
    return failure
        .reason()
        .exception(failure.getMessage(), failure.facts().retryAfter(RetryPolicy.RETRY_AFTER))
        .causedBy(failure.getCause());
  }

  /**
   * How long to wait before a call that ended with an error is made again; empty if it must not be.
   */
  Optional<Duration> backoff(DatastoreException error, RetryPolicy policy, Repeats repeats) {
    return retry && repeats.mayFollow(error) ? policy.backoff(error) : Optional.empty();
  }

  /** Waits on the caller's thread, unless the client is closed meanwhile. */
  void pause(Duration duration) {
    try {
      if (closed.await(duration.toNanos(), TimeUnit.NANOSECONDS)) {
        throw closed();
      }
    } catch (InterruptedException error) {
      throw Blocking.interrupted(error);
    }
  }

  Timer timer() {
    return timer;
  }

  void checkOpen() {
    if (isClosed()) {
      throw closed();
    }
  }

  boolean isClosed() {
    return closed.getCount() == 0;
  }

  DatastoreException closed() {
    return Reason.DATASTORE_CLOSED.exception("the client of " + server + " was closed");
  }

  @Override
  public void close() {
    closed.countDown();
    calls.shutdownNow();
    streams.shutdownNow();
    // Those that wait for a place find that there is none any more.
    openStreams.release(STREAMS_AT_ONCE);
    timer.close();
  }
}
