"""A driver on generated code alone: keys, values, errors, and single calls; for docs/writing-a-client.md.

    python tests/clients/minimal_driver.py FOLDER

FOLDER has the generated code. Nothing here is of the Python client: so a client in a new language begins.
"""

from __future__ import annotations

import json
import struct
import sys
import unicodedata
from itertools import count

import grpc
import xxhash
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
from datastore.v1 import service_pb2, service_pb2_grpc, value_pb2


class DatastoreError(Exception):
    """An error by its reason. A client has a class or a kind for each."""

    def __init__(self, reason, message, **details):
        super().__init__(message)
        self.reason, self.details = reason, details

    def written(self):
        return {"error": {"reason": self.reason, "message": str(self), "details": self.details}}


# Keys: docs/protocol.md, "Keys" and "Placement".


def canonical(text):
    key = "/" + "/".join(part for part in text.split("/") if part)
    if any(unicodedata.category(character) == "Cc" for character in key):
        raise DatastoreError("INVALID_KEY", f"a key has no control characters: {key!r}")
    if len(key.encode()) > 1024:
        raise DatastoreError("INVALID_KEY", "a key has at most 1,024 bytes")
    return key


def collection(key):
    head, _, last = key.rpartition("/")
    name, colon, _ = last.partition(":")
    return f"{head}/{name}" if name and colon else head or "/"


def key_hash(key):
    return xxhash.xxh3_64_intdigest(key.encode()) % 2**60


# Values: from the notation of requests to messages, and back.


def encode(notation, path="value", depth=0):
    [(kind, content)] = notation.items()
    if kind in ("list", "map") and depth == 32:
        raise DatastoreError("INVALID_VALUE", f"{path} is nested more than 32 deep", path=path)
    match kind:
        case "null":
            return value_pb2.Value(null_value=0)
        case "bool":
            return value_pb2.Value(bool_value=content)
        case "int64" if -(2**63) <= int(content) < 2**63:
            return value_pb2.Value(int64_value=int(content))
        case "double":
            return value_pb2.Value(double_value=struct.unpack(">d", bytes.fromhex(content))[0])
        case "string":
            return value_pb2.Value(string_value=content)
        case "bytes":
            return value_pb2.Value(bytes_value=bytes.fromhex(content))
        case "timestamp":
            seconds, micros = divmod(int(content), 10**6)
            return value_pb2.Value(timestamp_value={"seconds": seconds, "nanos": micros * 1000})
        case "key":
            return value_pb2.Value(key_value={"text": canonical(content)})
        case "list":
            elements = [encode(element, f"{path}[{at}]", depth + 1) for at, element in enumerate(content)]
            return value_pb2.Value(list_value={"values": elements})
        case "map":
            members = {name: encode(member, f"{path}[{name!r}]", depth + 1) for name, member in content.items()}
            return value_pb2.Value(map_value={"fields": members})
    raise DatastoreError(
        "UNSUPPORTED_TYPE" if kind == "foreign" else "INVALID_VALUE", f"{path} is not a value", path=path
    )


