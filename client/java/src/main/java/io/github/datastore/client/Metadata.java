package io.github.datastore.client;

import com.google.protobuf.Timestamp;
import java.time.Instant;
import java.util.Optional;

/**
 * What a store keeps about an entry besides its value. Times are in whole microseconds, by the
 * clock of the store.
 *
 * @param version the version, at least 1; a later one of the same key is greater
 * @param createTime when the key was first written since it was last absent
 * @param updateTime when the entry was last written
 * @param expireTime when it expires; empty if never
 */
public record Metadata(
    long version, Instant createTime, Instant updateTime, Optional<Instant> expireTime) {
  static Metadata received(io.github.datastore.v1.Metadata message) {
    return new Metadata(
        message.getVersion(),
        Values.instant(message.getCreateTime()),
        Values.instant(message.getUpdateTime()),
        message.hasExpireTime()
            ? Optional.of(Values.instant(message.getExpireTime()))
            : Optional.empty());
  }

  io.github.datastore.v1.Metadata message() {
    io.github.datastore.v1.Metadata.Builder message =
        io.github.datastore.v1.Metadata.newBuilder()
            .setVersion(version)
            .setCreateTime(timestamp(createTime))
            .setUpdateTime(timestamp(updateTime));
    expireTime.ifPresent(time -> message.setExpireTime(timestamp(time)));
    return message.build();
  }

  private static Timestamp timestamp(Instant time) {
    return Timestamp.newBuilder()
        .setSeconds(time.getEpochSecond())
        .setNanos(time.getNano())
        .build();
  }
}
