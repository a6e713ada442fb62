package io.github.datastore.client;

/** The write was not made, because another one of its atomic batch failed. */
public final class BatchAbortedException extends DatastoreException {
  private static final long serialVersionUID = 1;

  BatchAbortedException(Reason reason, String message, Details details) {
    super(reason, message, details);
  }

  /**
   * The place of the write that failed.
   *
   * @return counted from 0
   */
  public int index() {
    return (int) facts().number("index");
  }
}
