package io.github.datastore.client;

/**
 * One write, alone or of a batch: a {@link Put}, {@link Delete}, {@link Patch} or {@link Touch}.
 */
public sealed interface Write permits Put, Delete, Patch, Touch {
  /** The largest entry, key and value together, in bytes. */
  long MAX_ENTRY_BYTES = 3L * 1024 * 1024;

  /**
   * The key of the entry to write.
   *
   * @return the key
   */
  Key key();
}
