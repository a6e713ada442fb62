package io.github.datastore.client;

/** The condition of a write did not hold, and nothing was changed. */
public final class ConditionFailedException extends DatastoreException {
  private static final long serialVersionUID = 1;

  ConditionFailedException(Reason reason, String message, Details details) {
    super(reason, message, details);
  }

  /**
   * The version of the entry now.
   *
   * @return 0 if there is no entry
   */
  public long version() {
    return facts().number("version");
  }
}
