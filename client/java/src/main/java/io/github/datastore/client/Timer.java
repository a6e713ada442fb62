package io.github.datastore.client;

import java.time.Duration;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/** Runs short tasks later, on one thread. Once it is closed they run at once: none is ever lost. */
final class Timer implements AutoCloseable {
  private final ScheduledThreadPoolExecutor executor;
  private final Set<Runnable> pending = ConcurrentHashMap.newKeySet();

  Timer() {
    executor = new ScheduledThreadPoolExecutor(1, Timer::daemon);
    executor.setRemoveOnCancelPolicy(true);
  }

  private static Thread daemon(Runnable tasks) {
    Thread thread = new Thread(tasks, "datastore-client-timer");
    thread.setDaemon(true);
    return thread;
  }

  /** Runs a task after a delay. Returns what prevents that. */
  Runnable after(Duration delay, Runnable task) {
    pending.add(task);
    try {
      ScheduledFuture<?> scheduled =
          executor.schedule(() -> run(task), delay.toNanos(), TimeUnit.NANOSECONDS);
      return () -> {
        pending.remove(task);
        scheduled.cancel(false);
      };
    } catch (RejectedExecutionException closed) {
      run(task);
      return () -> {};
    }
  }

  private void run(Runnable task) {
    if (pending.remove(task)) {
      task.run();
    }
  }

  @Override
  public void close() {
    executor.shutdownNow();
    pending.forEach(this::run);
  }
}
