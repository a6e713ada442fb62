package io.github.datastore.client;

import java.util.Optional;

/**
 * The result of one read of a batch.
 *
 * @param entry the entry, with its metadata if it was asked for; empty if the key is absent or the
 *     read failed
 * @param error why the read failed; empty if it did not
 */
public record ReadResult(Optional<Entry> entry, Optional<DatastoreException> error) {
  static ReadResult failed(DatastoreException error) {
    return new ReadResult(Optional.empty(), Optional.of(error));
  }

  /**
   * The entry of a read that must not have failed.
   *
   * @return the entry; empty if the key is absent
   * @throws DatastoreException if the read failed
   */
  public Optional<Entry> orElseThrow() {
    error.ifPresent(
        failure -> {
          throw failure;
        });
    return entry;
  }
}
