package io.github.datastore.client;

import com.google.protobuf.ByteString;
import java.security.SecureRandom;
import java.util.concurrent.TimeUnit;

/**
 * The attempts of one write, which a store that remembers requests makes once. An attempt whose
 * outcome is not known may be followed by another.
 */
final class Attempt implements Repeats {
  private static final SecureRandom RANDOM = new SecureRandom();
  private static final int ID_BYTES = 16;

  private final ByteString id;
  private Moment sent;

  /** When the first attempt was sent that may have been made, and the error that it ended with. */
  private Moment first;

  private DatastoreException unknown;

  Attempt() {
    byte[] random = new byte[ID_BYTES];
    RANDOM.nextBytes(random);
    id = ByteString.copyFrom(random);
  }

  /** A moment on both clocks: one is never set, the other runs while the machine sleeps. */
  private record Moment(long nanos, long millis) {
    static Moment now() {
      return new Moment(System.nanoTime(), System.currentTimeMillis());
    }

    long ageMicros() {
      long byWall = TimeUnit.MILLISECONDS.toMicros(System.currentTimeMillis() - millis);
      return Math.max(TimeUnit.NANOSECONDS.toMicros(System.nanoTime() - nanos), byWall);
    }
  }

  /** The message of the attempt that is sent now. */
  io.github.datastore.v1.Attempt sent() {
    sent = Moment.now();
    long age = first == null ? 0 : Math.max(1, first.ageMicros());
    return io.github.datastore.v1.Attempt.newBuilder().setRequestId(id).setAgeUs(age).build();
  }

  @Override
  public boolean mayFollow(DatastoreException error) {
    if (!error.mayHaveBeenMade()) {
      return error.retryAfter().isPresent();
    }
    if (first == null) {
      first = sent;
      unknown = error;
    }
    return true;
  }

  /**
   * The error of a write whose last attempt ended with one. If that did not reach the store, the
   * outcome of the write is that of an earlier attempt: not known.
   */
  @Override
  public DatastoreException outcome(DatastoreException error) {
    boolean hasNotReached =
        error instanceof UnavailableException || error.reason() == Reason.WRONG_SHARD;
    return unknown != null && hasNotReached ? unknown : error;
  }
}
