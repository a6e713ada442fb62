package io.github.datastore.client;

/** More than a limit allows; nothing was done. */
public final class LimitExceededException extends DatastoreException {
  private static final long serialVersionUID = 1;

  LimitExceededException(Reason reason, String message, Details details) {
    super(reason, message, details);
  }

  /**
   * The name of the limit.
   *
   * @return as in docs/protocol.md, e.g. {@code entry_bytes}
   */
  public String limit() {
    return facts().text("limit");
  }

  /**
   * The value of the limit.
   *
   * @return in the unit that its name ends with; 0 if it is not known
   */
  public long maximum() {
    return facts().number("maximum");
  }
}
