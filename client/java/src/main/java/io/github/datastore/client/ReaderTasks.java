package io.github.datastore.client;

import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Executor;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/**
 * What gRPC has to tell of a call, for its reader to do when it needs it. Once the reader has left,
 * it is done at once: messages that nobody reads hold memory until they are parsed.
 */
final class ReaderTasks implements Executor, AutoCloseable {
  private final BlockingQueue<Runnable> tasks = new LinkedBlockingQueue<>();
  private volatile boolean isClosed;

  @Override
  public void execute(Runnable task) {
    tasks.add(task);
    if (isClosed) {
      runAll();
    }
  }

  /** Does the next task; false if there was none in time. */
  boolean runNext(long nanos) throws InterruptedException {
    Runnable task = tasks.poll(isClosed ? 0 : nanos, TimeUnit.NANOSECONDS);
    if (task == null) {
      return false;
    }
    task.run();
    return true;
  }

  /** The reader leaves. */
  @Override
  public void close() {
    isClosed = true;
    runAll();
  }

  private void runAll() {
    for (Runnable task = tasks.poll(); task != null; task = tasks.poll()) {
      task.run();
    }
  }
}
