// The service with every value and entry as bytes instead of a message, which `values.ts` and `entries.ts` read and
// write directly: several times faster than messages, and without loss for names such as `__proto__`.
//
// An embedded message and a bytes field of the same number are encoded identically, so these messages are compatible
// with the generated ones. They are made from the generated descriptors on import.

import { clone, create, createFileRegistry, isFieldSet } from "@bufbuild/protobuf";
import type { DescFile, Message } from "@bufbuild/protobuf";
import type { GenMessage, GenService } from "@bufbuild/protobuf/codegenv2";
import {
  type DescriptorProto,
  type FieldDescriptorProto,
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FieldDescriptorProtoSchema,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  OneofDescriptorProtoSchema,
} from "@bufbuild/protobuf/wkt";
import { DatastoreService, file_datastore_v1_service } from "../gen/datastore/v1/service_pb.js";
import type { Entry, Value } from "../gen/datastore/v1/value_pb.js";

/** A message with bytes where the generated one has a Value or an Entry. */
type Raw<M> = M extends Value | Entry
  ? Uint8Array
  : M extends Uint8Array
    ? M
    : M extends Message<infer Name>
      ? Message<Name> & { [Field in Exclude<keyof M, keyof Message>]: Raw<M[Field]> }
      : M extends object
        ? { [Field in keyof M]: Raw<M[Field]> }
        : M;

type RawMethod<M> = M extends { methodKind: infer Kind; input: GenMessage<infer I>; output: GenMessage<infer O> }
  ? { methodKind: Kind; input: GenMessage<Raw<I> & Message>; output: GenMessage<Raw<O> & Message> }
  : never;

type RawService<S> =
  S extends GenService<infer Methods> ? { [Name in keyof Methods]: RawMethod<Methods[Name]> } : never;

const BYTES = new Set([".datastore.v1.Value", ".datastore.v1.Entry"]);

function rawService(): unknown {
  const set = create(FileDescriptorSetSchema);
  const add = (file: DescFile): void => {
    if (set.file.some((added) => added.name === file.proto.name)) return;
    file.dependencies.forEach(add);
    const proto = clone(FileDescriptorProtoSchema, file.proto);
    if (proto.package === "datastore.v1") proto.messageType.forEach(withBytes);
    set.file.push(proto);
  };
  add(file_datastore_v1_service);
  return createFileRegistry(set).getService(DatastoreService.typeName);
}

function withBytes(message: DescriptorProto): void {
  message.nestedType.forEach(withBytes);
  for (const field of message.field) {
    if (!BYTES.has(field.typeName)) continue;
    field.type = FieldDescriptorProto_Type.BYTES;
    field.typeName = "";
    const isInOneof = isFieldSet(field, FieldDescriptorProtoSchema.field.oneofIndex);
    if (!isInOneof && field.label !== FieldDescriptorProto_Label.REPEATED) makeOptional(message, field);
  }
}

/** Keeps apart what is empty and what is not set, as messages do. */
function makeOptional(message: DescriptorProto, field: FieldDescriptorProto): void {
  field.proto3Optional = true;
  field.oneofIndex = message.oneofDecl.length;
  message.oneofDecl.push(create(OneofDescriptorProtoSchema, { name: `_${field.name}` }));
}

/** The service, whose messages have values and entries as bytes. */
export const Service = rawService() as GenService<RawService<typeof DatastoreService>>;

/** What a message, or a part of one, is made of. */
export type Init<M> = Exclude<NonNullable<M>, Message>;
