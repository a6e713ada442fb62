package io.github.datastore.client;

import java.util.function.LongSupplier;

/**
 * Whether the server is up, judged by the outcomes of calls. One that never answered is not waited
 * for: its address may be wrong. If it did, it is expected back until it has been away for {@link
 * RetryPolicy#RESUME_TIMEOUT}.
 */
final class Link {
  private final LongSupplier clock;
  private volatile boolean wasUp;
  private volatile boolean isDown;
  private long downSince;

  Link() {
    this(System::nanoTime);
  }

  Link(LongSupplier clock) {
    this.clock = clock;
  }

  /** Whether to retry calls that could not reach the server. */
  synchronized boolean isExpectedBack() {
    return wasUp
        && (!isDown || clock.getAsLong() - downSince < RetryPolicy.RESUME_TIMEOUT.toNanos());
  }

  /** Whether the last call that failed in transit has not been followed by an answer. */
  boolean isDown() {
    return isDown;
  }

  /** Notes that the server answered. */
  void up() {
    if (!wasUp || isDown) {
      synchronized (this) {
        wasUp = true;
        isDown = false;
      }
    }
  }

  /** Notes that a call failed in transit, and whether there had been a connection. */
  synchronized void down(boolean wasConnected) {
    wasUp |= wasConnected;
    if (!isDown) {
      isDown = true;
      downSince = clock.getAsLong();
    }
  }
}
