package io.github.datastore.client;

import io.github.datastore.v1.BatchGetRequest;
import io.github.datastore.v1.BatchGetResponse;
import io.github.datastore.v1.DatastoreServiceGrpc;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;

/**
 * One batch of reads of any length, in as many messages as needed, one after another. Items that
 * the server could not answer are asked for again, by the rules.
 */
final class BatchGet {
  private final Caller caller;
  private final List<Key> keys;
  private final boolean withMetadata;
  private final ReadResult[] results;
  private final Deque<Integer> pending = new ArrayDeque<>();
  private final CompletableFuture<List<ReadResult>> future = new CompletableFuture<>();
  private int most;

  BatchGet(Caller caller, List<Key> keys, boolean withMetadata) {
    this.caller = caller;
    this.keys = keys;
    this.withMetadata = withMetadata;
    results = new ReadResult[keys.size()];
    most = caller.batchItems();
    for (int place = 0; place < keys.size(); place++) {
      pending.add(place);
    }
  }

  CompletableFuture<List<ReadResult>> begin() {
    nextPart();
    return future;
  }

  private void nextPart() {
    if (pending.isEmpty() || future.isDone()) {
      future.complete(Arrays.asList(results));
      return;
    }
    List<Integer> places = new ArrayList<>();
    while (places.size() < most && !pending.isEmpty()) {
      places.add(pending.poll());
    }
    ask(places, caller.policy());
  }

  private void ask(List<Integer> places, RetryPolicy policy) {
    BatchGetRequest.Builder request = BatchGetRequest.newBuilder().setIncludeMetadata(withMetadata);
    places.forEach(place -> request.addKeys(keys.get(place).message()));
    caller
        .read(DatastoreServiceGrpc.getBatchGetMethod(), request.build(), policy)
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

  private void failed(List<Integer> places, DatastoreException error) {
    if (caller.acceptsFewer(error, places.size())) {
      most = caller.batchItems();
      putBack(places);
    } else {
      places.forEach(place -> results[place] = ReadResult.failed(error));
    }
    nextPart();
  }

  private void took(
      List<Integer> places, RetryPolicy policy, List<BatchGetResponse.Result> answers) {
    if (answers.size() != places.size()) {
      failed(places, caller.miscounted(answers.size(), places.size()));
      return;
    }
    List<Integer> again = new ArrayList<>();
    int fitted = 0;
    while (fitted < places.size()) {
      int place = places.get(fitted);
      ReadResult result = result(keys.get(place), answers.get(fitted));
      if (fitted > 0 && result.error().filter(BatchGet::didNotFit).isPresent()) {
        break;
      }
      results[place] = result;
      if (result.error().filter(error -> error.retryAfter().isPresent()).isPresent()) {
        again.add(place);
      }
      fitted++;
    }
    putBack(places.subList(fitted, places.size()));
    // Values that do not fit in an answer were read for nothing, so only about as many are
    // requested as fit.
    most = Math.min(2 * fitted, caller.batchItems());
    Optional<Duration> backoff =
        again.isEmpty()
            ? Optional.empty()
            : caller.backoff(results[again.get(0)].error().get(), policy);
    if (backoff.isPresent()) {
      caller.after(backoff.get(), () -> ask(again, policy));
    } else {
      nextPart();
    }
  }

  private void putBack(List<Integer> places) {
    for (int i = places.size() - 1; i >= 0; i--) {
      pending.addFirst(places.get(i));
    }
  }

  private static boolean didNotFit(DatastoreException error) {
    return error instanceof LimitExceededException limit && limit.limit().equals("message_bytes");
  }

  private static ReadResult result(Key key, BatchGetResponse.Result answer) {
    if (answer.hasStatus()) {
      return ReadResult.failed(Failures.ofServer(answer.getStatus()));
    }
    if (!answer.hasValue()) {
      return new ReadResult(Optional.empty(), Optional.empty());
    }
    try {
      Optional<Metadata> metadata =
          answer.hasMetadata()
              ? Optional.of(Metadata.received(answer.getMetadata()))
              : Optional.empty();
      Entry entry = new Entry(key, Values.decode(answer.getValue()), metadata);
      return new ReadResult(Optional.of(entry), Optional.empty());
    } catch (DatastoreException error) {
      return ReadResult.failed(error);
    }
  }
}
