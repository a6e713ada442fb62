package io.github.datastore.client;

import java.util.Objects;
import java.util.Optional;

/**
 * Changes only when an entry expires. An absent entry fails with {@link Reason#CONDITION_FAILED}.
 *
 * @param key the key of the entry
 * @param condition what must hold for the write to be made
 * @param expiry when the entry expires from now on; empty for never
 */
public record Touch(Key key, Optional<Condition> condition, Optional<Expiry> expiry)
    implements Write {
  /**
   * A touch with all of its parts.
   *
   * @param key the key of the entry
   * @param condition what must hold; not null
   * @param expiry when the entry expires; not null
   */
  public Touch {
    Objects.requireNonNull(key, "key");
    Objects.requireNonNull(condition, "condition");
    Objects.requireNonNull(expiry, "expiry");
  }

  /**
   * Makes an entry permanent.
   *
   * @param key the key of the entry
   * @return the write
   */
  public static Touch of(Key key) {
    return new Touch(key, Optional.empty(), Optional.empty());
  }

  /**
   * The same, only if a condition holds.
   *
   * @param condition what must hold
   * @return the write
   */
  public Touch when(Condition condition) {
    return new Touch(key, Optional.of(Objects.requireNonNull(condition, "condition")), expiry);
  }

  /**
   * The same with another time.
   *
   * @param expiry when the entry expires
   * @return the write
   */
  public Touch expires(Expiry expiry) {
    return new Touch(key, condition, Optional.of(Objects.requireNonNull(expiry, "expiry")));
  }
}
