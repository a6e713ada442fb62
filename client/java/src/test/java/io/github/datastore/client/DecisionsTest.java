package io.github.datastore.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.Metadata;
import io.grpc.Status;
import java.net.ConnectException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;

class DecisionsTest {
  private static final DatastoreException UNAVAILABLE = Reason.UNAVAILABLE.exception("cut short");
  private static final DatastoreException REPEATABLE =
      Reason.UNAVAILABLE.exception("busy", Details.NONE.retryAfter(Duration.ofMillis(10)));

  private final AtomicLong now = new AtomicLong();

  private void wait(Duration duration) {
    now.addAndGet(duration.toNanos());
  }

  @Test
  void backoffsDoubleUpToASecondAfterTheDelayOfTheServer() {
    RetryPolicy policy = new RetryPolicy(Optional.empty(), now::get);
    for (long backoff = 50; backoff < 3000; backoff *= 2) {
      long millis = policy.backoff(REPEATABLE).orElseThrow().toMillis() - 10;
      long most = Math.min(backoff, 1000);
      assertTrue(millis >= most / 2 && millis <= most, millis + " of " + most);
    }
    policy.sawMessage();
    assertTrue(policy.backoff(UNAVAILABLE).orElseThrow().toMillis() <= 50);
  }

  @Test
  void backoffsEndWithTheDeadline() {
    RetryPolicy policy = new RetryPolicy(Optional.of(Duration.ofSeconds(1)), now::get);
    assertTrue(policy.backoff(UNAVAILABLE).isPresent());
    wait(Duration.ofMillis(999));
    assertTrue(policy.backoff(UNAVAILABLE).isEmpty());
    wait(Duration.ofSeconds(1));
    assertTrue(policy.leftNanos() > 0);
  }

  @Test
  void backoffsEndAfter30SecondsWithoutProgress() {
    RetryPolicy policy = new RetryPolicy(Optional.empty(), now::get);
    assertTrue(policy.backoff(UNAVAILABLE).isPresent());
    wait(RetryPolicy.RESUME_TIMEOUT.minusNanos(1));
    assertTrue(policy.backoff(UNAVAILABLE).isPresent());
    wait(Duration.ofNanos(1));
    assertTrue(policy.backoff(UNAVAILABLE).isEmpty());
    policy.sawMessage();
    assertTrue(policy.backoff(UNAVAILABLE).isPresent());
  }

  @Test
  void aServerIsExpectedBackFor30SecondsIfItHasAnswered() {
    Link link = new Link(now::get);
    link.down(false);
    assertFalse(link.isExpectedBack());
    link.up();
    assertTrue(link.isExpectedBack());
    link.down(true);
    wait(Duration.ofSeconds(20));
    link.down(false);
    assertTrue(link.isExpectedBack());
    wait(Duration.ofSeconds(10));
    assertFalse(link.isExpectedBack());
    link.up();
    assertTrue(link.isExpectedBack());
  }

  @Test
  void callsTakeTurnsInOrder() {
    CallSlots slots = new CallSlots(1, 2);
    List<String> turns = new ArrayList<>();
    assertTrue(slots.take());
    CallSlots.Waiter first = slots.lineUp(() -> turns.add("first"));
    assertNotNull(slots.lineUp(() -> turns.add("second")));
    assertNull(slots.lineUp(() -> turns.add("one too many")));
    assertFalse(slots.take());
    assertTrue(slots.giveUp(first));
    assertFalse(slots.giveUp(first));
    slots.release();
    assertEquals(List.of("second"), turns);
    slots.release();
    assertTrue(slots.take());
  }

  @Test
  void aSlotIsPassedOnToTheFirstThatUsesIt() {
    CallSlots slots = new CallSlots(1, 100_000);
    assertTrue(slots.take());
    for (int i = 0; i < 100_000; i++) {
      assertNotNull(slots.lineUp(() -> false));
    }
    slots.release();
    assertNotNull(slots.lineUp(() -> false));
    assertTrue(slots.take());
    assertFalse(slots.take());
  }

  @Test
  void aWatchWaitsForAServerFor30SecondsAtMost() {
    RetryPolicy policy = new RetryPolicy(Optional.empty(), now::get);
    DatastoreException error =
        Reason.UNAVAILABLE.exception("busy", Details.NONE.retryAfter(Duration.ofDays(366)));
    Duration backoff = policy.backoff(error).orElseThrow();
    assertTrue(backoff.compareTo(Duration.ofSeconds(31)) < 0, backoff.toString());
  }

