package io.github.datastore.client;

import java.util.Objects;
import java.util.Optional;

/**
 * An entry of the store.
 *
 * @param key its key
 * @param value its value; null in the results of a keys-only query
 * @param metadata what the store knows about it, if that was asked for
 */
public record Entry(Key key, Object value, Optional<Metadata> metadata) {
  /**
   * An entry with all of its parts.
   *
   * @param key the key of the entry
   * @param value its value, or null
   * @param metadata what the store knows about it; not null
   */
  public Entry {
    Objects.requireNonNull(key, "key");
    Objects.requireNonNull(metadata, "metadata");
  }

  /**
   * An entry without metadata.
   *
   * @param key its key
   * @param value its value
   */
  public Entry(Key key, Object value) {
    this(key, value, Optional.empty());
  }

  /**
   * A field of the value.
   *
   * @param path the name of a member, or names joined by dots for nested maps
   * @return the field; null if it is missing or null
   */
  public Object field(String path) {
    return Fields.find(value, path);
  }

  /**
   * A field of the value, of a type.
   *
   * @param <T> the type
   * @param path as in {@link #field(String)}
   * @param type its class, e.g. {@code Long.class}
   * @return the field; empty if it is missing, null or of another type
   */
  public <T> Optional<T> field(String path, Class<T> type) {
    return Optional.ofNullable(field(path)).filter(type::isInstance).map(type::cast);
  }

  static Entry received(io.github.datastore.v1.Entry message) {
    return new Entry(
        Key.received(message.getKey()),
        message.hasValue() ? Values.decode(message.getValue()) : null,
        message.hasMetadata()
            ? Optional.of(Metadata.received(message.getMetadata()))
            : Optional.empty());
  }

  io.github.datastore.v1.Entry message() {
    io.github.datastore.v1.Entry.Builder message =
        io.github.datastore.v1.Entry.newBuilder()
            .setKey(key.message())
            .setValue(Values.encode(value));
    metadata.ifPresent(known -> message.setMetadata(known.message()));
    return message.build();
  }
}
