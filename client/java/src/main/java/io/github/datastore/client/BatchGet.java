package io.github.datastore.client;

import io.github.datastore.v1.BatchGetRequest;
import io.github.datastore.v1.BatchGetResponse;
import io.github.datastore.v1.DatastoreServiceGrpc;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** A batch of reads. Items that the server could not answer are asked for again, by the rules. */
final class BatchGet extends Batch<ReadResult> {
  private final List<Key> keys;
  private final boolean withMetadata;
  private int most;

  BatchGet(Caller caller, List<Key> keys, boolean withMetadata) {
    super(caller, new ReadResult[keys.size()]);
    this.keys = keys;
    this.withMetadata = withMetadata;
    most = caller.batchItems();
  }

  @Override
  void next() {
    if (pending.isEmpty()) {
      complete();
      return;
    }
    List<Integer> places = new ArrayList<>();
    while (places.size() < most && !pending.isEmpty()) {
      places.add(pending.poll());
    }
    ask(places);
  }

  private void ask(List<Integer> places) {
    BatchGetRequest.Builder request = BatchGetRequest.newBuilder().setIncludeMetadata(withMetadata);
    places.forEach(place -> request.addKeys(keys.get(place).message()));
    await(
        caller.read(DatastoreServiceGrpc.getBatchGetMethod(), request.build(), policy),
        response -> took(places, response.getResultsList()),
        error -> failed(places, error));
  }

  private void failed(List<Integer> places, DatastoreException error) {
    if (caller.acceptsFewer(error, places.size())) {
      most = caller.batchItems();
      putBack(places);
    } else {
      places.forEach(place -> results[place] = ReadResult.failed(error));
      if (error.reason() == Reason.DATASTORE_CLOSED || policy.isOver()) {
        endWith(ReadResult.failed(error));
      }
    }
    proceed();
  }

  private void took(List<Integer> places, List<BatchGetResponse.Result> answers) {
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
      later(backoff.get(), () -> ask(again));
    } else {
      policy.sawMessage();
      proceed();
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
