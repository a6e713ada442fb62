package io.github.datastore.client;

/**
 * The store cannot be reached now. If {@link #retryAfter()} is set, nothing was done, or it was a
 * read; otherwise a write may or may not have happened.
 */
public class UnavailableException extends DatastoreException {
  private static final long serialVersionUID = 1;

  UnavailableException(Reason reason, String message, Details details) {
    super(reason, message, details);
  }
}
