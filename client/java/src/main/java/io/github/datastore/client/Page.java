package io.github.datastore.client;

import java.util.List;
import java.util.Objects;
import java.util.Optional;

/**
 * One page of the results of a query.
 *
 * @param entries the entries; a page may have fewer than were asked for, or none, without being the
 *     last
 * @param next from where the next page continues; empty in the last page
 * @param unreachable the names of the shards that could not be reached, in a query that allows that
 */
public record Page(List<Entry> entries, Optional<Token> next, List<String> unreachable) {
  /**
   * The place after a page.
   *
   * @param text opaque
   * @param lastEntry the last entry of the page, if the server wants it back
   */
  public record Token(String text, Optional<Entry> lastEntry) {
    /**
     * A place with all of its parts.
     *
     * @param text opaque
     * @param lastEntry the last entry of the page; not null
     */
    public Token {
      Objects.requireNonNull(text, "text");
      Objects.requireNonNull(lastEntry, "lastEntry");
    }
  }
}
