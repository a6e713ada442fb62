package io.github.datastore.client;

import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.LongSupplier;

/**
 * The deadline of one call or query over all its attempts, and the backoffs between them. Decides,
 * but does not wait.
 */
final class RetryPolicy {
  /** How long a lost server that answered before is expected back. */
  static final Duration RESUME_TIMEOUT = Duration.ofSeconds(30);

  /** The retry delay of an error that the client itself finds safe to retry. */
  static final Duration RETRY_AFTER = Duration.ofMillis(100);

  private static final long FIRST_BACKOFF_NANOS = 50_000_000;
  private static final long LAST_BACKOFF_NANOS = 1_000_000_000;

  private final LongSupplier clock;
  private final Duration timeout;
  private final long began;
  private long backoffNanos = FIRST_BACKOFF_NANOS;
  private boolean isCut;
  private long cutAt;

  /** A policy that begins now; without a timeout it never ends. */
  RetryPolicy(Optional<Duration> timeout) {
    this(timeout, System::nanoTime);
  }

  RetryPolicy(Optional<Duration> timeout, LongSupplier clock) {
    this.clock = clock;
    this.timeout = timeout.orElse(null);
    began = clock.getAsLong();
  }

  /** The time limit; zero for none. */
  Duration timeout() {
    return timeout == null ? Duration.ZERO : timeout;
  }

  boolean isLimited() {
    return timeout != null;
  }

  /** Whether no time is left. */
  boolean isOver() {
    return timeout != null && clock.getAsLong() - began >= timeout.toNanos();
  }

  /** The time left, always above zero, so that gRPC reports an exceeded deadline. */
  long leftNanos() {
    return timeout == null
        ? Long.MAX_VALUE
        : Math.max(timeout.toNanos() - (clock.getAsLong() - began), 1_000_000);
  }

  /** Notes that the server has sent a message. */
  void sawMessage() {
    isCut = false;
    backoffNanos = FIRST_BACKOFF_NANOS;
  }

  /**
   * How long to wait before the next attempt after one ended with an error; empty to give up. Where
   * there is no deadline, the server's delay counts up to {@link #RESUME_TIMEOUT}.
   */
  Optional<Duration> backoff(DatastoreException error) {
    long now = clock.getAsLong();
    if (!isCut) {
      isCut = true;
      cutAt = now;
    }
    if (now - cutAt >= RESUME_TIMEOUT.toNanos()) {
      return Optional.empty();
    }
    long wait = (long) (backoffNanos * ThreadLocalRandom.current().nextDouble(0.5, 1));
    backoffNanos = Math.min(2 * backoffNanos, LAST_BACKOFF_NANOS);
    Duration delay = error.retryAfter().orElse(Duration.ZERO);
    if (timeout == null && delay.compareTo(RESUME_TIMEOUT) > 0) {
      delay = RESUME_TIMEOUT;
    }
    wait += delay.toNanos();
    boolean isInTime = timeout == null || now - began + wait < timeout.toNanos();
    return isInTime ? Optional.of(Duration.ofNanos(wait)) : Optional.empty();
  }
}
