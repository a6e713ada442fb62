// Entries and what a store knows about them, and their bytes as a `datastore.v1.Entry`. Pure.

import { fromBinary } from "@bufbuild/protobuf";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { Timestamp as TimestampMessage } from "@bufbuild/protobuf/wkt";
import { MetadataSchema, type Metadata as MetadataMessage } from "../gen/datastore/v1/value_pb.js";
import { DatastoreError } from "./errors.js";
import { Key } from "./key.js";
import { Timestamp } from "./timestamp.js";
import { encodeValue, readKey, readValue, type Value, type ValueInput } from "./values.js";

/** The largest entry, the text of its key and its value together, in bytes. */
export const ENTRY_BYTES = 3 * 1024 * 1024;

/** What a store that keeps versions knows about an entry besides its value. */
export interface Metadata {
  /** At least 1. Each write gives its entry a greater one, also after a delete. */
  readonly version: bigint;
  /** When the key was first written since it was last absent. */
  readonly createTime: Timestamp;
  /** When the entry was last written. */
  readonly updateTime: Timestamp;
  /** When the entry expires; not set if it never does. */
  readonly expireTime?: Timestamp;
}

/** A key, its value, and its metadata if that was asked for. */
export interface Entry {
  readonly key: Key;
  /** Not set in the results of a query for keys only. */
  readonly value?: Value;
  readonly metadata?: Metadata;
}

/** The metadata of a message. */
export function decodeMetadata(message: Omit<MetadataMessage, "$typeName" | "$unknown">): Metadata {
  const { version, createTime, updateTime, expireTime } = message;
  return {
    version,
    createTime: instant(createTime),
    updateTime: instant(updateTime),
    ...(expireTime && { expireTime: instant(expireTime) }),
  };
}

function instant(time: Omit<TimestampMessage, "$typeName" | "$unknown"> | undefined): Timestamp {
  return Timestamp.ofParts(time?.seconds ?? 0n, time?.nanos ?? 0);
}

/** The message of metadata, to send back to a server. */
export function metadataInit(metadata: Metadata) {
  const { version, createTime, updateTime, expireTime } = metadata;
  return {
    version,
    createTime: createTime.parts,
    updateTime: updateTime.parts,
    ...(expireTime && { expireTime: expireTime.parts }),
  };
}

/**
 * The bytes of an entry to write.
 *
 * Fails like `encodeValue`, and with LIMIT_EXCEEDED for more than 3 MiB.
 */
export function encodeEntry(key: Key, value: ValueInput): Uint8Array<ArrayBuffer> {
  const content = encodeValue(value);
  const writer = new BinaryWriter();
  writer.tag(1, WireType.LengthDelimited).fork();
  writer.tag(1, WireType.LengthDelimited).string(key.text).join();
  writer.tag(2, WireType.LengthDelimited).bytes(content);
  const size = key.text.length + content.length;
  if (size > ENTRY_BYTES) {
    throw new DatastoreError(
      "LIMIT_EXCEEDED",
      `an entry has at most ${ENTRY_BYTES} bytes, and ${key.text} has ${size}`,
      {
        limit: "entry_bytes",
        maximum: ENTRY_BYTES,
      },
    );
  }
  return writer.finish();
}

/** The entry of bytes, without its metadata if that is not asked for. Fails with CORRUPT_DATA if they are not one. */
export function decodeEntry(data: Uint8Array, withMetadata = true): Entry {
  const entry: { key: Key; value?: Value; metadata?: Metadata } = { key: ROOT };
  const reader = new BinaryReader(data);
  try {
    while (reader.pos < data.length) {
      const [field, type] = reader.tag();
      if (field === 1) entry.key = readKey(reader);
      else if (field === 2) entry.value = readValue(reader, reader.uint32() + reader.pos);
      else if (field === 3 && withMetadata) entry.metadata = decodeMetadata(fromBinary(MetadataSchema, reader.bytes()));
      else reader.skip(type, field);
    }
  } catch (error) {
    if (error instanceof DatastoreError && error.reason === "CORRUPT_DATA") throw error;
    throw new DatastoreError(
      "CORRUPT_DATA",
      `${data.length} bytes are not an entry: ${String(error)}`,
      {},
      { cause: error },
    );
  }
  return entry;
}

const ROOT = new Key("/");
