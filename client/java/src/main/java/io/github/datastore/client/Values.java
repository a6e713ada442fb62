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
      throw fault.exception();
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
    checkDepth(depth, Reason.INVALID_VALUE);
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
        throw fault.within(member(name));
      }
    }
    return fields.build();
  }

  /** A member of a map as paths show it. */
  private static String member(String name) {
    return "['%s']"
        .formatted(name.length() <= NAME_SHOWN ? name : name.substring(0, NAME_SHOWN) + "...");
  }

  private static ListValue encodeList(List<?> list, int depth) {
    checkDepth(depth, Reason.INVALID_VALUE);
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

  private static void checkDepth(int depth, Reason reason) {
    if (depth >= MAX_DEPTH) {
      throw new Fault(reason, "is nested more than " + MAX_DEPTH + " deep");
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
   * The value of a message. Throws CORRUPT_DATA, with the path of the part, if it, or a part of it,
   * has no kind that is known, or is not valid.
   */
  static Object decode(Value message) {
    try {
      return decode(message, 0);
    } catch (Fault fault) {
      throw fault.exception();
    }
  }

  private static Object decode(Value message, int depth) {
    return switch (message.getKindCase()) {
      case NULL_VALUE -> null;
      case BOOL_VALUE -> message.getBoolValue();
      case INT64_VALUE -> message.getInt64Value();
      case DOUBLE_VALUE -> message.getDoubleValue();
      case STRING_VALUE -> message.getStringValue();
      case BYTES_VALUE -> message.getBytesValue().toByteArray();
      case TIMESTAMP_VALUE -> decodeInstant(message.getTimestampValue());
      case KEY_VALUE -> decodeKey(message.getKeyValue());
      case LIST_VALUE -> decodeList(message.getListValue(), depth);
      case MAP_VALUE -> decodeMap(message.getMapValue(), depth);
      case KIND_NOT_SET ->
          throw new Fault(
              Reason.CORRUPT_DATA, "has no kind, or one that this client does not know");
    };
  }

  private static List<Object> decodeList(ListValue message, int depth) {
    checkDepth(depth, Reason.CORRUPT_DATA);
    List<Object> list = new ArrayList<>(message.getValuesCount());
    for (Value held : message.getValuesList()) {
      try {
        list.add(decode(held, depth + 1));
      } catch (Fault fault) {
        throw fault.within("[" + list.size() + "]");
      }
    }
    return list;
  }

  private static Map<String, Object> decodeMap(MapValue message, int depth) {
    checkDepth(depth, Reason.CORRUPT_DATA);
    Map<String, Object> map = new LinkedHashMap<>();
    for (Map.Entry<String, Value> held : message.getFieldsMap().entrySet()) {
      try {
        map.put(held.getKey(), decode(held.getValue(), depth + 1));
      } catch (Fault fault) {
        throw fault.within(member(held.getKey()));
      }
    }
    return map;
  }

  private static Key decodeKey(io.github.datastore.v1.Key message) {
    try {
      return Key.received(message);
    } catch (DatastoreException error) {
      throw new Fault(Reason.CORRUPT_DATA, "is a key that is not valid");
    }
  }

  private static Instant decodeInstant(Timestamp message) {
    long seconds = message.getSeconds();
    int nanos = message.getNanos();
    if (seconds < FIRST_SECOND || seconds > LAST_SECOND) {
      throw new Fault(Reason.CORRUPT_DATA, "is a timestamp outside the years 1 to 9999 of UTC");
    }
    if (nanos < 0 || nanos > 999_999_000 || nanos % 1000 != 0) {
      throw new Fault(Reason.CORRUPT_DATA, "is a timestamp that is not in whole microseconds");
    }
    return Instant.ofEpochSecond(seconds, nanos);
  }

  /** A time that a server sent. Throws CORRUPT_DATA if it is not one, as {@link #decode}. */
  static Instant instant(Timestamp message) {
    try {
      return decodeInstant(message);
    } catch (Fault fault) {
      throw fault.exception();
    }
  }

  /**
   * A part that cannot be sent, or read. Made without a stack: it is replaced once its path is
   * complete.
   */
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

    DatastoreException exception() {
      return reason.exception(what + path + " " + getMessage(), Details.NONE.with("path", path));
    }
  }
}
