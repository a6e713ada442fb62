package io.github.datastore.client;

import java.util.Objects;
import java.util.Optional;

/**
 * Removes an entry. To delete an absent one is not an error.
 *
 * @param key the key of the entry
 * @param condition what must hold for the write to be made
 */
public record Delete(Key key, Optional<Condition> condition) implements Write {
  /**
   * A delete with all of its parts.
   *
   * @param key the key of the entry
   * @param condition what must hold; not null
   */
  public Delete {
    Objects.requireNonNull(key, "key");
    Objects.requireNonNull(condition, "condition");
  }

  /**
   * An unconditional delete.
   *
   * @param key the key of the entry
   * @return the write
   */
  public static Delete of(Key key) {
    return new Delete(key, Optional.empty());
  }

  /**
   * The same, only if a condition holds.
   *
   * @param condition what must hold
   * @return the write
   */
  public Delete when(Condition condition) {
    return new Delete(key, Optional.of(Objects.requireNonNull(condition, "condition")));
  }
}
