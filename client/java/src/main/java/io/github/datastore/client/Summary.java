package io.github.datastore.client;

import io.github.datastore.v1.Explanation;
import io.github.datastore.v1.ShardSummary;
import java.util.List;
import java.util.Optional;

/**
 * Why the results of a query ended, and how many there were.
 *
 * @param reason why they ended
 * @param entries how many entries were returned, over all calls that the query took
 * @param unreachable the names of the shards that could not be reached, in a query that allows that
 * @param explanation how the query was evaluated in its last call, if that was asked for
 */
public record Summary(
    Reason reason, long entries, List<String> unreachable, Optional<Explanation> explanation) {
  /** Why the results of a query ended. */
  public enum Reason {
    /** There are no more. */
    EXHAUSTED,
    /** The query's limit was reached. */
    LIMIT,
    /** Some shards could not be reached, and the query allowed partial results. */
    PARTIAL
  }

  static List<String> unreachable(List<ShardSummary> shards) {
    return shards.stream().filter(ShardSummary::hasStatus).map(ShardSummary::getShard).toList();
  }
}
