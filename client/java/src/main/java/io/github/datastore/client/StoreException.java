package io.github.datastore.client;

/** The storage of the server failed, or what it holds cannot be read; the reason says how. */
public final class StoreException extends DatastoreException {
  private static final long serialVersionUID = 1;

  StoreException(Reason reason, String message, Details details) {
    super(reason, message, details);
  }
}
