package io.github.datastore.client;

import com.google.protobuf.ByteString;
import com.google.protobuf.NullValue;
import com.google.protobuf.Timestamp;
import io.github.datastore.v1.ListValue;
import io.github.datastore.v1.MapValue;
import io.github.datastore.v1.Value;
import java.math.BigInteger;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Converts values to messages and back. Knows no entries or queries.
 *
 * <p>Encoding does not keep track of where it is: a fault is given its path on the way up.
 */
final class Values {
  static final int MAX_DEPTH = 32;
  private static final long FIRST_SECOND = -62_135_596_800L;
  private static final long LAST_SECOND = 253_402_300_799L;
  private static final int NAME_SHOWN = 60;
  private static final Value NULL = Value.newBuilder().setNullValue(NullValue.NULL_VALUE).build();

  private Values() {}

  /** The message of a value. Its error has the path of the part that cannot be sent. */
  static Value encode(Object value) {
    try {
      return encode(value, 0);
    } catch (Fault fault) {
      throw (InvalidException)
          fault.reason.exception(fault.text(), Details.NONE.with("path", fault.path));
    }
  }

  private static Value encode(Object value, int depth) {
    if (value instanceof String text) {
      return Value.newBuilder().setStringValue(checked(text, "")).build();
    }
    if (value instanceof Long
        || value instanceof Integer
        || value instanceof Short
        || value instanceof Byte) {
      return Value.newBuilder().setInt64Value(((Number) value).longValue()).build();
    }
    if (value instanceof Double || value instanceof Float) {
      return Value.newBuilder().setDoubleValue(((Number) value).doubleValue()).build();
    }
    if (value instanceof Boolean bool) {
      return Value.newBuilder().setBoolValue(bool).build();
    }
    if (value instanceof byte[] bytes) {
      return Value.newBuilder().setBytesValue(ByteString.copyFrom(bytes)).build();
    }
    if (value instanceof Map<?, ?> map) {
      return Value.newBuilder().setMapValue(encodeMap(map, depth)).build();
    }
    if (value instanceof List<?> list) {
      return Value.newBuilder().setListValue(encodeList(list, depth)).build();
    }
    return value == null ? NULL : encodeOther(value);
  }

  private static Value encodeOther(Object value) {
    if (value instanceof Instant instant) {
      return Value.newBuilder().setTimestampValue(timestamp(instant)).build();
    }
    if (value instanceof Key key) {
      return Value.newBuilder().setKeyValue(key.message()).build();
    }
    if (value instanceof BigInteger number) {
      if (number.bitLength() > 63) {
        int bits = number.bitLength() + 1;
        throw new Fault(
            Reason.INVALID_VALUE,
            "is an integer that does not fit in 64 bits: it takes %,d".formatted(bits));
      }
      return Value.newBuilder().setInt64Value(number.longValue()).build();
    }
    throw new Fault(
        Reason.UNSUPPORTED_TYPE,
        ("is of the type %s, which cannot be sent; values are null, Boolean, Long (or a smaller"
                + " integer), Double, String, byte[], Instant, Key, List and Map of these")
            .formatted(value.getClass().getName()));
  }

  private static MapValue encodeMap(Map<?, ?> map, int depth) {
    checkDepth(depth);
    MapValue.Builder fields = MapValue.newBuilder();
    for (Map.Entry<?, ?> member : map.entrySet()) {
      if (!(member.getKey() instanceof String name)) {
        throw new Fault(
            Reason.UNSUPPORTED_TYPE, "has a name that is not a String; the names of a map are");
      }
      checked(name, "a name in ");
      try {
        fields.putFields(name, encode(member.getValue(), depth + 1));
      } catch (Fault fault) {
        throw fault.within(
            "['%s']"
                .formatted(
                    name.length() <= NAME_SHOWN ? name : name.substring(0, NAME_SHOWN) + "..."));
      }
    }
    return fields.build();
  }

  private static ListValue encodeList(List<?> list, int depth) {
    checkDepth(depth);
    ListValue.Builder values = ListValue.newBuilder();
    for (Object held : list) {
      try {
        values.addValues(encode(held, depth + 1));
      } catch (Fault fault) {
        throw fault.within("[" + values.getValuesCount() + "]");
      }
    }
    return values.build();
  }

  private static void checkDepth(int depth) {
    if (depth >= MAX_DEPTH) {
      throw new Fault(Reason.INVALID_VALUE, "is nested more than " + MAX_DEPTH + " deep");
    }
  }

  private static String checked(String text, String what) {
    int at = Text.loneSurrogate(text);
    if (at >= 0) {
      throw new Fault(
          Reason.INVALID_VALUE,
          what,
          "has a lone surrogate at %d, which UTF-8 cannot carry".formatted(at));
    }
    return text;
  }

  /** The message of an instant, which must be in whole microseconds of the years 1 to 9999. */
  private static Timestamp timestamp(Instant instant) {
    if (instant.getEpochSecond() < FIRST_SECOND || instant.getEpochSecond() > LAST_SECOND) {
      throw new Fault(Reason.INVALID_VALUE, "is outside the years 1 to 9999 of UTC");
    }
    if (instant.getNano() % 1000 != 0) {
      throw new Fault(
          Reason.INVALID_VALUE,
          "is a timestamp finer than microseconds; use truncatedTo(ChronoUnit.MICROS)");
    }
    return Timestamp.newBuilder()
        .setSeconds(instant.getEpochSecond())
        .setNanos(instant.getNano())
        .build();
  }

  /**
   * The value of a message. Throws CORRUPT_DATA if it, or a part of it, has no kind that is known.
   */
  static Object decode(Value message) {
    return switch (message.getKindCase()) {
      case NULL_VALUE -> null;
      case BOOL_VALUE -> message.getBoolValue();
      case INT64_VALUE -> message.getInt64Value();
      case DOUBLE_VALUE -> message.getDoubleValue();
      case STRING_VALUE -> message.getStringValue();
      case BYTES_VALUE -> message.getBytesValue().toByteArray();
      case TIMESTAMP_VALUE -> instant(message.getTimestampValue());
      case KEY_VALUE -> Key.received(message.getKeyValue());
      case LIST_VALUE -> {
        List<Object> list = new ArrayList<>(message.getListValue().getValuesCount());
        message.getListValue().getValuesList().forEach(held -> list.add(decode(held)));
        yield list;
      }
      case MAP_VALUE -> {
        Map<String, Object> map = new LinkedHashMap<>();
        message.getMapValue().getFieldsMap().forEach((name, held) -> map.put(name, decode(held)));
        yield map;
      }
      case KIND_NOT_SET ->
          throw Reason.CORRUPT_DATA.exception(
              "a value has no kind, or one that this client does not know");
    };
  }

  static Instant instant(Timestamp message) {
    return Instant.ofEpochSecond(message.getSeconds(), message.getNanos());
  }

  /** A part that cannot be sent. Made without a stack: it is replaced once its path is complete. */
  private static final class Fault extends RuntimeException {
    private static final long serialVersionUID = 1;
    private final Reason reason;
    private final String what;
    private String path = "value";

    Fault(Reason reason, String message) {
      this(reason, "", message);
    }

    Fault(Reason reason, String what, String message) {
      super(message, null, false, false);
      this.reason = reason;
      this.what = what;
    }

    Fault within(String part) {
      path = "value" + part + path.substring("value".length());
      return this;
    }

    String text() {
      return what + path + " " + getMessage();
    }
  }
}
