package io.github.datastore.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class ReaderTasksTest {
  private final List<Integer> done = new ArrayList<>();
  private final ReaderTasks tasks = new ReaderTasks();

  private void execute(int number) {
    tasks.execute(() -> done.add(number));
  }

  @Test
  void tasksWaitForTheReader() throws InterruptedException {
    execute(1);
    execute(2);
    assertEquals(List.of(), done);
    assertTrue(tasks.runNext(0));
    assertEquals(List.of(1), done);
    assertTrue(tasks.runNext(0));
    assertFalse(tasks.runNext(0));
    assertEquals(List.of(1, 2), done);
  }

  @Test
  void whatTheReaderLeavesIsDone() {
    execute(1);
    execute(2);
    tasks.close();
    assertEquals(List.of(1, 2), done);
  }

  @Test
  void whatComesAfterTheReaderLeftIsDoneAtOnce() {
    tasks.close();
    execute(1);
    assertEquals(List.of(1), done);
  }
}
