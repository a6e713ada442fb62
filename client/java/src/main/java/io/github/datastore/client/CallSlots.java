package io.github.datastore.client;

import java.util.Iterator;
import java.util.LinkedHashSet;
import java.util.Set;
import java.util.function.BooleanSupplier;

/**
 * Limits how many calls are made at once; others wait, first come, first served. Knows no calls,
 * and starts no threads.
 */
final class CallSlots {
  private final int atOnce;
  private final int mostWaiting;
  private final Set<Waiter> waiting = new LinkedHashSet<>();
  private int taken;

  /** A call that waits for its turn. */
  static final class Waiter {
    private final BooleanSupplier turn;

    private Waiter(BooleanSupplier turn) {
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
   * Lines up for a slot, unless one is free: then {@code turn} is run now. It returns whether it
   * uses the slot, which it must release then. Returns null if too many wait already.
   */
  Waiter lineUp(BooleanSupplier turn) {
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
    if (!turn.getAsBoolean()) {
      release();
    }
    return waiter;
  }

  /** Leaves the line. Returns false if the turn has come already. */
  synchronized boolean giveUp(Waiter waiter) {
    return waiting.remove(waiter);
  }

  /** Gives a slot back, to the first that waits and uses it. */
  void release() {
    Waiter next = following();
    while (next != null && !next.turn.getAsBoolean()) {
      next = following();
    }
  }

  /** The first that waits, which the slot is passed on to; null if none does, and it is free. */
  private synchronized Waiter following() {
    Iterator<Waiter> line = waiting.iterator();
    if (!line.hasNext()) {
      taken--;
      return null;
    }
    Waiter next = line.next();
    line.remove();
    return next;
  }
}
