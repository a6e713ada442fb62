package io.github.datastore.client;

/** The client was closed. */
public final class DatastoreClosedException extends DatastoreException {
  private static final long serialVersionUID = 1;

  DatastoreClosedException(Reason reason, String message, Details details) {
    super(reason, message, details);
  }
}
