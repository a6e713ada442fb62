package io.github.datastore.client;

import java.io.Serializable;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;

/**
 * What an error says beside its text: facts by name, e.g. {@code limit}, after which time the call
 * may be repeated (null if it must not), and whether the call was never sent.
 */
final class Details implements Serializable {
  private static final long serialVersionUID = 1;
  static final Details NONE = new Details(new HashMap<>(), null, false);

  private final HashMap<String, String> facts;
  private final Duration retryAfter;
  private final boolean unsent;

  private Details(HashMap<String, String> facts, Duration retryAfter, boolean unsent) {
    this.facts = facts;
    this.retryAfter = retryAfter;
    this.unsent = unsent;
  }

  static Details of(Map<String, String> facts) {
    return new Details(new HashMap<>(facts), null, false);
  }

  Details with(String name, Object fact) {
    HashMap<String, String> more = new HashMap<>(facts);
    more.put(name, String.valueOf(fact));
    return new Details(more, retryAfter, unsent);
  }

  Details retryAfter(Duration delay) {
    return new Details(facts, delay, unsent);
  }

  Details unsent() {
    return new Details(facts, retryAfter, true);
  }

  Map<String, String> facts() {
    return Map.copyOf(facts);
  }

  Optional<Duration> retryAfter() {
    return Optional.ofNullable(retryAfter);
  }

  boolean isUnsent() {
    return unsent;
  }

  String text(String name) {
    return facts.getOrDefault(name, "");
  }

  long number(String name) {
    try {
      return Long.parseLong(facts.getOrDefault(name, "0"));
    } catch (NumberFormatException error) {
      return 0;
    }
  }
}
