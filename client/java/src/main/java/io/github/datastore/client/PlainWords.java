package io.github.datastore.client;

import java.util.LinkedHashMap;
import java.util.Map;

/**
 * What gRPC and Java say of connections that failed, in words that do not require knowledge of
 * either.
 */
final class PlainWords {
  private static final String LOST = "connection lost";
  private static final String ENDED_TLS =
      "it ended the TLS handshake; it may demand a certificate of an authority that it trusts";
  private static final String ENDED_PLAIN =
      "it closed the connection; with TLS its address begins with grpcs:";

  /** By a part of what is said; the general ones last. */
  private static final Map<String, String> TABLE = table();

  private PlainWords() {}

  private static Map<String, String> table() {
    Map<String, String> words = new LinkedHashMap<>();
    words.put("Connection refused", "connection refused");
    words.put("UnknownHost", "no such host");
    words.put("No route to host", "no route to that host");
    words.put("Network is unreachable", "network unreachable");
    words.put("connection timed out", "it does not respond");
    words.put("NotSslRecord", "it does not use TLS; without TLS its address begins with grpc:");
    words.put("CertificateExpired", "its certificate has expired");
    words.put("NotAfter", "its certificate has expired");
    words.put("CertificateNotYetValid", "its certificate is not valid yet; do the clocks agree?");
    words.put("NotBefore", "its certificate is not valid yet; do the clocks agree?");
    words.put("subject alternative", "its certificate is for another host");
    words.put("No name matching", "its certificate is for another host");
    words.put(
        "CertPath",
        "its certificate is not of an authority that is trusted here; name its file with ca");
    words.put("CertificateException", "its certificate is not trusted");
    words.put("SSL", ENDED_TLS);
    words.put("ClosedChannel", LOST);
    words.put("First received frame was not SETTINGS", ENDED_PLAIN);
    words.put("Connection reset", LOST);
    words.put("Broken pipe", LOST);
    words.put("Keepalive failed", LOST);
    words.put("Connection closed", LOST);
    words.put("Network closed", LOST);
    words.put("RST_STREAM", "it ended the call");
    words.put("GOAWAY", "it was stopped");
    return words;
  }

  /** Why a call was cut off that had been sent. */
  static String ofCut(String details) {
    return TABLE.entrySet().stream()
        .filter(known -> details.contains(known.getKey()))
        .map(Map.Entry::getValue)
        .findFirst()
        .orElse(details);
  }

  /**
   * Why there is no connection to a server. It does not say why it ends TLS, nor that it expects
   * it.
   */
  static String ofNoConnection(String server, String details) {
    String words = ofCut(details);
    if (!words.equals(LOST)) {
      return words;
    }
    return server.startsWith("grpcs:") ? ENDED_TLS : ENDED_PLAIN;
  }
}
