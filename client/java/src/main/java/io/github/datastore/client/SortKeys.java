package io.github.datastore.client;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.Comparator;
import java.util.List;
import java.util.Map;

/**
 * Encodes values as bytes that compare as the values do in the total order; see docs/protocol.md.
 * Pure.
 */
final class SortKeys {
  private static final double TWO_TO_63 = 0x1p63;

  private SortKeys() {}

  /** The sort key of one value, which can be sent. */
  static byte[] of(Object value, boolean descending) {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    write(out, value);
    byte[] key = out.toByteArray();
    if (descending) {
      for (int i = 0; i < key.length; i++) {
        key[i] ^= (byte) 0xff;
      }
    }
    return key;
  }

  private static void write(ByteArrayOutputStream out, Object value) {
    if (value == null) {
      out.write(1);
    } else if (value instanceof Boolean bool) {
      out.write(2);
      out.write(bool ? 1 : 0);
    } else if (value instanceof Double || value instanceof Float) {
      writeNumber(out, ((Number) value).doubleValue(), 0);
    } else if (value instanceof Number number) {
      writeInteger(out, number.longValue());
    } else if (value instanceof Instant instant) {
      out.write(4);
      long micros =
          Math.addExact(
              Math.multiplyExact(instant.getEpochSecond(), 1_000_000L), instant.getNano() / 1000);
      writeLong(out, micros ^ Long.MIN_VALUE);
    } else if (value instanceof String text) {
      writeEscaped(out, 5, text.getBytes(StandardCharsets.UTF_8));
    } else if (value instanceof byte[] bytes) {
      writeEscaped(out, 6, bytes);
    } else if (value instanceof Key key) {
      writeEscaped(out, 7, key.text().getBytes(StandardCharsets.UTF_8));
    } else if (value instanceof List<?> list) {
      out.write(8);
      list.forEach(held -> write(out, held));
      out.write(0);
    } else {
      out.write(9);
      writeMembers(out, (Map<?, ?>) value);
      out.write(0);
    }
  }

  private static void writeMembers(ByteArrayOutputStream out, Map<?, ?> map) {
    map.entrySet().stream()
        .sorted(Comparator.comparing(member -> (String) member.getKey(), Text::compare))
        .forEach(
            member -> {
              write(out, member.getKey());
              write(out, member.getValue());
            });
  }

  private static void writeInteger(ByteArrayOutputStream out, long number) {
    double nearest = number;
    // A cast back would saturate at 2^63.
    long remainder = nearest == TWO_TO_63 ? number - Long.MAX_VALUE - 1 : number - (long) nearest;
    writeNumber(out, nearest, (int) remainder);
  }

  private static void writeNumber(ByteArrayOutputStream out, double nearest, int remainder) {
    out.write(3);
    if (Double.isNaN(nearest)) {
      out.writeBytes(new byte[10]);
      return;
    }
    // Adding 0.0 makes -0.0 to 0.0.
    long bits = Double.doubleToRawLongBits(nearest + 0.0);
    writeLong(out, bits < 0 ? ~bits : bits ^ Long.MIN_VALUE);
    out.write((remainder + 0x8000) >> 8);
    out.write(remainder + 0x8000);
  }

  private static void writeLong(ByteArrayOutputStream out, long number) {
    out.writeBytes(ByteBuffer.allocate(Long.BYTES).putLong(number).array());
  }

  private static void writeEscaped(ByteArrayOutputStream out, int kind, byte[] bytes) {
    out.write(kind);
    for (byte each : bytes) {
      out.write(each);
      if (each == 0) {
        out.write(0xff);
      }
    }
    out.write(0);
    out.write(1);
  }
}
