package io.github.datastore.client;

import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;

/**
 * A batch of any length, sent in as many messages as needed, one after another, within one
 * deadline. Its future is completed once, whatever happens; a caller that cancels it cancels the
 * call in progress, and no more are made.
 *
 * @param <R> the result of an item
 */
abstract class Batch<R> {
  final Caller caller;
  final RetryPolicy policy;
  final R[] results;

  /** The places of the items that are not in a message yet, in order. */
  final Deque<Integer> pending = new ArrayDeque<>();

  private final CompletableFuture<List<R>> future = new CompletableFuture<>();

  /** How many messages are due. They are sent in a loop: a call may end before its begin does. */
  private final AtomicInteger due = new AtomicInteger();

  /** Ends the call in progress, or the wait for the next. */
  private Runnable stop = () -> {};

  Batch(Caller caller, R[] results) {
    this.caller = caller;
    this.results = results;
    policy = caller.policy();
    for (int place = 0; place < results.length; place++) {
      pending.add(place);
    }
  }

  CompletableFuture<List<R>> begin() {
    future.whenComplete(
        (all, error) -> {
          if (future.isCancelled()) {
            leave();
          }
        });
    proceed();
    return future;
  }

  /** Sends the next message; completes the batch if there is none. */
  abstract void next();

  /** Goes on to the next message. Nothing of the batch may be touched afterwards. */
  void proceed() {
    if (due.getAndIncrement() == 0) {
      do {
        guarded(this::next);
      } while (due.decrementAndGet() > 0);
    }
  }

  /** Waits for a call, without blocking. */
  <A> void await(CompletableFuture<A> call, Consumer<A> took, Consumer<DatastoreException> failed) {
    stopWith(() -> call.cancel(true));
    call.whenComplete(
        (answer, error) ->
            guarded(
                () -> {
                  if (error == null) {
                    took.accept(answer);
                  } else {
                    failed.accept(Caller.asDatastoreException(error));
                  }
                }));
  }

  /** The task waits for the lock, so that whoever leaves meanwhile knows what to stop. */
  synchronized void later(Duration delay, Runnable task) {
    stopWith(caller.after(delay, () -> guarded(task)));
  }

  /** Asks for items again, before those that come after them. */
  void putBack(List<Integer> places) {
    for (int i = places.size() - 1; i >= 0; i--) {
      pending.addFirst(places.get(i));
    }
  }

  /** Sends no more: all items that are not in a message yet have one result. */
  void endWith(R result) {
    pending.forEach(place -> results[place] = result);
    pending.clear();
  }

  void complete() {
    future.complete(Arrays.asList(results));
  }

  void fail(DatastoreException error) {
    future.completeExceptionally(error);
  }

  private void guarded(Runnable task) {
    try {
      if (!future.isDone()) {
        task.run();
      }
    } catch (Throwable unexpected) {
      fail(Caller.asDatastoreException(unexpected));
    }
  }

  private synchronized void stopWith(Runnable stop) {
    this.stop = stop;
    if (future.isDone()) {
      stop.run();
    }
  }

  private synchronized void leave() {
    stop.run();
  }
}
