package io.github.datastore.client;

import io.github.datastore.v1.BatchWriteRequest;
import io.github.datastore.v1.BatchWriteResponse;
import io.github.datastore.v1.DatastoreServiceGrpc;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/**
 * A batch of writes; an atomic one is sent in one message. Items are written again by the rules.
 * After a message whose outcome is not known no more are sent, because they could overtake it.
 */
final class BatchWrite extends Batch<WriteResult> {
  private static final long PART_BYTES = Write.MAX_ENTRY_BYTES + 64 * 1024;

  private final List<? extends Write> writes;
  private final boolean atomic;
  private final BatchWriteRequest.Write[] messages;
  private final Attempt[] attempts;

  BatchWrite(Caller caller, List<? extends Write> writes, boolean atomic) {
    super(caller, new WriteResult[writes.size()]);
    this.writes = writes;
    this.atomic = atomic;
    messages = new BatchWriteRequest.Write[writes.size()];
    attempts = new Attempt[writes.size()];
  }

  @Override
  void next() {
    List<Integer> places = atomic ? everything() : part();
    if (places.isEmpty()) {
      complete();
    } else {
      send(places);
    }
  }

  /** All writes, once; none if one of them cannot be sent. */
  private List<Integer> everything() {
    List<Integer> places = List.copyOf(pending);
    pending.clear();
    for (int place : places) {
      if (!prepare(place)) {
        abort(place);
        return List.of();
      }
    }
    return places;
  }

  private void abort(int failed) {
    DatastoreException aborted =
        Reason.BATCH_ABORTED.exception(
            "the write at %d of the batch failed".formatted(failed),
            Details.NONE.with("index", failed));
    for (int place = 0; place < results.length; place++) {
      if (place != failed) {
        results[place] = WriteResult.failed(aborted);
      }
    }
  }

  /** The next writes that fit in a message. Those that cannot be sent have failed. */
  private List<Integer> part() {
    List<Integer> places = new ArrayList<>();
    long bytes = 0;
    while (!pending.isEmpty() && places.size() < caller.batchItems()) {
      int place = pending.peek();
      if (prepare(place)) {
        // With the attempt, which is added later.
        bytes += messages[place].getSerializedSize() + 48;
        if (bytes > PART_BYTES && !places.isEmpty()) {
          break;
        }
        places.add(place);
      }
      pending.poll();
    }
    return places;
  }

  private boolean prepare(int place) {
    if (messages[place] != null) {
      return true;
    }
    try {
      messages[place] = Writes.message(writes.get(place));
      attempts[place] = caller.newAttempt();
      return true;
    } catch (DatastoreException error) {
      results[place] = WriteResult.failed(error);
      return false;
    }
  }

  private void send(List<Integer> places) {
    await(
        caller.write(
            DatastoreServiceGrpc.getBatchWriteMethod(),
            () -> request(places),
            error -> mayFollow(places, error),
            policy),
        response -> took(places, response.getResultsList()),
        error -> failed(places, error));
  }

  private BatchWriteRequest request(List<Integer> places) {
    BatchWriteRequest.Builder request = BatchWriteRequest.newBuilder().setAtomic(atomic);
    for (int place : places) {
      Attempt attempt = attempts[place];
      request.addWrites(Writes.attempted(messages[place], attempt == null ? null : attempt.sent()));
    }
    return request.build();
  }

  private boolean mayFollow(List<Integer> places, DatastoreException error) {
    boolean may = true;
    for (int place : places) {
      may &= mayFollow(place, error);
    }
    return may;
  }

  private boolean mayFollow(int place, DatastoreException error) {
    return attempts[place] == null
        ? error.retryAfter().isPresent()
        : attempts[place].mayFollow(error);
  }

  private void failed(List<Integer> places, DatastoreException error) {
    if (atomic) {
      fail(outcome(places.get(0), error));
      return;
    }
    if (caller.acceptsFewer(error, places.size())) {
      putBack(places);
    } else {
      places.forEach(place -> results[place] = WriteResult.failed(outcome(place, error)));
      if (error instanceof UnavailableException
          || error instanceof DeadlineExceededException
          || error instanceof DatastoreClosedException) {
        endWith(WriteResult.failed(error));
      }
    }
    proceed();
  }

  private void took(List<Integer> places, List<BatchWriteResponse.Result> answers) {
    if (answers.size() != places.size()) {
      failed(places, caller.miscounted(answers.size(), places.size()));
      return;
    }
    for (int i = 0; i < places.size(); i++) {
      results[places.get(i)] = result(answers.get(i));
    }
    List<Integer> again = repeatable(places);
    boolean mayRepeat = !again.isEmpty() && (!atomic || again.size() == places.size());
    Optional<Duration> backoff =
        mayRepeat
            ? caller.backoffOfWrite(results[again.get(0)].error().get(), policy)
            : Optional.empty();
    List<Integer> ended = new ArrayList<>(places);
    if (backoff.isPresent()) {
      ended.removeAll(Set.copyOf(again));
    }
    for (int place : ended) {
      results[place]
          .error()
          .ifPresent(error -> results[place] = WriteResult.failed(outcome(place, error)));
    }
    if (backoff.isPresent()) {
      later(backoff.get(), () -> send(again));
    } else {
      policy.sawMessage();
      proceed();
    }
  }

  private static WriteResult result(BatchWriteResponse.Result answer) {
    if (answer.hasStatus()) {
      return WriteResult.failed(Failures.ofServer(answer.getStatus()));
    }
    try {
      return WriteResult.of(answer.hasMetadata(), answer.getMetadata());
    } catch (DatastoreException error) {
      return WriteResult.failed(error);
    }
  }

  /**
   * The writes that may be sent again after their errors, in their order. One to a key that a later
   * one has written since, or may have, is not.
   */
  private List<Integer> repeatable(List<Integer> places) {
    List<Integer> again = new ArrayList<>();
    Set<Key> written = new HashSet<>();
    for (int i = places.size() - 1; i >= 0; i--) {
      int place = places.get(i);
      Key key = writes.get(place).key();
      Optional<DatastoreException> error = results[place].error();
      if (error.isEmpty() || !mayFollow(place, error.get())) {
        written.add(key);
      } else if (!written.contains(key)) {
        again.add(place);
      }
    }
    Collections.reverse(again);
    return again;
  }

  private DatastoreException outcome(int place, DatastoreException error) {
    return attempts[place] == null ? error : attempts[place].outcome(error);
  }
}
