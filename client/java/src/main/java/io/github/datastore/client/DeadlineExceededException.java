package io.github.datastore.client;

/** No answer in time. A read changed nothing; a write may or may not have happened. */
public final class DeadlineExceededException extends DatastoreException {
  private static final long serialVersionUID = 1;

  DeadlineExceededException(Reason reason, String message, Details details) {
    super(reason, message, details);
  }
}
