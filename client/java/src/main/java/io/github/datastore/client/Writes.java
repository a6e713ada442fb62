package io.github.datastore.client;

import io.github.datastore.v1.Attempt;
import io.github.datastore.v1.BatchWriteRequest;

/** The messages of writes. Knows no calls. */
final class Writes {
  private Writes() {}

  /**
   * A write as one of a batch. Throws the errors of values, and LIMIT_EXCEEDED for an entry that is
   * too large.
   */
  static BatchWriteRequest.Write message(Write write) {
    BatchWriteRequest.Write.Builder message = BatchWriteRequest.Write.newBuilder();
    if (write instanceof Put put) {
      message.setPut(put.entry());
      put.condition().ifPresent(condition -> message.setCondition(condition.message()));
      put.expiry().ifPresent(expiry -> message.setExpiry(expiry.message()));
    } else if (write instanceof Delete delete) {
      message.setDelete(delete.key().message());
      delete.condition().ifPresent(condition -> message.setCondition(condition.message()));
    } else if (write instanceof Patch patch) {
      message.setPatch(patch.message());
      patch.condition().ifPresent(condition -> message.setCondition(condition.message()));
      patch.expiry().ifPresent(expiry -> message.setExpiry(expiry.message()));
    } else if (write instanceof Touch touch) {
      message.setTouch(touch.key().message());
      touch.condition().ifPresent(condition -> message.setCondition(condition.message()));
      touch.expiry().ifPresent(expiry -> message.setExpiry(expiry.message()));
    }
    return message.build();
  }

  /** The same write as another attempt of it. */
  static BatchWriteRequest.Write attempted(BatchWriteRequest.Write message, Attempt attempt) {
    return attempt == null ? message : message.toBuilder().setAttempt(attempt).build();
  }
}
