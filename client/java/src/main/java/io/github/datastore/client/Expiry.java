package io.github.datastore.client;

import com.google.protobuf.Timestamp;
import java.time.Duration;
import java.time.Instant;
import java.util.Objects;

/** When an entry expires: from then on it is absent to every call. */
public final class Expiry {
  private final io.github.datastore.v1.Expiry message;

  private Expiry(io.github.datastore.v1.Expiry.Builder message) {
    this.message = message.build();
  }

  /**
   * So long after the write, by the clock of the store.
   *
   * @param duration above 0
   * @return the expiry
   */
  public static Expiry in(Duration duration) {
    Objects.requireNonNull(duration, "duration");
    if (duration.isZero() || duration.isNegative()) {
      throw Reason.INVALID.exception(
          "an entry expires in more than 0 s, not in " + duration,
          Details.NONE.with("field", "expiry.expires_in"));
    }
    return new Expiry(
        io.github.datastore.v1.Expiry.newBuilder()
            .setExpiresIn(
                com.google.protobuf.Duration.newBuilder()
                    .setSeconds(duration.getSeconds())
                    .setNanos(duration.getNano())));
  }

  /**
   * At this instant, of which whole microseconds count. One that has passed deletes the entry.
   *
   * @param instant the instant
   * @return the expiry
   */
  public static Expiry at(Instant instant) {
    Objects.requireNonNull(instant, "instant");
    return new Expiry(
        io.github.datastore.v1.Expiry.newBuilder()
            .setExpireTime(
                Timestamp.newBuilder()
                    .setSeconds(instant.getEpochSecond())
                    .setNanos(instant.getNano())));
  }

  io.github.datastore.v1.Expiry message() {
    return message;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof Expiry expiry && message.equals(expiry.message);
  }

  @Override
  public int hashCode() {
    return message.hashCode();
  }

  /** E.g. {@code in PT1H} or {@code at 2026-12-31T00:00:00Z}. */
  @Override
  public String toString() {
    if (message.hasExpiresIn()) {
      com.google.protobuf.Duration in = message.getExpiresIn();
      return "in " + Duration.ofSeconds(in.getSeconds(), in.getNanos());
    }
    Timestamp at = message.getExpireTime();
    return "at " + Instant.ofEpochSecond(at.getSeconds(), at.getNanos());
  }
}
