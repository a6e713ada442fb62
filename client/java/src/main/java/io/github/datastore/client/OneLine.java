package io.github.datastore.client;

import com.google.protobuf.MessageOrBuilder;
import com.google.protobuf.TextFormat;

/** How what is asked for is shown in logs and debuggers. Pure. */
final class OneLine {
  private OneLine() {}

  /** A message, e.g. {@code Watch[initial: true]}. */
  static String of(String name, MessageOrBuilder message) {
    String lines = TextFormat.printer().escapingNonAscii(false).printToString(message);
    return "%s[%s]".formatted(name, lines.strip().replaceAll("\\n *", " "));
  }
}
