package io.github.datastore.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Any;
import com.google.rpc.Code;
import com.google.rpc.RetryInfo;
import com.google.rpc.Status;
import io.github.datastore.v1.GetResponse;
import io.grpc.protobuf.StatusProto;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class ClientTest {
  private static final Key HELD = Key.of(LocalServer.HELD);
  private static final Query ALL = Query.of("/").recursive();

  private final LocalServer server = new LocalServer();
  private final Client client = Client.connect(server.address());

  @AfterEach
  void close() {
    client.close();
    server.close();
  }

  private static DatastoreException failureOf(CompletableFuture<?> future) {
    CompletionException error = assertThrows(CompletionException.class, future::join);
    return assertInstanceOf(DatastoreException.class, error.getCause());
  }

  @Test
  void valuesAreReadAsTheyWereWritten() {
    assertEquals(Optional.empty(), client.get(Key.of("/a")));
    assertFalse(client.contains(Key.of("/a")));
    assertEquals(Optional.empty(), client.put(Key.of("/a"), List.of(1, "x")));
    assertEquals(Optional.of(List.of(1L, "x")), client.get(Key.of("/a")));
    assertTrue(client.containsAsync(Key.of("/a")).join());
  }

  @Test
  void aFutureThatIsCancelledCancelsItsCall() throws InterruptedException {
    CompletableFuture<Optional<Object>> future = client.getAsync(HELD);
    server.held.take();
    future.cancel(true);
    server.cancelled.await();
    assertTrue(client.containsAsync(HELD).join().equals(false));
  }

  @Test
  void aCallerThatIsInterruptedCancelsItsCall() throws InterruptedException {
    AtomicReference<Throwable> thrown = new AtomicReference<>();
    AtomicReference<Boolean> isInterrupted = new AtomicReference<>();
    Thread caller =
        new Thread(
            () -> {
              try {
                client.get(HELD);
              } catch (DatastoreException error) {
                thrown.set(error);
                isInterrupted.set(Thread.currentThread().isInterrupted());
              }
            });
    caller.start();
    server.held.take();
    caller.interrupt();
    server.cancelled.await();
    caller.join();
    assertInstanceOf(UnavailableException.class, thrown.get());
    assertTrue(isInterrupted.get());
  }

  @Test
  void callsInProgressFailWhenTheClientIsClosed() throws InterruptedException {
    CompletableFuture<Optional<Object>> future = client.getAsync(HELD);
    server.held.take();
    client.close();
    assertEquals(Reason.DATASTORE_CLOSED, failureOf(future).reason());
    assertThrows(DatastoreClosedException.class, () -> client.get(HELD));
    assertThrows(DatastoreClosedException.class, () -> client.query(ALL));
    assertThrows(DatastoreClosedException.class, () -> client.watch(ALL));
  }

  @Test
  void callsThatWaitFailWhenTheClientIsClosed() throws InterruptedException {
    List<CompletableFuture<Optional<Object>>> futures = new ArrayList<>();
    for (int i = 0; i < Connection.CALLS_AT_ONCE + 5; i++) {
      futures.add(client.getAsync(HELD));
    }
    server.held.take();
    client.close();
    futures.forEach(future -> assertEquals(Reason.DATASTORE_CLOSED, failureOf(future).reason()));
  }

  @Test
  void aCallThatWaitsToBeRepeatedFailsWhenTheClientIsClosed() throws InterruptedException {
    CompletableFuture<Optional<Object>> future = client.getAsync(HELD);
    RetryInfo later =
        RetryInfo.newBuilder()
            .setRetryDelay(com.google.protobuf.Duration.newBuilder().setSeconds(5))
            .build();
    Status busy =
        Status.newBuilder().setCode(Code.UNAVAILABLE_VALUE).addDetails(Any.pack(later)).build();
    server.held.take().onError(StatusProto.toStatusRuntimeException(busy));
    // Answered after the first call has failed.
    client.contains(HELD);
    client.close();
    assertEquals(Reason.DATASTORE_CLOSED, failureOf(future).reason());
  }

  @Test
  void aCursorThatIsForgottenEndsItsCall() throws InterruptedException {
    assertEquals("/1", client.query(ALL).next().key().text());
    while (server.cancelled.getCount() > 0) {
      System.gc();
      Thread.onSpinWait();
    }
  }

  @Test
  void aHundredCallsAreMadeAtOnceAndTheOthersWait() throws InterruptedException {
    List<CompletableFuture<Optional<Object>>> futures = new ArrayList<>();
    for (int i = 0; i < Connection.CALLS_AT_ONCE + 5; i++) {
      futures.add(client.getAsync(HELD));
    }
    for (int i = 0; i < Connection.CALLS_AT_ONCE; i++) {
      LocalServer.answered(server.held.take(), GetResponse.getDefaultInstance());
    }
    for (int i = 0; i < 5; i++) {
      LocalServer.answered(server.held.take(), GetResponse.getDefaultInstance());
    }
    futures.forEach(future -> assertEquals(Optional.empty(), future.join()));
  }

  @Test
  void aCallThatGetsNoTurnInTimeWasNotSent() {
    try (Client hasty = Client.builder(server.address()).timeout(Duration.ofSeconds(1)).connect()) {
      List<CompletableFuture<Optional<Object>>> futures = new ArrayList<>();
      for (int i = 0; i <= Connection.CALLS_AT_ONCE; i++) {
        futures.add(hasty.getAsync(HELD));
      }
      futures.forEach(future -> assertEquals(Reason.DEADLINE_EXCEEDED, failureOf(future).reason()));
    }
  }

  @Test
  void moreThanTenThousandWaitingCallsAreRefused() {
    for (int i = 0; i < Connection.CALLS_AT_ONCE + Connection.WAITING_CALLS; i++) {
      client.getAsync(HELD);
    }
    DatastoreException error = failureOf(client.getAsync(HELD));
    assertInstanceOf(OverloadedException.class, error);
    assertTrue(error.retryAfter().isPresent());
  }

  @Test
  void callersThatAreCancelledGiveUpTheirPlaces() {
    List<CompletableFuture<Optional<Object>>> sent = new ArrayList<>();
    for (int i = 0; i < Connection.CALLS_AT_ONCE; i++) {
      sent.add(client.getAsync(HELD));
    }
    List<CompletableFuture<Optional<Object>>> waiting = new ArrayList<>();
    for (int i = 0; i < Connection.WAITING_CALLS; i++) {
      waiting.add(client.getAsync(HELD));
    }
    waiting.forEach(future -> future.cancel(true));
    CompletableFuture<Optional<Object>> next = client.getAsync(Key.of("/a"));
    assertFalse(next.isDone());
    sent.forEach(future -> future.cancel(true));
    assertEquals(Optional.empty(), next.join());
  }

  @Test
  void aCursorIsReadAsAStreamWhichIsClosedEarly() throws InterruptedException {
    try (QueryCursor cursor = client.query(ALL);
        Stream<Entry> entries = cursor.stream()) {
      assertEquals(
          List.of("/1", "/2", "/3"), entries.limit(3).map(entry -> entry.key().text()).toList());
      assertEquals(Optional.empty(), cursor.summary());
    }
    server.cancelled.await();
    assertTrue(server.sent.get() < LocalServer.MESSAGES, "sent " + server.sent);
  }

  @Test
  void aThousandCursorsAreOpenAtMost() {
    Optional<Path> none = Optional.empty();
    Duration instant = Duration.ofMillis(1);
    Duration hour = Duration.ofHours(1);
    List<Target> targets = List.of(Target.of(server.address()));
    Settings settings =
        new Settings(targets, none, none, none, Optional.empty(), instant, hour, true, false);
    try (Connection connection = new Connection(settings)) {
      WatchCursor cursor =
          new WatchCursor(connection, Watch.of(ALL).message(), Duration.ofMinutes(1)).begun();
      for (int i = 1; i < Connection.STREAMS_AT_ONCE; i++) {
        connection.takeStream();
      }
      assertThrows(OverloadedException.class, connection::takeStream);
      cursor.close();
      connection.takeStream();
      assertThrows(OverloadedException.class, connection::takeStream);
    }
  }

  @Test
  void aCursorThatWaitsForAPlaceFailsWhenTheClientIsClosed() throws InterruptedException {
    Optional<Path> none = Optional.empty();
    Duration hour = Duration.ofHours(1);
    List<Target> targets = List.of(Target.of(server.address()));
    Settings settings =
        new Settings(targets, none, none, none, Optional.empty(), hour, hour, true, false);
    Connection connection = new Connection(settings);
    for (int i = 0; i < Connection.STREAMS_AT_ONCE; i++) {
      connection.takeStream();
    }
    AtomicReference<DatastoreException> thrown = new AtomicReference<>();
    Thread reader =
        new Thread(
            () -> thrown.set(assertThrows(DatastoreException.class, connection::takeStream)));
    reader.start();
    while (reader.getState() != Thread.State.TIMED_WAITING) {
      Thread.onSpinWait();
    }
    connection.close();
    reader.join();
    assertEquals(Reason.DATASTORE_CLOSED, thrown.get().reason());
  }

  @Test
  void aCursorEndsWithItsSummary() {
    try (QueryCursor cursor = client.query(ALL)) {
      assertEquals(LocalServer.MESSAGES, cursor.stream().count());
      assertEquals(Summary.Reason.EXHAUSTED, cursor.summary().orElseThrow().reason());
      assertFalse(cursor.hasNext());
    }
  }

  @Test
  void aCursorOfAClosedClientThrowsAgainAndAgain() {
    try (QueryCursor cursor = client.query(ALL)) {
      cursor.next();
      client.close();
      assertThrows(DatastoreClosedException.class, () -> cursor.forEachRemaining(entry -> {}));
      assertThrows(DatastoreClosedException.class, cursor::hasNext);
    }
  }

  @Test
  void theNextAddressIsUsedIfTheFirstCannotBeReached() {
    LocalServer gone = new LocalServer();
    gone.close();
    try (Client either = Client.connect(gone.address(), "grpc://" + server.address())) {
      assertFalse(either.contains(HELD));
    }
    try (Client none = Client.connect(gone.address())) {
      UnavailableException error =
          assertThrows(UnavailableException.class, () -> none.contains(HELD));
      assertTrue(
          error.getMessage().contains(gone.address() + " (connection refused)"),
          error.getMessage());
      // Where the caller is, not only where gRPC was.
      assertTrue(
          Stream.of(error.getStackTrace())
              .anyMatch(frame -> frame.getClassName().equals(ClientTest.class.getName())));
    }
  }

  @Test
  void whatTheServerDoesNotHaveIsOfAnotherVersion() {
    UnsupportedException error = assertThrows(UnsupportedException.class, client::describe);
    assertTrue(error.getMessage().contains("another version of the protocol"), error.getMessage());
  }
}