def decode(value, path="value"):
    kind = value.WhichOneof("kind")
    match kind:
        case None:
            raise DatastoreError("INVALID_VALUE", f"{path} has no kind that this client knows", path=path)
        case "null_value":
            return {"null": True}
        case "bool_value":
            return {"bool": value.bool_value}
        case "int64_value":
            return {"int64": str(value.int64_value)}
        case "double_value":
            return {"double": struct.pack(">d", value.double_value).hex()}
        case "string_value":
            return {"string": value.string_value}
        case "bytes_value":
            return {"bytes": value.bytes_value.hex()}
        case "timestamp_value":
            return {"timestamp": str(value.timestamp_value.seconds * 10**6 + value.timestamp_value.nanos // 1000)}
        case "key_value":
            return {"key": value.key_value.text}
        case "list_value":
            return {"list": [decode(each, f"{path}[{at}]") for at, each in enumerate(value.list_value.values)]}
        case "map_value":
            return {"map": {name: decode(each, f"{path}[{name!r}]") for name, each in value.map_value.fields.items()}}


# Errors: docs/protocol.md, "Errors", has the reasons, and what to make of a status without one.

BY_CODE = {
    "UNAVAILABLE": "UNAVAILABLE",
    "CANCELLED": "UNAVAILABLE",
    "DEADLINE_EXCEEDED": "DEADLINE_EXCEEDED",
    "UNAUTHENTICATED": "UNAUTHENTICATED",
    "PERMISSION_DENIED": "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED": "LIMIT_EXCEEDED",
    "INVALID_ARGUMENT": "INVALID",
    "OUT_OF_RANGE": "INVALID",
    "UNIMPLEMENTED": "QUERY_NOT_SUPPORTED",
    "DATA_LOSS": "CORRUPT_DATA",
    "INTERNAL": "INTERNAL",
    "UNKNOWN": "INTERNAL",
}


#: Any other reason is treated like a status without one.
REASONS = frozenset(
    """
    BATCH_ABORTED CHANGES_EXPIRED CIRCULAR_LINK CONDITION_FAILED CONFIG CORRUPT_DATA CURSOR_REUSE
    CURSOR_RUNNING DATASTORE DATASTORE_CLOSED DEADLINE_EXCEEDED INTERNAL INVALID INVALID_KEY
    INVALID_QUERY INVALID_TOKEN INVALID_VALUE LIMIT_EXCEEDED NO_STORES OVERLOADED PERMISSION_DENIED
    PLACEMENT QUERY_NOT_SUPPORTED REQUEST_FORGOTTEN STORE STORE_FORMAT STORE_FULL STORE_LOCKED
    TRUNCATED_STREAM UNAUTHENTICATED UNAVAILABLE UNSUPPORTED UNSUPPORTED_TYPE WRONG_SHARD
    """.split()
)


def error_of(status):
    facts, reason, is_busy = {}, None, False
    for packed in status.details:
        if packed.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo.FromString(packed.value)
            if info.domain == "datastore":
                reason = info.reason if info.reason in REASONS else None
                facts |= info.metadata
        if packed.Is(error_details_pb2.RequestInfo.DESCRIPTOR):
            facts["request_id"] = error_details_pb2.RequestInfo.FromString(packed.value).request_id
        if packed.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            delay = error_details_pb2.RetryInfo.FromString(packed.value).retry_delay
            facts["retry_after_ms"] = str(delay.ToMilliseconds())
            is_busy = grpc_code(status.code) == "RESOURCE_EXHAUSTED"
    by_code = "OVERLOADED" if is_busy else BY_CODE.get(grpc_code(status.code), "DATASTORE")
    return DatastoreError(reason or by_code, status.message, **facts)


def grpc_code(number):
    return next(code.name for code in grpc.StatusCode if code.value[0] == number)


def status_of(call):
    """The status of a failed call: the server's own or, without one, what gRPC itself says."""
    for name, data in call.trailing_metadata() or ():
        if name == "grpc-status-details-bin":
            return status_pb2.Status.FromString(data)
    return status_pb2.Status(code=call.code().value[0], message=call.details() or "")


# The driver: tests/clients/README.md.


class Driver:
    def __init__(self):
        self.stubs, self.numbers = {}, count(1)

    def answer(self, request):
        operation = getattr(self, f"_{request['op']}", None)
        if operation is None:
            return {"unsupported": "not written yet"}
        try:
            return {"result": operation(request)}
        except DatastoreError as error:
            return error.written()
        except grpc.RpcError as call:
            return error_of(status_of(call)).written()

    def _key(self, request):
        key = canonical(request["text"])
        home = collection(key)
        slots = {"slot": key_hash(key) % 16384, "collection_slot": key_hash(home) % 16384}
        return {"text": key, "collection": home, "hash": str(key_hash(key)), **slots}

    def _compare_keys(self, request):
        # Python compares text by code points, as the order of keys demands.
        one, other = canonical(request["a"]), canonical(request["b"])
        return {"order": (one > other) - (one < other)}

    def _encode(self, request):
        return {"wire": encode(request["value"]).SerializeToString().hex()}

    def _decode(self, request):
        try:
            return {"value": decode(value_pb2.Value.FromString(bytes.fromhex(request["wire"])))}
        except DecodeError as error:
            raise DatastoreError("CORRUPT_DATA", str(error)) from error

    def _error(self, request):
        return error_of(status_pb2.Status.FromString(bytes.fromhex(request["status"]))).written()

    def _connect(self, request):
        number = next(self.numbers)
        self.stubs[number] = service_pb2_grpc.DatastoreServiceStub(grpc.insecure_channel(request["addresses"][0]))
        return {"client": number}

    def _close(self, request):
        del self.stubs[request["client"]]
        return {}

    def _put(self, request):
        entry = {"key": {"text": canonical(request["key"])}, "value": encode(request["value"])}
        stored = self.stubs[request["client"]].Put(service_pb2.PutRequest(entry=entry), timeout=10)
        return {"metadata": {"version": str(stored.metadata.version)}}

    def _get(self, request):
        wanted = service_pb2.GetRequest(key={"text": canonical(request["key"])})
        found = self.stubs[request["client"]].Get(wanted, timeout=10)
        return {"value": decode(found.value)} if found.HasField("value") else {}


if __name__ == "__main__":
    driver = Driver()
    for line in sys.stdin:
        request = json.loads(line)
        sys.stdout.write(json.dumps({"id": request["id"], **driver.answer(request)}) + "\n")
        sys.stdout.flush()
