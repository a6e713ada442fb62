package io.github.datastore.client;

import io.github.datastore.v1.BatchWriteRequest;
import io.github.datastore.v1.BatchWriteResponse;
import io.github.datastore.v1.DatastoreServiceGrpc;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Deque;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;

/**
 * One batch of writes of any length, in as many messages as needed, one after another; an atomic
 * one in one message. Items are written again by the rules. After a message whose outcome is not
 * known no more are sent, because they could overtake it.
 */
final class BatchWrite {
  private static final long PART_BYTES = Write.MAX_ENTRY_BYTES + 64 * 1024;

  private final Caller caller;
  private final List<? extends Write> writes;
  private final boolean atomic;
  private final BatchWriteRequest.Write[] messages;
  private final Attempt[] attempts;
  private final WriteResult[] results;
  private final CompletableFuture<List<WriteResult>> future = new CompletableFuture<>();

  /** Parts that were refused because they had too many items, cut smaller. */
  private final Deque<List<Integer>> smaller = new ArrayDeque<>();

  private int next;

  BatchWrite(Caller caller, List<? extends Write> writes, boolean atomic) {
    this.caller = caller;
    this.writes = writes;
    this.atomic = atomic;
    messages = new BatchWriteRequest.Write[writes.size()];
    attempts = new Attempt[writes.size()];
    results = new WriteResult[writes.size()];
  }

  CompletableFuture<List<WriteResult>> begin() {
    nextPart();
    return future;
  }

  private void nextPart() {
    List<Integer> places = atomic ? everything() : smaller.isEmpty() ? part() : smaller.poll();
    if (places.isEmpty()) {
      future.complete(Arrays.asList(results));
    } else {
      send(places, caller.policy());
    }
  }

  /** All writes, once; none if one of them cannot be sent. */
  private List<Integer> everything() {
    List<Integer> places = new ArrayList<>();
    for (; next < writes.size(); next++) {
      if (!prepare(next)) {
        abort(next);
        next = writes.size();
        return List.of();
      }
      places.add(next);
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
    for (; next < writes.size() && places.size() < caller.batchItems(); next++) {
      if (!prepare(next)) {
        continue;
      }
      // With the attempt, which is added later.
      bytes += messages[next].getSerializedSize() + 48;
      if (bytes > PART_BYTES && !places.isEmpty()) {
        break;
      }
      places.add(next);
    }
    return places;
  }

  private boolean prepare(int place) {
    try {
      messages[place] = Writes.message(writes.get(place));
      attempts[place] = caller.newAttempt();
      return true;
    } catch (DatastoreException error) {
      results[place] = WriteResult.failed(error);
      return false;
    }
  }

  private void send(List<Integer> places, RetryPolicy policy) {
    caller
        .write(
            DatastoreServiceGrpc.getBatchWriteMethod(),
            () -> request(places),
            error -> mayFollow(places, error),
            policy)
        .whenComplete(
            (response, error) -> {
              try {
                if (error != null) {
                  failed(places, Caller.asDatastoreException(error));
                } else {
                  took(places, policy, response.getResultsList());
                }
              } catch (RuntimeException unexpected) {
                future.completeExceptionally(unexpected);
              }
            });
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
      future.completeExceptionally(outcome(places.get(0), error));
      return;
    }
    if (caller.acceptsFewer(error, places.size())) {
      for (int from = 0; from < places.size(); from += caller.batchItems()) {
        smaller.add(places.subList(from, Math.min(from + caller.batchItems(), places.size())));
      }
    } else {
      places.forEach(place -> results[place] = WriteResult.failed(outcome(place, error)));
      if (error instanceof UnavailableException || error instanceof DeadlineExceededException) {
        stop(error);
      }
    }
    nextPart();
  }

  private void stop(DatastoreException error) {
    smaller.forEach(places -> places.forEach(place -> results[place] = WriteResult.failed(error)));
    smaller.clear();
    for (; next < writes.size(); next++) {
      results[next] = WriteResult.failed(error);
    }
  }

  private void took(
      List<Integer> places, RetryPolicy policy, List<BatchWriteResponse.Result> answers) {
    if (answers.size() != places.size()) {
      failed(places, caller.miscounted(answers.size(), places.size()));
      return;
    }
    for (int i = 0; i < places.size(); i++) {
      BatchWriteResponse.Result answer = answers.get(i);
      results[places.get(i)] =
          answer.hasStatus()
              ? WriteResult.failed(Failures.ofServer(answer.getStatus()))
              : WriteResult.of(answer.hasMetadata(), answer.getMetadata());
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
      caller.after(backoff.get(), () -> send(again, policy));
    } else {
      nextPart();
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
