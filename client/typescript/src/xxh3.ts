// XXH3-64 with seed 0, for input of up to 1,024 bytes, which is the longest key.
//
// In BigInts, because no package offers it to both Node.js and browsers without a native build or asynchronous loading.
// Source: the specification in xxHash's doc/xxhash_spec.md. Pure.

const MASK = (1n << 64n) - 1n;

const PRIME32_1 = 0x9e3779b1n;
const PRIME32_2 = 0x85ebca77n;
const PRIME32_3 = 0xc2b2ae3dn;
const PRIME64_1 = 0x9e3779b185ebca87n;
const PRIME64_2 = 0xc2b2ae3d27d4eb4fn;
const PRIME64_3 = 0x165667b19e3779f9n;
const PRIME64_4 = 0x85ebca77c2b2ae63n;
const PRIME64_5 = 0x27d4eb2f165667c5n;
const PRIME_MX1 = 0x165667919e3779f9n;
const PRIME_MX2 = 0x9fb21c651e98df25n;

const SECRET = viewOf(
  Uint8Array.from(
    (
      "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221" +
      "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8" +
      "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb" +
      "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
    ).match(/../g) ?? [],
    (hex) => Number.parseInt(hex, 16),
  ),
);
const SECRET_BYTES = 192;

/** The hash of up to 1,024 bytes. */
export function xxh3(data: Uint8Array): bigint {
  const input = viewOf(data);
  const length = data.length;
  if (length === 0) return avalanche64(word(SECRET, 56) ^ word(SECRET, 64));
  if (length <= 3) return hash1to3(input);
  if (length <= 8) return hash4to8(input);
  if (length <= 16) return hash9to16(input);
  if (length <= 128) return hash17to128(input);
  if (length <= 240) return hash129to240(input);
  return hashLong(input);
}

function viewOf(data: Uint8Array): DataView {
  return new DataView(data.buffer, data.byteOffset, data.byteLength);
}

function word(view: DataView, offset: number): bigint {
  return view.getBigUint64(offset, true);
}

function hash1to3(input: DataView): bigint {
  const length = input.byteLength;
  const [first, middle, last] = [input.getUint8(0), input.getUint8(length >> 1), input.getUint8(length - 1)];
  const combined = ((first << 16) | (middle << 24) | last | (length << 8)) >>> 0;
  const flip = (SECRET.getUint32(0, true) ^ SECRET.getUint32(4, true)) >>> 0;
  return avalanche64(BigInt((combined ^ flip) >>> 0));
}

function hash4to8(input: DataView): bigint {
  const length = input.byteLength;
  const [high, low] = [input.getUint32(0, true), input.getUint32(length - 4, true)];
  let hash = (BigInt(low) + (BigInt(high) << 32n)) ^ word(SECRET, 8) ^ word(SECRET, 16);
  hash ^= rotate(hash, 49n) ^ rotate(hash, 24n);
  hash = (hash * PRIME_MX2) & MASK;
  hash ^= (hash >> 35n) + BigInt(length);
  hash = (hash * PRIME_MX2) & MASK;
  return hash ^ (hash >> 28n);
}

function hash9to16(input: DataView): bigint {
  const length = input.byteLength;
  const low = word(input, 0) ^ word(SECRET, 24) ^ word(SECRET, 32);
  const high = word(input, length - 8) ^ word(SECRET, 40) ^ word(SECRET, 48);
  return avalanche((BigInt(length) + swapped(low) + high + folded(low, high)) & MASK);
}

function hash17to128(input: DataView): bigint {
  const length = input.byteLength;
  let sum = BigInt(length) * PRIME64_1;
  // Pairs of 16 bytes, from both ends towards the middle.
  for (let pair = (length - 1) >> 5; pair >= 0; pair--) {
    sum += mixed(input, pair * 16, pair * 32) + mixed(input, length - (pair + 1) * 16, pair * 32 + 16);
  }
  return avalanche(sum & MASK);
}

function hash129to240(input: DataView): bigint {
  const length = input.byteLength;
  let sum = BigInt(length) * PRIME64_1;
  for (let round = 0; round < 8; round++) sum += mixed(input, round * 16, round * 16);
  sum = avalanche(sum & MASK);
  for (let round = 8; round < length >> 4; round++) sum += mixed(input, round * 16, (round - 8) * 16 + 3);
  sum += mixed(input, length - 16, 136 - 17);
  return avalanche(sum & MASK);
}

function hashLong(input: DataView): bigint {
  const length = input.byteLength;
  const sums = [PRIME32_3, PRIME64_1, PRIME64_2, PRIME64_3, PRIME64_4, PRIME32_2, PRIME64_5, PRIME32_1];
  // Up to 1,024 bytes are one block, after which nothing is scrambled.
  for (let stripe = 0; stripe < (length - 1) >> 6; stripe++) accumulate(sums, input, stripe * 64, stripe * 8);
  accumulate(sums, input, length - 64, SECRET_BYTES - 64 - 7);
  let hash = BigInt(length) * PRIME64_1;
  for (let pair = 0; pair < 4; pair++) {
    const at = 11 + pair * 16;
    hash += folded((sums[2 * pair] ?? 0n) ^ word(SECRET, at), (sums[2 * pair + 1] ?? 0n) ^ word(SECRET, at + 8));
  }
  return avalanche(hash & MASK);
}

function accumulate(sums: bigint[], input: DataView, at: number, secretAt: number): void {
  for (let lane = 0; lane < 8; lane++) {
    const data = word(input, at + lane * 8);
    const keyed = data ^ word(SECRET, secretAt + lane * 8);
    sums[lane ^ 1] = ((sums[lane ^ 1] ?? 0n) + data) & MASK;
    sums[lane] = ((sums[lane] ?? 0n) + (keyed & 0xffffffffn) * (keyed >> 32n)) & MASK;
  }
}

function mixed(input: DataView, at: number, secretAt: number): bigint {
  return folded(word(input, at) ^ word(SECRET, secretAt), word(input, at + 8) ^ word(SECRET, secretAt + 8));
}

/** The 128 bits of a product, folded to 64. */
function folded(a: bigint, b: bigint): bigint {
  const product = a * b;
  return (product & MASK) ^ (product >> 64n);
}

function rotate(hash: bigint, bits: bigint): bigint {
  return ((hash << bits) | (hash >> (64n - bits))) & MASK;
}

function swapped(hash: bigint): bigint {
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, hash, true);
  return view.getBigUint64(0, false);
}

function avalanche(hash: bigint): bigint {
  hash ^= hash >> 37n;
  hash = (hash * PRIME_MX1) & MASK;
  return hash ^ (hash >> 32n);
}

function avalanche64(hash: bigint): bigint {
  hash ^= hash >> 33n;
  hash = (hash * PRIME64_2) & MASK;
  hash ^= hash >> 29n;
  hash = (hash * PRIME64_3) & MASK;
  return hash ^ (hash >> 32n);
}
