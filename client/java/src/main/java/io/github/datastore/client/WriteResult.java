package io.github.datastore.client;

import java.util.Optional;

/**
 * The result of one write.
 *
 * @param metadata that of the entry as stored; empty if the write failed or deleted, or the store
 *     keeps no versions
 * @param value the new value of a {@link Patch#returningValue}
 * @param error why the write failed; empty if it did not
 */
public record WriteResult(
    Optional<Metadata> metadata, Optional<Object> value, Optional<DatastoreException> error) {
  static WriteResult of(boolean hasMetadata, io.github.datastore.v1.Metadata metadata) {
    return new WriteResult(
        hasMetadata ? Optional.of(Metadata.received(metadata)) : Optional.empty(),
        Optional.empty(),
        Optional.empty());
  }

  static WriteResult failed(DatastoreException error) {
    return new WriteResult(Optional.empty(), Optional.empty(), Optional.of(error));
  }

  WriteResult withValue(Object value) {
    return new WriteResult(metadata, Optional.ofNullable(value), error);
  }

  /**
   * A field of the new value of a {@link Patch#returningValue}.
   *
   * @param path as in {@link Entry#field(String)}
   * @return the field; null if it is missing or null
   */
  public Object field(String path) {
    return Fields.find(value.orElse(null), path);
  }

  /**
   * The result of a write that must not have failed.
   *
   * @return this
   * @throws DatastoreException if the write failed
   */
  public WriteResult orElseThrow() {
    error.ifPresent(
        failure -> {
          throw failure;
        });
    return this;
  }
}
