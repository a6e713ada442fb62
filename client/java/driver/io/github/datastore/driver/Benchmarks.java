package io.github.datastore.driver;

import com.google.common.util.concurrent.ListenableFuture;
import com.google.common.util.concurrent.MoreExecutors;
import com.google.gson.JsonObject;
import io.github.datastore.client.Client;
import io.github.datastore.client.Query;
import io.github.datastore.client.QueryCursor;
import io.github.datastore.v1.DatastoreServiceGrpc;
import io.github.datastore.v1.DatastoreServiceGrpc.DatastoreServiceFutureStub;
import io.github.datastore.v1.GetRequest;
import io.github.datastore.v1.GetResponse;
import io.github.datastore.v1.Key;
import io.github.datastore.v1.QueryRequest;
import io.github.datastore.v1.QueryResponse;
import io.github.datastore.v1.QueryScope;
import io.grpc.ManagedChannel;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Iterator;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.function.Consumer;

/**
 * The measurements: each through the client, or through the generated code, used as plainly as
 * possible.
 */
final class Benchmarks {
  private static final double NANOS = 1e9;

  private Benchmarks() {}

  static JsonObject query(JsonObject request) {
    String address = request.get("address").getAsString();
    String key = request.get("key").getAsString();
    boolean isStub = request.get("through").getAsString().equals("stub");
    long began = System.nanoTime();
    long entries = isStub ? stubQuery(address, key) : clientQuery(address, key);
    JsonObject result = seconds(began);
    result.addProperty("entries", String.valueOf(entries));
    return result;
  }

  private static JsonObject seconds(long began) {
    JsonObject result = new JsonObject();
    result.addProperty("seconds", (System.nanoTime() - began) / NANOS);
    return result;
  }

  private static long clientQuery(String address, String key) {
    long entries = 0;
    try (Client client = Client.connect(address);
        QueryCursor cursor = client.query(Query.of(key).recursive())) {
      while (cursor.hasNext()) {
        cursor.next();
        entries++;
      }
    }
    return entries;
  }

  private static long stubQuery(String address, String key) {
    ManagedChannel channel = NettyChannelBuilder.forTarget(address).usePlaintext().build();
    try {
      io.github.datastore.v1.Query query =
          io.github.datastore.v1.Query.newBuilder()
              .setKey(Key.newBuilder().setText(key))
              .setScope(QueryScope.QUERY_SCOPE_RECURSIVE)
              .build();
      Iterator<QueryResponse> responses =
          DatastoreServiceGrpc.newBlockingStub(channel)
              .query(QueryRequest.newBuilder().setQuery(query).build());
      long entries = 0;
      while (responses.hasNext()) {
        entries += responses.next().getEntriesCount();
      }
      return entries;
    } finally {
      channel.shutdownNow();
    }
  }

  static JsonObject get(JsonObject request) {
    String address = request.get("address").getAsString();
    String key = request.get("key").getAsString();
    int calls = request.get("calls").getAsInt();
    int inFlight = request.get("in_flight").getAsInt();
    if (request.get("through").getAsString().equals("stub")) {
      return stubGets(address, key, calls, inFlight);
    }
    try (Client client = Client.connect(address)) {
      io.github.datastore.client.Key read = io.github.datastore.client.Key.of(key);
      client.get(read);
      return seconds(
          repeated(
              calls,
              inFlight,
              done -> client.getAsync(read).whenComplete((value, error) -> done.run())));
    }
  }

  private static JsonObject stubGets(String address, String key, int calls, int inFlight) {
    ManagedChannel channel = NettyChannelBuilder.forTarget(address).usePlaintext().build();
    try {
      DatastoreServiceFutureStub stub = DatastoreServiceGrpc.newFutureStub(channel);
      GetRequest read = GetRequest.newBuilder().setKey(Key.newBuilder().setText(key)).build();
      DatastoreServiceGrpc.newBlockingStub(channel).get(read);
      return seconds(
          repeated(
              calls,
              inFlight,
              done -> {
                ListenableFuture<GetResponse> future = stub.get(read);
                future.addListener(done, MoreExecutors.directExecutor());
              }));
    } finally {
      channel.shutdownNow();
    }
  }

  /** Makes calls, so many at once, and returns when they began. */
  private static long repeated(int calls, int inFlight, Consumer<Runnable> call) {
    Semaphore slots = new Semaphore(inFlight);
    CountDownLatch left = new CountDownLatch(calls);
    long began = System.nanoTime();
    for (int i = 0; i < calls; i++) {
      slots.acquireUninterruptibly();
      call.accept(
          () -> {
            slots.release();
            left.countDown();
          });
    }
    try {
      left.await();
    } catch (InterruptedException error) {
      throw new IllegalStateException(error);
    }
    return began;
  }

  static JsonObject memory() {
    try {
      String pages = Files.readString(Path.of("/proc/self/statm")).split(" ")[1];
      JsonObject result = new JsonObject();
      result.addProperty("rss_bytes", String.valueOf(Long.parseLong(pages) * 4096));
      return result;
    } catch (IOException error) {
      throw new Notation.Inexpressible("memory is measured on Linux");
    }
  }
}
