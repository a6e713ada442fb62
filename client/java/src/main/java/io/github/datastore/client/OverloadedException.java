package io.github.datastore.client;

/** The server or the client is too busy; nothing was done. */
public final class OverloadedException extends UnavailableException {
  private static final long serialVersionUID = 1;

  OverloadedException(Reason reason, String message, Details details) {
    super(reason, message, details);
  }
}
