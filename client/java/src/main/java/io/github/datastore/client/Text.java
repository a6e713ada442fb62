package io.github.datastore.client;

/**
 * What UTF-8 makes of Java's UTF-16: whether it can carry a text, its length, and its order. Pure.
 */
final class Text {
  private Text() {}

  /** The place of the first surrogate that is not one of a pair; -1 if there is none. */
  static int loneSurrogate(String text) {
    for (int i = 0; i < text.length(); i++) {
      if (!Character.isSurrogate(text.charAt(i))) {
        continue;
      }
      boolean isPair =
          Character.isHighSurrogate(text.charAt(i))
              && i + 1 < text.length()
              && Character.isLowSurrogate(text.charAt(i + 1));
      if (!isPair) {
        return i;
      }
      i++;
    }
    return -1;
  }

  /** The bytes that a text without lone surrogates takes in UTF-8. */
  static int utf8Length(String text) {
    int bytes = text.length();
    for (int i = 0; i < text.length(); i++) {
      char unit = text.charAt(i);
      if (unit >= 0x80) {
        // A pair of surrogates is two units, and four bytes.
        bytes += unit < 0x800 || Character.isSurrogate(unit) ? 1 : 2;
      }
    }
    return bytes;
  }

  /**
   * Compares by code points, as UTF-8 does: {@link String#compareTo} puts surrogates before U+E000
   * to U+FFFF.
   */
  static int compare(String a, String b) {
    int shorter = Math.min(a.length(), b.length());
    for (int i = 0; i < shorter; i++) {
      char left = a.charAt(i);
      char right = b.charAt(i);
      if (left != right) {
        boolean leftLast = Character.isSurrogate(left);
        boolean rightLast = Character.isSurrogate(right);
        return leftLast == rightLast ? Character.compare(left, right) : leftLast ? 1 : -1;
      }
    }
    return Integer.compare(a.length(), b.length());
  }
}
