package io.github.datastore.client;

import java.time.Duration;
import java.util.Map;
import java.util.Optional;

/**
 * The root of all errors of this client. They are unchecked; decide by the class or the {@link
 * #reason()}, never by the text.
 *
 * <pre>
 * DatastoreException
 * ├── InvalidException            an invalid argument, key, value, query, token or type
 * ├── LimitExceededException      more than a named limit allows
 * ├── ConditionFailedException    the condition of a write did not hold
 * ├── BatchAbortedException       another write of the atomic batch failed
 * ├── RequestForgottenException   whether a repeated write was made is not known
 * ├── ChangesExpiredException     a watch has fallen behind what is kept
 * ├── UnsupportedException        the store cannot do this
 * ├── DeadlineExceededException   no answer in time; a write may have happened
 * ├── UnavailableException        the store cannot be reached now
 * │   ├── OverloadedException     too busy; nothing was done
 * │   └── TruncatedStreamException  results ended without their summary
 * ├── AccessException             the caller is not known, or lacks a right
 * ├── WrongShardException         not a key of this server
 * ├── DatastoreClosedException    the client was closed
 * └── StoreException              the storage of the server failed
 * </pre>
 */
public class DatastoreException extends RuntimeException {
  private static final long serialVersionUID = 1;

  private final Reason reason;
  private final Details details;

  DatastoreException(Reason reason, String message, Details details) {
    super(message.isEmpty() ? reason.words() : message);
    this.reason = reason;
    this.details = details;
  }

  /**
   * Why the call failed.
   *
   * @return the reason
   */
  public Reason reason() {
    return reason;
  }

  /**
   * What the error says beside its text.
   *
   * @return facts by their names in docs/protocol.md, e.g. {@code limit} and {@code maximum}, and
   *     {@code request_id}, the id of the call in the server's log
   */
  public Map<String, String> details() {
    return details.facts();
  }

  /**
   * The shard that failed.
   *
   * @return its name, if it is known
   */
  public Optional<String> shard() {
    return Optional.of(details.text("shard")).filter(name -> !name.isEmpty());
  }

  /**
   * When the same call, also a write, may be repeated: it did nothing, or was a read.
   *
   * @return the delay; empty if the call must not be repeated unchanged
   */
  public Optional<Duration> retryAfter() {
    return details.retryAfter();
  }

  Details facts() {
    return details;
  }

  /**
   * Whether a write that ended with this error may have been made all the same.
   *
   * @return whether its outcome is not known
   */
  public boolean mayHaveBeenMade() {
    boolean lost = reason == Reason.UNAVAILABLE || reason == Reason.DEADLINE_EXCEEDED;
    return lost && retryAfter().isEmpty() && !details.isUnsent();
  }

  DatastoreException causedBy(Throwable cause) {
    initCause(cause);
    return this;
  }
}
