package io.github.datastore.client;

import java.util.Collection;
import java.util.List;
import java.util.Objects;

/** Refuses null in arguments of several parts, as {@link Objects} does in single ones. */
final class Nulls {
  private Nulls() {}

  /** Throws if the argument of this name, or one of its parts, is null. */
  static void checkNotNull(Object[] parts, String name) {
    for (Object part : Objects.requireNonNull(parts, name)) {
      Objects.requireNonNull(part, name);
    }
  }

  /** What the collection has now. Throws as {@link #checkNotNull}. */
  @SuppressWarnings("unchecked")
  static <T> List<T> copied(Collection<? extends T> parts, String name) {
    Object[] now = Objects.requireNonNull(parts, name).toArray();
    checkNotNull(now, name);
    return (List<T>) List.of(now);
  }
}
