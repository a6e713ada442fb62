package io.github.datastore.client;

import io.github.datastore.v1.DescribeStoreResponse;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;

/**
 * What a server serves.
 *
 * @param serverVersion the version of its software
 * @param features what its store can do beyond reading, writing and querying
 * @param limits the limits that it enforces, by the names in docs/protocol.md
 * @param message everything that the server says
 */
public record Description(
    String serverVersion,
    List<Feature> features,
    Map<String, Long> limits,
    DescribeStoreResponse message) {
  /** Something that not every store can do. */
  public enum Feature {
    /** Entries have metadata, and writes may have conditions. */
    VERSIONS,
    /** Entries can expire. */
    EXPIRY,
    /** Entries can be watched. */
    CHANGES,
    /** Batches of writes can be atomic. */
    ATOMIC
  }

  static Description received(DescribeStoreResponse message) {
    List<Feature> features =
        message.getFeaturesList().stream().flatMap(feature -> known(feature).stream()).toList();
    Map<String, Long> limits = new TreeMap<>();
    message
        .getLimits()
        .getAllFields()
        .forEach((field, limit) -> limits.put(field.getName(), (Long) limit));
    return new Description(message.getServerVersion(), features, limits, message);
  }

  private static Optional<Feature> known(io.github.datastore.v1.Feature feature) {
    return switch (feature) {
      case FEATURE_VERSIONS -> Optional.of(Feature.VERSIONS);
      case FEATURE_EXPIRY -> Optional.of(Feature.EXPIRY);
      case FEATURE_CHANGES -> Optional.of(Feature.CHANGES);
      case FEATURE_ATOMIC -> Optional.of(Feature.ATOMIC);
      case FEATURE_UNSPECIFIED, UNRECOGNIZED -> Optional.empty();
    };
  }
}
