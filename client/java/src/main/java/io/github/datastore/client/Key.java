package io.github.datastore.client;

import com.dynatrace.hash4j.hashing.Hasher64;
import com.dynatrace.hash4j.hashing.Hashing;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Objects;
import java.util.stream.Collectors;

/**
 * The key of one entry: its canonical text, e.g. {@code /Airport:LSZS}. Keys are ordered by code
 * points, which is the order of their UTF-8 bytes.
 */
public final class Key implements Comparable<Key> {
  /** The longest key, in bytes of UTF-8. */
  public static final int MAX_BYTES = 1024;

  /** How many slots the keys of a cluster are divided into. */
  public static final int SLOTS = 16_384;

  /** The root, {@code /}. */
  public static final Key ROOT = new Key("/");

  private static final Hasher64 XXH3 = Hashing.xxh3_64();
  private static final long HASH_BITS = (1L << 60) - 1;

  private final String text;

  private Key(String text) {
    this.text = text;
  }

  /**
   * The key of a text, which is made canonical: {@code a//b/} is {@code /a/b}.
   *
   * @param text parts separated by slashes
   * @return the key
   * @throws InvalidException with {@link Reason#INVALID_KEY} for control characters, lone
   *     surrogates, and more than {@link #MAX_BYTES}
   */
  public static Key of(String text) {
    Objects.requireNonNull(text, "text");
    for (int i = 0; i < text.length(); i++) {
      if (Character.isISOControl(text.charAt(i))) {
        throw invalid(
            "a key has no control characters, and this one has U+%04X at %d"
                .formatted((int) text.charAt(i), i));
      }
    }
    int surrogate = Text.loneSurrogate(text);
    if (surrogate >= 0) {
      throw invalid(
          "the key has a lone surrogate at %d, which UTF-8 cannot carry".formatted(surrogate));
    }
    String canonical = isCanonical(text) ? text : canonical(text);
    int bytes = Text.utf8Length(canonical);
    if (bytes > MAX_BYTES) {
      throw invalid(
          "a key has at most %,d bytes of UTF-8, and this one has %,d".formatted(MAX_BYTES, bytes));
    }
    return new Key(canonical);
  }

  /** The key that a server sent. Throws CORRUPT_DATA if it is not one, or not canonical. */
  static Key received(io.github.datastore.v1.Key message) {
    try {
      Key key = of(message.getText());
      if (key.text.equals(message.getText())) {
        return key;
      }
    } catch (InvalidException error) {
      throw Reason.CORRUPT_DATA
          .exception("an answer has a key that is not valid: " + error.getMessage())
          .causedBy(error);
    }
    throw Reason.CORRUPT_DATA.exception("an answer has a key that is not canonical");
  }

  io.github.datastore.v1.Key message() {
    return io.github.datastore.v1.Key.newBuilder().setText(text).build();
  }

  private static InvalidException invalid(String message) {
    return new InvalidException(Reason.INVALID_KEY, message, Details.NONE.with("field", "key"));
  }

  private static boolean isCanonical(String text) {
    return text.equals("/")
        || (text.startsWith("/") && !text.endsWith("/") && !text.contains("//"));
  }

  private static String canonical(String text) {
    return Arrays.stream(text.split("/"))
        .filter(part -> !part.isEmpty())
        .collect(Collectors.joining("/", "/", ""));
  }

  /**
   * The canonical text.
   *
   * @return the text, which begins with a slash
   */
  public String text() {
    return text;
  }

  /**
   * The key one level below.
   *
   * @param part e.g. {@code b}, or {@code T:x}
   * @return for {@code /a} the key {@code /a/b}
   * @throws InvalidException as {@link #of}
   */
  public Key child(String part) {
    Objects.requireNonNull(part, "part");
    return of(text + "/" + part);
  }

  /**
   * The collection that the key belongs to: {@code /a} for {@code /a/b}, {@code /a:b} and {@code
   * /a:b:c}.
   *
   * @return the key of the collection; the root for the root
   */
  public Key collection() {
    int slash = text.lastIndexOf('/');
    int colon = text.indexOf(':', slash + 1);
    if (colon > slash + 1) {
      return new Key(text.substring(0, colon));
    }
    return slash == 0 ? ROOT : new Key(text.substring(0, slash));
  }

  /**
   * The hash by which keys are placed.
   *
   * @return xxh3-64 of the UTF-8 of the text, modulo 2^60
   */
  public long hash() {
    return XXH3.hashBytesToLong(text.getBytes(StandardCharsets.UTF_8)) & HASH_BITS;
  }

  /**
   * The slot of the key, in a cluster that is sharded by key. Of one that is sharded by collection,
   * it is the slot of {@link #collection()}.
   *
   * @return from 0 to {@link #SLOTS} - 1
   */
  public int slot() {
    return (int) (hash() % SLOTS);
  }

  @Override
  public int compareTo(Key other) {
    return Text.compare(text, other.text);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof Key key && text.equals(key.text);
  }

  @Override
  public int hashCode() {
    return text.hashCode();
  }

  /** The canonical text. */
  @Override
  public String toString() {
    return text;
  }
}
