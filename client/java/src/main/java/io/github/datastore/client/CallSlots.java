package io.github.datastore.client;

import java.util.ArrayDeque;
import java.util.Deque;

/**
 * Limits how many calls are made at once; others wait, first come, first served. Knows no calls,
 * and starts no threads.
 */
final class CallSlots {
  private final int atOnce;
  private final int mostWaiting;
  private final Deque<Waiter> waiting = new ArrayDeque<>();
  private int taken;

  /** A call that waits for its turn. */
  static final class Waiter {
    private final Runnable turn;

    private Waiter(Runnable turn) {
      this.turn = turn;
    }
  }

  CallSlots(int atOnce, int mostWaiting) {
    this.atOnce = atOnce;
    this.mostWaiting = mostWaiting;
  }

  /** Takes a slot, if one is free. The caller must release it. */
  synchronized boolean take() {
    if (taken < atOnce) {
      taken++;
      return true;
    }
    return false;
  }

  /**
   * Lines up for a slot, unless one is free: then {@code turn} is run now. Returns null if too many
   * wait already.
   */
  Waiter lineUp(Runnable turn) {
    Waiter waiter = new Waiter(turn);
    synchronized (this) {
      if (taken >= atOnce) {
        if (waiting.size() >= mostWaiting) {
          return null;
        }
        waiting.add(waiter);
        return waiter;
      }
      taken++;
    }
    turn.run();
    return waiter;
  }

  /** Leaves the line. Returns false if the turn has come already. */
  synchronized boolean giveUp(Waiter waiter) {
    return waiting.remove(waiter);
  }

  /** Gives a slot back, to the first that waits. */
  void release() {
    Waiter next;
    synchronized (this) {
      next = waiting.poll();
      if (next == null) {
        taken--;
      }
    }
    if (next != null) {
      next.turn.run();
    }
  }
}
