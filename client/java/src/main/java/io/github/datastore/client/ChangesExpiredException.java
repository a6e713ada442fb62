package io.github.datastore.client;

/**
 * The changes after the token of a watch are not kept any more, or the watch was read too slowly:
 * list the entries again.
 */
public final class ChangesExpiredException extends DatastoreException {
  private static final long serialVersionUID = 1;

  ChangesExpiredException(Reason reason, String message, Details details) {
    super(reason, message, details);
  }
}
