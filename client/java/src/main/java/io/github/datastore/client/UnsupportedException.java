package io.github.datastore.client;

/** The store cannot do this, or the server does not have the method; nothing was done. */
public final class UnsupportedException extends DatastoreException {
  private static final long serialVersionUID = 1;

  UnsupportedException(Reason reason, String message, Details details) {
    super(reason, message, details);
  }
}
