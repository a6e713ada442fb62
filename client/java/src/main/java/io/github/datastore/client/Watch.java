package io.github.datastore.client;

import com.google.protobuf.ByteString;
import io.github.datastore.v1.WatchRequest;
import java.util.Objects;

/** What to watch, and from when on. Immutable: each method returns a watch with one part more. */
public final class Watch {
  private final WatchRequest message;

  private Watch(WatchRequest.Builder message) {
    this.message = message.build();
  }

  /**
   * The changes from now on of the entries that a query selects by key, scope and filters. With
   * {@link Query#keysOnly} they have no values; the query has no other parts.
   *
   * @param query the entries
   * @return the watch
   */
  public static Watch of(Query query) {
    Objects.requireNonNull(query, "query");
    io.github.datastore.v1.Query message = query.message();
    boolean hasMore =
        message.hasLimit()
            || message.getOffset() > 0
            || message.getOrdersCount() > 0
            || message.getFieldPathsCount() > 0
            || message.getIncludeMetadata()
            || message.hasStartAfter();
    if (hasMore) {
      throw Reason.INVALID_QUERY.exception(
          "a watch has a key, recursive, keysOnly and filters, and nothing else",
          Details.NONE.with("field", "query"));
    }
    return new Watch(WatchRequest.newBuilder().setQuery(message));
  }

  /**
   * The entries that exist come first, as puts.
   *
   * @return the watch
   */
  public Watch withInitial() {
    return new Watch(message.toBuilder().setInitial(true));
  }

  /**
   * The changes after a token, instead of those from now on.
   *
   * @param token of the same query
   * @return the watch
   */
  public Watch from(byte[] token) {
    Objects.requireNonNull(token, "token");
    return new Watch(message.toBuilder().setResumeToken(ByteString.copyFrom(token)));
  }

  WatchRequest message() {
    return message;
  }

  @Override
  public String toString() {
    return OneLine.of("Watch", message);
  }
}
