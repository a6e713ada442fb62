package io.github.datastore.client;

import java.util.Objects;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** A server: where it listens, and whether it is reached over TLS. */
record Target(String host, int port, boolean isSecure) {
  static final int DEFAULT_PORT = 7420;
  private static final Pattern ADDRESS =
      Pattern.compile(
          "(?:(grpcs?)://)?(\\[[0-9a-fA-F:.]+\\]|[^\\s/:@\\[\\],]+)(?::([0-9]{1,5}))?/?");

  /**
   * The server at an address: {@code HOST:PORT}, {@code grpc://HOST:PORT}, or over TLS {@code
   * grpcs://HOST:PORT}.
   */
  static Target of(String address) {
    Objects.requireNonNull(address, "addresses");
    if (address.contains(",")) {
      throw Reason.CONFIG.exception(
          "'%s' is not one address; several are several arguments, e.g. connect(\"%s\")"
              .formatted(address, String.join("\", \"", address.split("\\s*,\\s*"))));
    }
    Matcher match = ADDRESS.matcher(address);
    if (match.matches()) {
      int port = match.group(3) == null ? DEFAULT_PORT : Integer.parseInt(match.group(3));
      if (port > 0 && port < 65536) {
        return new Target(match.group(2), port, "grpcs".equals(match.group(1)));
      }
    }
    throw Reason.CONFIG.exception(
        ("'%s' is not the address of a server; write grpc://HOST:PORT, or grpcs://HOST:PORT for"
                + " TLS, e.g. grpc://127.0.0.1:%d")
            .formatted(address, DEFAULT_PORT));
  }

  boolean isLoopback() {
    return host.equals("localhost")
        || host.equals("[::1]")
        || host.matches("127\\.[0-9]+\\.[0-9]+\\.[0-9]+");
  }

  String hostAndPort() {
    return host + ":" + port;
  }

  @Override
  public String toString() {
    return (isSecure ? "grpcs://" : "grpc://") + hostAndPort();
  }
}
