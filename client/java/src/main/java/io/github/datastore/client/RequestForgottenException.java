package io.github.datastore.client;

/**
 * A write that may have been made before was not made again, because the store does not remember
 * that far back: read the entry, and decide.
 */
public final class RequestForgottenException extends DatastoreException {
  private static final long serialVersionUID = 1;

  RequestForgottenException(Reason reason, String message, Details details) {
    super(reason, message, details);
  }
}
