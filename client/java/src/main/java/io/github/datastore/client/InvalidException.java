package io.github.datastore.client;

/**
 * An invalid argument, refused by the client before it was sent, or by the server. The reason says
 * of which kind.
 */
public final class InvalidException extends DatastoreException {
  private static final long serialVersionUID = 1;

  InvalidException(Reason reason, String message, Details details) {
    super(reason, message, details);
  }

  /**
   * The part of a value that is not valid.
   *
   * @return e.g. {@code value['a'][3]}; empty if the error is not about a value
   */
  public String path() {
    return facts().text("path");
  }

  /**
   * The argument, or the field of the request, that is not valid.
   *
   * @return e.g. {@code query.limit}; empty if only the text says it
   */
  public String field() {
    return facts().text("field");
  }
}
