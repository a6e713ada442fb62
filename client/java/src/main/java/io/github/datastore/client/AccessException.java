package io.github.datastore.client;

/**
 * The server does not know the caller, with {@link Reason#UNAUTHENTICATED}, or the caller lacks a
 * right; nothing was done.
 */
public final class AccessException extends DatastoreException {
  private static final long serialVersionUID = 1;

  AccessException(Reason reason, String message, Details details) {
    super(reason, message, details);
  }

  /**
   * The right that the caller lacks.
   *
   * @return {@code read}, {@code write}, {@code delete} or {@code admin}; empty if the caller is
   *     not known
   */
  public String right() {
    return facts().text("right");
  }
}
