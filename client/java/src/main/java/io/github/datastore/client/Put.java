package io.github.datastore.client;

import io.github.datastore.v1.Value;
import java.util.Objects;
import java.util.Optional;

/**
 * Stores an entry, and replaces its previous value.
 *
 * @param key the key of the entry
 * @param value its value; null deletes the entry
 * @param condition what must hold for the write to be made
 * @param expiry when the entry expires; empty for never, even if the previous one would have
 *     expired
 */
public record Put(Key key, Object value, Optional<Condition> condition, Optional<Expiry> expiry)
    implements Write {
  /**
   * A put with all of its parts.
   *
   * @param key the key of the entry
   * @param value its value, or null
   * @param condition what must hold; not null
   * @param expiry when the entry expires; not null
   */
  public Put {
    Objects.requireNonNull(key, "key");
    Objects.requireNonNull(condition, "condition");
    Objects.requireNonNull(expiry, "expiry");
  }

  /**
   * An unconditional put of an entry that never expires.
   *
   * @param key the key of the entry
   * @param value its value
   * @return the write
   */
  public static Put of(Key key, Object value) {
    return new Put(key, value, Optional.empty(), Optional.empty());
  }

  /**
   * The same, only if a condition holds.
   *
   * @param condition what must hold
   * @return the write
   */
  public Put when(Condition condition) {
    return new Put(key, value, Optional.of(Objects.requireNonNull(condition, "condition")), expiry);
  }

  /**
   * The same of an entry that expires.
   *
   * @param expiry when it expires
   * @return the write
   */
  public Put expires(Expiry expiry) {
    return new Put(key, value, condition, Optional.of(Objects.requireNonNull(expiry, "expiry")));
  }

  io.github.datastore.v1.Entry entry() {
    Value message = Values.encode(value);
    long bytes = (long) Text.utf8Length(key.text()) + message.getSerializedSize();
    if (bytes > MAX_ENTRY_BYTES) {
      throw Reason.LIMIT_EXCEEDED.exception(
          "an entry has at most %,d bytes, and that of %s has %,d"
              .formatted(MAX_ENTRY_BYTES, key, bytes),
          Details.NONE.with("limit", "entry_bytes").with("maximum", MAX_ENTRY_BYTES));
    }
    return io.github.datastore.v1.Entry.newBuilder()
        .setKey(key.message())
        .setValue(message)
        .build();
  }
}
