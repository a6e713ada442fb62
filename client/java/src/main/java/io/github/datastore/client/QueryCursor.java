package io.github.datastore.client;

import com.google.protobuf.ByteString;
import io.github.datastore.v1.DatastoreServiceGrpc;
import io.github.datastore.v1.QueryRequest;
import io.github.datastore.v1.QueryResponse;
import io.github.datastore.v1.QuerySummary;
import java.time.Duration;
import java.util.Iterator;
import java.util.Optional;

/** The entries that a query selects, in its order. */
public final class QueryCursor extends Cursor<Entry> {
  private final Query query;
  private QueryRequest request;
  private MessageStream<QueryRequest, QueryResponse> stream;

  /** The token at which the server's time limit last ended a call; null if it has not. */
  private ByteString lateAt;

  private long entries;
  private long entriesOfCall;
  private Summary summary;

  QueryCursor(Connection connection, Query query, Duration timeout) {
    super(connection, new RetryPolicy(Optional.of(timeout)));
    this.query = query;
    request =
        QueryRequest.newBuilder()
            .setQuery(query.message())
            .setAllowPartial(query.allowsPartial())
            .setExplain(query.isExplained())
            .build();
  }

  /**
   * Why the results ended, and how many there were.
   *
   * @return empty until all entries have been read
   */
  public Optional<Summary> summary() {
    return Optional.ofNullable(summary);
  }

  @Override
  Iterator<Entry> more() {
    while (summary == null) {
      try {
        if (stream == null) {
          begin();
        }
        QueryResponse response = stream.next();
        if (response == null) {
          throw Reason.TRUNCATED_STREAM.exception(
              "the results from %s ended without their summary".formatted(connection.server()));
        }
        return took(response);
      } catch (DatastoreException error) {
        again(error);
      }
    }
    return null;
  }

  private void begin() {
    entriesOfCall = 0;
    stream =
        held(
            new MessageStream<>(
                connection, DatastoreServiceGrpc.getQueryMethod(), request, policy));
  }

  private Iterator<Entry> took(QueryResponse response) {
    int count = response.getEntriesCount();
    entries += count;
    entriesOfCall += count;
    // From here on the reader has these entries, so the next call continues after them.
    QueryRequest.Builder next = request.toBuilder().setResumeToken(response.getResumeToken());
    if (!response.getNeedsLastEntry()) {
      next.clearLastEntry();
    } else if (count > 0) {
      next.setLastEntry(response.getEntries(count - 1));
    }
    request = next.build();
    if (response.hasSummary()) {
      finish(response.getSummary());
    }
    return new Entries(response);
  }

  private void finish(QuerySummary message) {
    if (message.getEntries() != entriesOfCall) {
      throw Reason.TRUNCATED_STREAM.exception(
          "%s sent %,d results, but %,d arrived"
              .formatted(connection.server(), message.getEntries(), entriesOfCall));
    }
    Summary.Reason reason =
        switch (message.getReason()) {
          case REASON_LIMIT -> Summary.Reason.LIMIT;
          case REASON_PARTIAL -> Summary.Reason.PARTIAL;
          default -> Summary.Reason.EXHAUSTED;
        };
    summary =
        new Summary(
            reason,
            entries,
            Summary.unreachable(message.getShardsList()),
            message.hasExplanation() ? Optional.of(message.getExplanation()) : Optional.empty());
  }

  private void again(DatastoreException error) {
    ByteString token = request.getResumeToken();
    boolean mayContinue = isCut(error);
    if (error.reason() == Reason.DEADLINE_EXCEEDED) {
      // A second time without progress in between, it would end every further call too.
      mayContinue = !token.equals(lateAt);
      lateAt = token;
    }
    again(error, !token.isEmpty(), mayContinue);
  }

  /** The entries of a message, converted as they are taken. */
  private final class Entries implements Iterator<Entry> {
    private final QueryResponse response;
    private int taken;

    Entries(QueryResponse response) {
      this.response = response;
    }

    @Override
    public boolean hasNext() {
      return taken < response.getEntriesCount();
    }

    @Override
    public Entry next() {
      boolean isWhole = response.getNeedsLastEntry() && taken == response.getEntriesCount() - 1;
      return query.entry(response.getEntries(taken++), isWhole);
    }
  }

  @Override
  void end() {
    super.end();
    stream = null;
  }
}
