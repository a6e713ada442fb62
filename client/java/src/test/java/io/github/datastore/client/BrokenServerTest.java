package io.github.datastore.client;

import static io.github.datastore.client.ScriptedServer.HANGS;
import static io.github.datastore.client.ScriptedServer.after;
import static io.github.datastore.client.ScriptedServer.error;
import static io.github.datastore.client.ScriptedServer.status;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import com.google.protobuf.Timestamp;
import io.github.datastore.v1.AggregateResponse;
import io.github.datastore.v1.AggregateSummary;
import io.github.datastore.v1.BatchGetResponse;
import io.github.datastore.v1.BatchWriteRequest;
import io.github.datastore.v1.BatchWriteResponse;
import io.github.datastore.v1.GetResponse;
import io.github.datastore.v1.QueryResponse;
import io.github.datastore.v1.QuerySummary;
import io.github.datastore.v1.Value;
import io.github.datastore.v1.WatchResponse;
import io.grpc.Status;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.function.IntFunction;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

/** What no server should send, and what a client makes of it. */
@Timeout(value = 60, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class BrokenServerTest {
  private static final Key KEY = Key.of("/k");
  private static final Query ALL = Query.of("/").recursive();
  private static final com.google.rpc.Status BUSY =
      status(Status.Code.UNAVAILABLE, Reason.UNAVAILABLE);
  private static final GetResponse FOUND =
      GetResponse.newBuilder().setValue(Values.encode(1)).build();
  private static final Value LATE =
      Value.newBuilder().setTimestampValue(Timestamp.newBuilder().setSeconds(1L << 60)).build();

  private final ScriptedServer server = new ScriptedServer();
  private final Client client =
      Client.builder(server.address()).timeout(Duration.ofMinutes(10)).connect();

  @AfterEach
  void close() {
    client.close();
    server.close();
  }

  private static DatastoreException failureOf(CompletableFuture<?> future) {
    CompletionException error = assertThrows(CompletionException.class, future::join);
    return assertInstanceOf(DatastoreException.class, error.getCause());
  }

  private static BatchWriteResponse written(int items) {
    return BatchWriteResponse.newBuilder()
        .addAllResults(Collections.nCopies(items, BatchWriteResponse.Result.getDefaultInstance()))
        .build();
  }

  private static QueryResponse entry(String token, String key) {
    QueryResponse.Builder response =
        QueryResponse.newBuilder().setResumeToken(ByteString.copyFromUtf8(token));
    response.addEntriesBuilder().setKey(io.github.datastore.v1.Key.newBuilder().setText(key));
    return response.build();
  }

  private static final QueryResponse END =
      QueryResponse.newBuilder().setSummary(QuerySummary.newBuilder()).build();

  private List<String> keys() {
    List<String> keys = new ArrayList<>();
    try (QueryCursor cursor = client.query(ALL)) {
      cursor.forEachRemaining(entry -> keys.add(entry.key().text()));
    }
    return keys;
  }

  // Retries

  @Test
  void writesKeepTheirOrderWhenTheirPartsBecomeSmallerTwice() throws InterruptedException {
    for (String maximum : List.of("4", "3")) {
      server.then(
          error(
              status(
                  Status.Code.RESOURCE_EXHAUSTED,
                  Reason.LIMIT_EXCEEDED,
                  "limit",
                  "batch_items",
                  "maximum",
                  maximum)));
    }
    server.then(written(3)).then(written(3)).then(written(3)).then(written(1));
    List<Put> puts = new ArrayList<>();
    for (int i = 0; i < 10; i++) {
      puts.add(Put.of(KEY, i));
    }
    client.batchWrite(puts).forEach(WriteResult::orElseThrow);
    List<Long> accepted = new ArrayList<>();
    server.requests.take();
    server.requests.take();
    for (Object request : server.requests) {
      ((BatchWriteRequest) request)
          .getWritesList()
          .forEach(write -> accepted.add(write.getPut().getValue().getInt64Value()));
    }
    assertEquals(List.of(0L, 1L, 2L, 3L, 4L, 5L, 6L, 7L, 8L, 9L), accepted);
  }

  @ParameterizedTest
  @CsvSource({
    "DEADLINE_EXCEEDED, DEADLINE_EXCEEDED",
    "INTERNAL, INTERNAL",
    "INTERNAL, STORE",
    "ABORTED, CONDITION_FAILED",
    "UNAVAILABLE, TRUNCATED_STREAM"
  })
  void aDelayOfAnotherReasonDoesNotCount(Status.Code code, Reason reason) {
    com.google.rpc.Status status = after(status(code, reason), 0, 1000);
    server.then(error(status));
    for (CompletableFuture<?> call :
        List.of(client.putAsync(Put.of(KEY, 1)), client.getAsync(KEY))) {
      DatastoreException failure = failureOf(call);
      assertEquals(reason, failure.reason());
      assertEquals(Optional.empty(), failure.retryAfter());
    }
    assertThrows(DatastoreException.class, this::keys);
    assertEquals(3, server.requests.size());
  }

  @Test
  void aDelayOfAnItemOfAnotherReasonDoesNotCount() {
    com.google.rpc.Status status = after(status(Status.Code.INTERNAL, Reason.STORE), 0, 1000);
    BatchWriteResponse.Builder written = BatchWriteResponse.newBuilder();
    written.addResultsBuilder().setStatus(status);
    BatchGetResponse.Builder read = BatchGetResponse.newBuilder();
    read.addResultsBuilder().setStatus(status);
    server.then(written.build()).then(read.build());
    assertEquals(
        Reason.STORE,
        client.batchWrite(List.of(Put.of(KEY, 1))).get(0).error().orElseThrow().reason());
    assertEquals(Reason.STORE, client.batchGet(List.of(KEY)).get(0).error().orElseThrow().reason());
    assertEquals(2, server.requests.size());
  }

  @ParameterizedTest
  @CsvSource({"10000000000, 0", "9223372036854775807, 999999999", "315576000000, 0"})
  void aDelayBeyondTheDeadlineEndsTheCall(long seconds, int nanos) {
    server.then(error(after(BUSY, seconds, nanos)));
    assertEquals(Reason.UNAVAILABLE, failureOf(client.getAsync(KEY)).reason());
    assertThrows(UnavailableException.class, this::keys);
    assertEquals(2, server.requests.size());
  }

  @ParameterizedTest
  @CsvSource({"-5, 0", "-9223372036854775808, -999999999", "0, -5"})
  void aNegativeDelayCountsAsNone(long seconds, int nanos) {
    server
        .then(error(after(BUSY, seconds, nanos)))
        .then(FOUND)
        .then(error(after(BUSY, seconds, nanos)))
        .then(entry("1", "/a"), error(after(BUSY, seconds, nanos)))
        .then(END);
    assertEquals(Optional.of(1L), client.get(KEY));
    assertEquals(List.of("/a"), keys());
    assertEquals(5, server.requests.size());
  }

  @Test
  void aQueryContinuesAfterATimeLimit() {
    com.google.rpc.Status late = status(Status.Code.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED);
    server
        .then(entry("1", "/a"), error(after(BUSY, 0, 0)))
        .then(error(late))
        .then(entry("2", "/b"), error(late))
        .then(END);
    assertEquals(List.of("/a", "/b"), keys());
    assertEquals(4, server.requests.size());
  }

  @Test
  void aQueryIsGivenUpAtTheSecondTimeLimitWithoutProgress() {
    com.google.rpc.Status late = status(Status.Code.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED);
    server.then(entry("1", "/a"), error(after(BUSY, 0, 0))).then(error(late));
    assertThrows(DeadlineExceededException.class, this::keys);
    assertEquals(3, server.requests.size());
  }

  // Statuses

  @Test
  void detailsThatAreNoStatusAreIgnored() {
    server.then(error(Status.PERMISSION_DENIED, new byte[] {1, 2, 3}));
    assertEquals(Reason.PERMISSION_DENIED, failureOf(client.getAsync(KEY)).reason());
    assertThrows(AccessException.class, this::keys);
    assertThrows(AccessException.class, () -> client.watch(ALL));
  }

  @Test
  void detailsOfAnotherCodeAreIgnored() {
    byte[] details = status(Status.Code.INTERNAL, Reason.STORE).toByteArray();
    server.then(error(Status.PERMISSION_DENIED, details));
    assertEquals(Reason.PERMISSION_DENIED, failureOf(client.getAsync(KEY)).reason());
    assertThrows(AccessException.class, this::keys);
  }

  private static final int ENHANCE_YOUR_CALM = 0xb;

  static Stream<Arguments> aReadOfAStreamThatWasCutMayBeRepeated() {
    return Stream.of(
        by("reset to calm it", stream -> RawServer.reset(stream, ENHANCE_YOUR_CALM)),
        by("goaway to calm it", stream -> RawServer.goAway(stream - 2, ENHANCE_YOUR_CALM)),
        by("reset without an error", stream -> RawServer.reset(stream, 0)),
        by(
            "ended as data",
            stream -> RawServer.joined(RawServer.begin(stream), RawServer.end(stream))),
        by(
            "ended by trailers without a status",
            stream -> RawServer.joined(RawServer.begin(stream), RawServer.trailers(stream))),
        by("ended by headers without a status", stream -> RawServer.headers(stream)));
  }

  private static Arguments by(String name, IntFunction<byte[]> frames) {
    return Arguments.of(name, frames);
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource
  void aReadOfAStreamThatWasCutMayBeRepeated(String name, IntFunction<byte[]> frames)
      throws IOException {
    try (RawServer raw = new RawServer(frames);
        Client once = Client.builder(raw.address()).retry(false).connect()) {
      DatastoreException read = failureOf(once.getAsync(KEY));
      assertEquals(Reason.UNAVAILABLE, read.reason(), read.getMessage());
      assertTrue(read.retryAfter().isPresent());
    }
  }

  @Test
  void detailsThatAreNotBase64EndTheCall() throws IOException {
    try (RawServer raw =
            new RawServer(
                stream ->
                    RawServer.headers(
                        stream, "grpc-status", "7", "grpc-status-details-bin", "!!!"));
        Client once = Client.builder(raw.address()).retry(false).connect()) {
      // gRPC itself refuses them, with the code.
      assertEquals(Reason.INTERNAL, failureOf(once.getAsync(KEY)).reason());
    }
  }

  // Answers

  @Test
  void anAnswerThatIsNotValidIsCorrupt() {
    server.then(GetResponse.newBuilder().setValue(LATE).build());
    assertEquals(Reason.CORRUPT_DATA, failureOf(client.getAsync(KEY)).reason());
  }

  @Test
  void anItemThatIsNotValidIsCorruptAlone() {
    BatchGetResponse.Builder read = BatchGetResponse.newBuilder();
    read.addResultsBuilder().setValue(LATE);
    read.addResultsBuilder().setValue(Values.encode(1));
    BatchWriteResponse.Builder written = BatchWriteResponse.newBuilder();
    written.addResultsBuilder().getMetadataBuilder().setUpdateTime(LATE.getTimestampValue());
    written.addResultsBuilder();
    server.then(read.build()).then(written.build());
    List<ReadResult> found = client.batchGet(List.of(KEY, KEY));
    assertEquals(Reason.CORRUPT_DATA, found.get(0).error().orElseThrow().reason());
    assertEquals(1L, found.get(1).orElseThrow().orElseThrow().value());
    List<WriteResult> made = client.batchWrite(List.of(Put.of(KEY, 1), Put.of(KEY, 2)));
    assertEquals(Reason.CORRUPT_DATA, made.get(0).error().orElseThrow().reason());
    assertEquals(Optional.empty(), made.get(1).error());
  }

  @ParameterizedTest
  @CsvSource({"a/b", "/a/", "//", "/a\u0007b"})
  void aKeyThatIsNotCanonicalIsCorrupt(String key) {
    server.then(entry("1", key), END);
    DatastoreException error = assertThrows(StoreException.class, this::keys);
    assertEquals(Reason.CORRUPT_DATA, error.reason());
  }

  @Test
  void aTimeOutOfRangeIsCorruptInAQuery() {
    QueryResponse.Builder entries = QueryResponse.newBuilder();
    entries.addEntriesBuilder().setKey(KEY.message()).setValue(LATE);
    server.then(entries.build(), END);
    assertEquals(Reason.CORRUPT_DATA, assertThrows(StoreException.class, this::keys).reason());
  }

  @Test
  void aTimeOutOfRangeIsCorruptInAWatch() {
    WatchResponse.Builder changes = WatchResponse.newBuilder();
    changes
        .addChangesBuilder()
        .setKey(KEY.message())
        .setValue(LATE)
        .setKind(io.github.datastore.v1.EntryChange.Kind.KIND_PUT);
    server.then(changes.build(), HANGS);
    assertEquals(
        Reason.CORRUPT_DATA, assertThrows(StoreException.class, () -> client.watch(ALL)).reason());
  }

  @Test
  void aGroupWithTooFewValuesIsCorrupt() {
    AggregateResponse.Builder groups =
        AggregateResponse.newBuilder().setSummary(AggregateSummary.newBuilder().setGroups(1));
    groups.addGroupsBuilder().addResults(Values.encode(1));
    server.then(groups.build());
    Aggregate aggregate = Aggregate.of(ALL).groupBy("country").count("n");
    DatastoreException error =
        assertThrows(StoreException.class, () -> client.aggregate(aggregate));
    assertEquals(Reason.CORRUPT_DATA, error.reason());
  }

  @Test
  void anUpdateOfAnEntryWithoutMetadataIsNotMade() {
    server.then(FOUND);
    DatastoreException error =
        assertThrows(DatastoreException.class, () -> client.update(KEY, found -> 2));
    assertEquals(Reason.CORRUPT_DATA, error.reason());
    assertEquals(1, server.requests.size());
  }

  // Silence

  @Test
  void aWatchEndsIfItDoesNotBeginInTime() throws InterruptedException {
    server.then(HANGS);
    try (Client hasty = Client.builder(server.address()).timeout(Duration.ofSeconds(1)).connect()) {
      DatastoreException error =
          assertThrows(DeadlineExceededException.class, () -> hasty.watch(ALL));
      assertTrue(error.getMessage().endsWith("did not finish within 1 s"), error.getMessage());
      server.cancelled.acquire();
    }
  }

  @ParameterizedTest
  @CsvSource({"60", "3"})
  void anAddressThatDoesNotSpeakIsPassedOver(int timeout) throws IOException {
    server.then(FOUND);
    try (ServerSocket silent = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        Client either =
            Client.builder("127.0.0.1:" + silent.getLocalPort(), server.address())
                .timeout(Duration.ofSeconds(timeout))
                .connect()) {
      if (timeout < 5) {
        assertThrows(DatastoreException.class, () -> either.get(KEY));
      }
      assertEquals(Optional.of(1L), either.get(KEY));
    }
  }

  // Leaving

  @Test
  void batchesThatAreCancelledCancelTheirCalls() throws InterruptedException {
    server.then(HANGS);
    List<CompletableFuture<?>> batches =
        List.of(
            client.batchGetAsync(List.of(KEY)),
            client.batchWriteAsync(List.of(Put.of(KEY, 1))),
            client.batchWriteAtomicAsync(List.of(Put.of(KEY, 1))));
    for (CompletableFuture<?> batch : batches) {
      server.requests.take();
    }
    for (CompletableFuture<?> batch : batches) {
      batch.cancel(true);
      server.cancelled.acquire();
    }
  }

  @Test
  void aWriteThatMayBeRepeatedIsCancelled() throws InterruptedException {
    server.then(HANGS);
    try (Client safe =
        Client.builder(server.address())
            .timeout(Duration.ofMinutes(10))
            .retryWrites(true)
            .connect()) {
      CompletableFuture<?> put = safe.putAsync(Put.of(KEY, 1));
      server.requests.take();
      put.cancel(true);
      server.cancelled.acquire();
    }
  }

  @Test
  void longBatchesEndWhenTheClientIsClosed() throws InterruptedException {
    server.then(HANGS);
    CompletableFuture<List<ReadResult>> reads =
        client.batchGetAsync(Collections.nCopies(1_000_000, KEY));
    CompletableFuture<List<WriteResult>> writes =
        client.batchWriteAsync(Collections.nCopies(1_000_000, Put.of(KEY, 1)));
    server.requests.take();
    server.requests.take();
    client.close();
    assertEquals(Reason.DATASTORE_CLOSED, reads.join().get(999_999).error().orElseThrow().reason());
    assertEquals(
        Reason.DATASTORE_CLOSED, writes.join().get(999_999).error().orElseThrow().reason());
    assertEquals(0, server.requests.size());
  }

  @Test
  void aWatchThatWaitsToContinueEndsWhenTheClientIsClosed() throws InterruptedException {
    server.then(
        WatchResponse.newBuilder().setResumeToken(ByteString.copyFromUtf8("now")).build(),
        error(after(BUSY, 1000, 0)));
    WatchCursor cursor = client.watch(ALL);
    CompletableFuture<Boolean> next = new CompletableFuture<>();
    Thread reader =
        new Thread(
            () -> {
              try {
                next.complete(cursor.hasNext());
              } catch (DatastoreException error) {
                next.completeExceptionally(error);
              }
            });
    reader.start();
    while (reader.getState() != Thread.State.TIMED_WAITING && !next.isDone()) {
      Thread.onSpinWait();
    }
    client.close();
    assertEquals(Reason.DATASTORE_CLOSED, failureOf(next).reason());
  }

  @Test
  void theCallsOfABatchShareItsDeadline() {
    BatchGetResponse.Builder busy = BatchGetResponse.newBuilder();
    busy.addResultsBuilder().setStatus(after(BUSY, 0, 500_000_000));
    busy.addResultsBuilder()
        .setStatus(
            status(
                Status.Code.RESOURCE_EXHAUSTED, Reason.LIMIT_EXCEEDED, "limit", "message_bytes"));
    BatchGetResponse.Builder found = BatchGetResponse.newBuilder();
    found.addResultsBuilder().setValue(Values.encode(1));
    server.then(busy.build()).then(found.build());
    client.batchGet(List.of(KEY, KEY)).forEach(ReadResult::orElseThrow);
    assertEquals(3, server.millisLeft.size());
    server.millisLeft.removeFirst();
    server.millisLeft.forEach(left -> assertTrue(left <= 599_500, left + " ms"));
  }
}
