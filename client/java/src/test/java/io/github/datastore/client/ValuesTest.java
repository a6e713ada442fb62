package io.github.datastore.client;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.math.BigInteger;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class ValuesTest {
  private static Object roundTrip(Object value) {
    return Values.decode(Values.encode(value));
  }

  static Stream<Object> values() {
    return Stream.of(
        true,
        Long.MIN_VALUE,
        Long.MAX_VALUE,
        -0.0,
        Double.NaN,
        Double.MIN_VALUE,
        "",
        "a\u0000\uD83D\uDE00",
        Instant.parse("0001-01-01T00:00:00Z"),
        Instant.parse("9999-12-31T23:59:59.999999Z"),
        Key.of("/a:b"),
        List.of(),
        Map.of("", List.of(Map.of())),
        Collections.singletonMap("null", null));
  }

  @ParameterizedTest
  @MethodSource
  void values(Object value) {
    assertEquals(value, roundTrip(value));
  }

  @Test
  void bytesAreNotText() {
    assertArrayEquals(new byte[] {0, -1}, (byte[]) roundTrip(new byte[] {0, -1}));
  }

  @Test
  void smallerNumbersAreSentExactly() {
    assertEquals(
        List.of(1L, 2L, 3L, 4L, 0.1f + 0.0),
        roundTrip(List.of(1, (short) 2, (byte) 3, BigInteger.valueOf(4), 0.1f)));
  }

  @Test
  void whatIsReadCanBeChanged() {
    @SuppressWarnings("unchecked")
    Map<String, Object> map = (Map<String, Object>) roundTrip(Map.of("n", 1));
    map.put("n", 2);
    assertEquals(Map.of("n", 2), map);
  }

  static Stream<Arguments> refused() {
    List<Object> deep = List.of();
    for (int i = 0; i < 32; i++) {
      deep = List.of(deep);
    }
    return Stream.of(
        Arguments.of(new Object(), Reason.UNSUPPORTED_TYPE, "value"),
        Arguments.of(Map.of("a", List.of(1, 'x')), Reason.UNSUPPORTED_TYPE, "value['a'][1]"),
        Arguments.of(Map.of(1, 1), Reason.UNSUPPORTED_TYPE, "value"),
        Arguments.of(List.of(BigInteger.ONE.shiftLeft(63)), Reason.INVALID_VALUE, "value[0]"),
        Arguments.of(Map.of("t", "\uD800"), Reason.INVALID_VALUE, "value['t']"),
        Arguments.of(Map.of("\uDC00", 1), Reason.INVALID_VALUE, "value"),
        Arguments.of(Instant.ofEpochSecond(0, 1), Reason.INVALID_VALUE, "value"),
        Arguments.of(Instant.MAX, Reason.INVALID_VALUE, "value"),
        Arguments.of(deep, Reason.INVALID_VALUE, "value" + "[0]".repeat(32)));
  }

  @ParameterizedTest
  @MethodSource
  void refused(Object value, Reason reason, String path) {
    InvalidException error = assertThrows(InvalidException.class, () -> Values.encode(value));
    assertEquals(reason, error.reason());
    assertEquals(path, error.path());
    assertTrue(error.getMessage().contains(path), error.getMessage());
  }

  @Test
  void theLargestEntryIsSent() {
    Key key = Key.of("/a");
    // A value of bytes has 5 bytes of framing.
    int largest = (int) Write.MAX_ENTRY_BYTES - 2 - 5;
    assertEquals(largest, Put.of(key, new byte[largest]).entry().getValue().getBytesValue().size());
    LimitExceededException error =
        assertThrows(
            LimitExceededException.class, () -> Put.of(key, new byte[largest + 1]).entry());
    assertEquals("entry_bytes", error.limit());
    assertEquals(Write.MAX_ENTRY_BYTES, error.maximum());
  }

  @Test
  void sortKeysOrderNumbersAsTheyAre() {
    Random random = new Random(7);
    List<Number> numbers =
        new ArrayList<>(List.of(0L, Long.MAX_VALUE, Long.MIN_VALUE, 0x1p63, -0x1p63, 0x1p53));
    for (int i = 0; i < 500; i++) {
      long number = random.nextLong() >> random.nextInt(64);
      numbers.addAll(
          List.of(number, number + 1, (double) number, Double.longBitsToDouble(random.nextLong())));
    }
    numbers.removeIf(
        number -> number instanceof Double real && (real.isNaN() || real.isInfinite()));
    for (int i = 1; i < numbers.size(); i++) {
      Number one = numbers.get(i - 1);
      Number other = numbers.get(i);
      int byBytes = Arrays.compareUnsigned(SortKeys.of(one, false), SortKeys.of(other, false));
      int byValue = exact(one).compareTo(exact(other));
      assertEquals(byValue, Integer.signum(byBytes), one + " and " + other);
    }
  }

  private static java.math.BigDecimal exact(Number number) {
    return number instanceof Long whole
        ? java.math.BigDecimal.valueOf(whole)
        : new java.math.BigDecimal(number.doubleValue());
  }
}
