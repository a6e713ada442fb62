package io.github.datastore.client;

import io.github.datastore.v1.Precondition;

/**
 * What must hold of an entry for a write to be made; the store decides it in one step with the
 * write.
 */
public final class Condition {
  private final Precondition message;

  private Condition(Precondition message) {
    this.message = message;
  }

  /**
   * The key has an entry.
   *
   * @return the condition
   */
  public static Condition exists() {
    return new Condition(Precondition.newBuilder().setExists(true).build());
  }

  /**
   * The key has no entry.
   *
   * @return the condition
   */
  public static Condition absent() {
    return new Condition(Precondition.newBuilder().setExists(false).build());
  }

  /**
   * The entry has this version.
   *
   * @param version at least 1
   * @return the condition
   */
  public static Condition version(long version) {
    if (version < 1) {
      throw Reason.INVALID.exception(
          "a version is at least 1, not " + version,
          Details.NONE.with("field", "condition.version"));
    }
    return new Condition(Precondition.newBuilder().setVersion(version).build());
  }

  Precondition message() {
    return message;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof Condition condition && message.equals(condition.message);
  }

  @Override
  public int hashCode() {
    return message.hashCode();
  }

  /** E.g. {@code exists}, {@code absent} or {@code version 3}. */
  @Override
  public String toString() {
    if (message.hasVersion()) {
      return "version " + message.getVersion();
    }
    return message.getExists() ? "exists" : "absent";
  }
}
