// Text as the protocol sees it: UTF-8 without lone surrogates, ordered by code points. Pure.

const encoder = new TextEncoder();

/** The UTF-8 of a text. */
export function utf8(text: string): Uint8Array {
  return encoder.encode(text);
}

/** The number of bytes of a text's UTF-8. */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    // A surrogate is one of two units that take four bytes together.
    if (unit > 0x7f) bytes += unit > 0x7ff && (unit < 0xd800 || unit > 0xdfff) ? 2 : 1;
  }
  return bytes;
}

/** The first place of a lone surrogate, which UTF-8 cannot carry; -1 if there is none. */
export function loneSurrogate(text: string): number {
  if (text.isWellFormed()) return -1;
  return text.search(/\p{Surrogate}/u);
}

/** Negative, 0 or positive as `a` comes before, with or after `b` by code points, the order of their UTF-8. */
export function compareText(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let at = 0; at < length; at++) {
    const [first, second] = [a.charCodeAt(at), b.charCodeAt(at)];
    if (first !== second) return rankOf(first) - rankOf(second);
  }
  return a.length - b.length;
}

/** The rank of a unit of UTF-16: a surrogate is of a code point above all those of single units. */
function rankOf(unit: number): number {
  if (unit < 0xd800) return unit;
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800;
}