  @Test
  void anAttemptThatMayHaveBeenMadeIsFollowedByOneWithAnAge() {
    Attempt attempt = new Attempt();
    assertEquals(16, attempt.sent().getRequestId().size());
    assertEquals(0, attempt.sent().getAgeUs());
    assertTrue(attempt.mayFollow(REPEATABLE));
    assertEquals(0, attempt.sent().getAgeUs());
    assertTrue(attempt.mayFollow(UNAVAILABLE));
    assertTrue(attempt.sent().getAgeUs() > 0);
    // The outcome of one that has not reached the store is still that of the first; another answer
    // is final.
    assertSame(UNAVAILABLE, attempt.outcome(REPEATABLE));
    DatastoreException forgotten = Reason.REQUEST_FORGOTTEN.exception("");
    assertSame(forgotten, attempt.outcome(forgotten));
    assertFalse(attempt.mayFollow(forgotten));
  }

  private static DatastoreException failure(Status status, boolean wasSent) {
    return Failures.ofCall("grpc://a:1", status, new Metadata(), wasSent, Duration.ofSeconds(10));
  }

  @Test
  void whatGrpcSaysIsSaidInPlainWords() {
    Status refused =
        Status.UNAVAILABLE
            .withDescription("io exception")
            .withCause(new ConnectException("Connection refused"));
    DatastoreException unsent = failure(refused, false);
    assertEquals("cannot connect to grpc://a:1 (connection refused)", unsent.getMessage());
    assertFalse(unsent.mayHaveBeenMade());
    DatastoreException cut =
        failure(Status.UNAVAILABLE.withDescription("Network closed for unknown reason"), true);
    assertEquals("a call to grpc://a:1 was cut short (connection lost)", cut.getMessage());
    assertTrue(cut.mayHaveBeenMade());
    DatastoreException late = failure(Status.DEADLINE_EXCEEDED, true);
    assertEquals("the call to grpc://a:1 did not finish within 10 s", late.getMessage());
    assertTrue(late.mayHaveBeenMade());
    DatastoreException unknown =
        failure(Status.UNIMPLEMENTED.withDescription("no such method"), true);
    assertTrue(
        unknown.getMessage().contains("another version of the protocol"), unknown.getMessage());
    assertEquals(Reason.UNAVAILABLE, failure(Status.CANCELLED, true).reason());
    assertEquals(
        Reason.UNAVAILABLE,
        failure(
                Status.INTERNAL.withDescription(
                    "RST_STREAM closed stream. HTTP/2 error code: INTERNAL_ERROR"),
                true)
            .reason());
    assertEquals(
        Reason.UNAVAILABLE,
        failure(
                Status.RESOURCE_EXHAUSTED.withDescription(
                    "HTTP/2 error code: ENHANCE_YOUR_CALM (Bandwidth exhausted)"),
                true)
            .reason());
    assertEquals(
        Reason.UNAVAILABLE,
        failure(Status.UNKNOWN.withDescription("missing GRPC status in response"), true).reason());
    assertEquals(
        Reason.LIMIT_EXCEEDED,
        failure(Status.RESOURCE_EXHAUSTED.withDescription("too large"), true).reason());
    assertEquals(Reason.INTERNAL, failure(Status.INTERNAL.withDescription("oops"), true).reason());
    assertEquals(
        Reason.CORRUPT_DATA,
        failure(Status.INTERNAL.withDescription("Encountered end-of-stream mid-frame"), true)
            .reason());
    assertEquals(
        Reason.CORRUPT_DATA,
        failure(Status.CANCELLED.withDescription("Failed to read message."), true).reason());
  }

  @Test
  void exceptionsHaveTheirFields() {
    Details details =
        Details.NONE.with("version", 7).with("index", 2).with("right", "write").with("epoch", "x");
    assertEquals(
        7, ((ConditionFailedException) Reason.CONDITION_FAILED.exception("", details)).version());
    assertEquals(2, ((BatchAbortedException) Reason.BATCH_ABORTED.exception("", details)).index());
    assertEquals(
        "write", ((AccessException) Reason.PERMISSION_DENIED.exception("", details)).right());
    assertEquals(0, ((WrongShardException) Reason.WRONG_SHARD.exception("", details)).epoch());
    assertEquals("condition failed", Reason.CONDITION_FAILED.exception("").getMessage());
    assertEquals(Optional.empty(), UNAVAILABLE.shard());
  }
}
