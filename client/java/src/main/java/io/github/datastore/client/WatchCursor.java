package io.github.datastore.client;

import io.github.datastore.v1.DatastoreServiceGrpc;
import io.github.datastore.v1.WatchRequest;
import io.github.datastore.v1.WatchResponse;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Optional;

/**
 * The changes of the entries that a query selects. It does not end by itself; one that is read too
 * slowly fails with {@link Reason#CHANGES_EXPIRED}. Those of one batch of writes are given
 * together.
 */
public final class WatchCursor extends Cursor<ChangeBatch> {
  private WatchRequest request;
  private MessageStream<WatchRequest, WatchResponse> stream;

  /** The first message, which says that the watch has begun. */
  private ChangeBatch first;

  private final RetryPolicy withoutDeadline = new RetryPolicy(Optional.empty());

  /** A watch that must begin within a timeout, and has no deadline after that. */
  WatchCursor(Connection connection, WatchRequest request, Duration timeout) {
    super(connection, new RetryPolicy(Optional.of(timeout)));
    this.request = request;
  }

  /** Waits until the watch has begun: all writes that begin later are shown. */
  WatchCursor begun() {
    try {
      first = batch();
      policy = withoutDeadline;
      return this;
    } catch (DatastoreException error) {
      end();
      throw error;
    }
  }

  @Override
  Iterator<ChangeBatch> more() {
    ChangeBatch batch = first;
    first = null;
    return List.of(batch == null || isEmpty(batch) ? batch() : batch).iterator();
  }

  private static boolean isEmpty(ChangeBatch batch) {
    return batch.changes().isEmpty() && !batch.isCaughtUp();
  }

  private ChangeBatch batch() {
    while (true) {
      try {
        if (stream == null) {
          stream =
              held(
                  new MessageStream<>(
                      connection, DatastoreServiceGrpc.getWatchMethod(), request, withoutDeadline));
        }
        return received();
      } catch (DatastoreException error) {
        again(error, !request.getResumeToken().isEmpty(), isCut(error));
      }
    }
  }

  /** The changes up to the next token. */
  private ChangeBatch received() {
    List<Change> changes = new ArrayList<>();
    while (true) {
      WatchResponse response = stream.next(policy);
      if (response == null) {
        throw Reason.TRUNCATED_STREAM.exception(
            "the changes from %s ended".formatted(connection.server()));
      }
      response.getChangesList().forEach(change -> changes.add(Change.received(change)));
      if (!response.getResumeToken().isEmpty()) {
        request = request.toBuilder().setResumeToken(response.getResumeToken()).build();
        return new ChangeBatch(
            List.copyOf(changes), response.getResumeToken().toByteArray(), response.getCaughtUp());
      }
    }
  }

  @Override
  void end() {
    super.end();
    stream = null;
  }
}
