package io.github.datastore.client;

/** Results ended without their summary: some may be missing. */
public final class TruncatedStreamException extends UnavailableException {
  private static final long serialVersionUID = 1;

  TruncatedStreamException(Reason reason, String message, Details details) {
    super(reason, message, details);
  }
}
