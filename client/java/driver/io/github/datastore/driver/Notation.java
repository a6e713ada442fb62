package io.github.datastore.driver;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.github.datastore.client.Key;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.time.DateTimeException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** Values as the suite writes them in JSON, to and from Java's types. */
final class Notation {
  private static final HexFormat HEX = HexFormat.of();

  private Notation() {}

  /** What a request contains, and Java or the client cannot express; the text says why. */
  static final class Inexpressible extends RuntimeException {
    private static final long serialVersionUID = 1;

    Inexpressible(String reason) {
      super(reason);
    }
  }

  static Object plain(JsonElement written) {
    Map.Entry<String, JsonElement> only = written.getAsJsonObject().entrySet().iterator().next();
    JsonElement content = only.getValue();
    return switch (only.getKey()) {
      case "null" -> null;
      case "bool" -> content.getAsBoolean();
      case "int64" -> integer(new BigInteger(content.getAsString()));
      case "double" -> Double.longBitsToDouble(Long.parseUnsignedLong(content.getAsString(), 16));
      case "string" -> content.getAsString();
      case "utf16" -> utf16(content.getAsString());
      case "utf8" -> utf8(HEX.parseHex(content.getAsString()));
      case "bytes" -> HEX.parseHex(content.getAsString());
      case "timestamp" -> instant(new BigInteger(content.getAsString()), 1_000_000);
      case "timestamp_ns" -> instant(new BigInteger(content.getAsString()), 1_000_000_000);
      case "key" -> Key.of(content.getAsString());
      case "list" -> list(content.getAsJsonArray());
      case "map" -> map(content.getAsJsonObject());
      case "foreign" -> new Thread();
      default -> throw new IllegalArgumentException(only.getKey());
    };
  }

  private static Object integer(BigInteger number) {
    return number.bitLength() < Long.SIZE ? (Object) number.longValue() : number;
  }

  /** Not by a charset, which would replace lone surrogates. */
  private static String utf16(String hex) {
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < hex.length(); i += 4) {
      text.append((char) Integer.parseInt(hex.substring(i, i + 4), 16));
    }
    return text.toString();
  }

  private static String utf8(byte[] bytes) {
    try {
      return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
    } catch (CharacterCodingException error) {
      throw new Inexpressible("a String is text, not bytes");
    }
  }

  static Instant instant(BigInteger units, long perSecond) {
    try {
      BigInteger[] parts = units.divideAndRemainder(BigInteger.valueOf(perSecond));
      long nanos = parts[1].longValue() * (1_000_000_000 / perSecond);
      return Instant.ofEpochSecond(parts[0].longValueExact(), nanos);
    } catch (ArithmeticException | DateTimeException error) {
      throw new Inexpressible("an Instant is within a thousand million years");
    }
  }

  static List<Object> list(JsonArray elements) {
    List<Object> list = new ArrayList<>();
    elements.forEach(element -> list.add(plain(element)));
    return list;
  }

  private static Map<String, Object> map(JsonObject members) {
    Map<String, Object> map = new LinkedHashMap<>();
    members.entrySet().forEach(member -> map.put(member.getKey(), plain(member.getValue())));
    return map;
  }

  static JsonObject written(Object value) {
    JsonObject written = new JsonObject();
    if (value == null) {
      written.addProperty("null", true);
    } else if (value instanceof Boolean bool) {
      written.addProperty("bool", bool);
    } else if (value instanceof Long number) {
      written.addProperty("int64", number.toString());
    } else if (value instanceof Double number) {
      written.addProperty("double", "%016x".formatted(Double.doubleToLongBits(number)));
    } else if (value instanceof String text) {
      written.addProperty("string", text);
    } else if (value instanceof byte[] bytes) {
      written.addProperty("bytes", HEX.formatHex(bytes));
    } else if (value instanceof Instant instant) {
      written.addProperty("timestamp", micros(instant));
    } else if (value instanceof Key key) {
      written.addProperty("key", key.text());
    } else if (value instanceof List<?> list) {
      JsonArray elements = new JsonArray();
      list.forEach(element -> elements.add(written(element)));
      written.add("list", elements);
    } else if (value instanceof Map<?, ?> map) {
      JsonObject members = new JsonObject();
      map.forEach((name, member) -> members.add((String) name, written(member)));
      written.add("map", members);
    } else {
      throw new IllegalArgumentException(value.getClass() + " is not a value");
    }
    return written;
  }

  static String micros(Instant instant) {
    return BigInteger.valueOf(instant.getEpochSecond())
        .multiply(BigInteger.valueOf(TimeUnit.SECONDS.toMicros(1)))
        .add(BigInteger.valueOf(instant.getNano() / 1000))
        .toString();
  }
}
