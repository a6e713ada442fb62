"""Values, queries and errors as messages of `datastore.v1`, and back: the only part of the library that knows protobuf.

`values`, with the serializers `codec` and `lazy`; `metadata`, with conditions; `expiry`; `attempts`; `patches`;
`matching`; `queries`, `aggregates` and `explanations`; `changes`; `placements`; `errors`, with the table; `raw`, the
messages whose values stay bytes; `frames`, the entries that do; and `puts`, those that need no message.
"""

from __future__ import annotations

from datastore.wire import raw
from datastore.wire.aggregates import decode_aggregate, decode_group, encode_aggregate, encode_group, encode_row
from datastore.wire.attempts import decode_attempt, set_attempt
from datastore.wire.changes import decode_changes, encode_changes
from datastore.wire.errors import (
    ERRORS,
    REQUEST_ID,
    error_to_status,
    is_request_id,
    reason_of,
    rpc_error_to_error,
    set_request_id,
    status_to_error,
)
from datastore.wire.expiry import decode_expiry, set_expiry
from datastore.wire.explanations import decode_explanation, encode_explanation
from datastore.wire.frames import EntryFrames, framed_batch
from datastore.wire.matching import decode_matching_step, encode_matching
from datastore.wire.metadata import MetadataEncoder, decode_metadata, decode_precondition, set_precondition
from datastore.wire.parts import check_parts, check_parts_of
from datastore.wire.patches import decode_patch, decode_patch_changes, encode_patch
from datastore.wire.placements import (
    EXPECTATION,
    decode_node_placement,
    decode_placement,
    decode_shard_by,
    encode_node_placement,
    encode_placement,
    encode_shard_by,
)
from datastore.wire.puts import BatchWrites, plain_puts
from datastore.wire.queries import decode_entry, decode_key, decode_query, encode_key, encode_query
from datastore.wire.reads import batch_get_request, plain_values
from datastore.wire.values import (
    WireValue,
    are_plain_values,
    check_value,
    codec,
    decode_value,
    encode_value,
    is_null,
    lazy,
)

__all__ = [
    "ERRORS",
    "EXPECTATION",
    "REQUEST_ID",
    "BatchWrites",
    "EntryFrames",
    "MetadataEncoder",
    "WireValue",
    "are_plain_values",
    "batch_get_request",
    "check_parts",
    "check_parts_of",
    "check_value",
    "codec",
    "decode_aggregate",
    "decode_attempt",
    "decode_changes",
    "decode_entry",
    "decode_expiry",
    "decode_explanation",
    "decode_group",
    "decode_key",
    "decode_matching_step",
    "decode_metadata",
    "decode_node_placement",
    "decode_patch",
    "decode_patch_changes",
    "decode_placement",
    "decode_precondition",
    "decode_query",
    "decode_shard_by",
    "decode_value",
    "encode_aggregate",
    "encode_changes",
    "encode_explanation",
    "encode_group",
    "encode_key",
    "encode_matching",
    "encode_node_placement",
    "encode_patch",
    "encode_placement",
    "encode_query",
    "encode_row",
    "encode_shard_by",
    "encode_value",
    "error_to_status",
    "framed_batch",
    "is_null",
    "is_request_id",
    "lazy",
    "plain_puts",
    "plain_values",
    "raw",
    "reason_of",
    "rpc_error_to_error",
    "set_attempt",
    "set_expiry",
    "set_precondition",
    "set_request_id",
    "status_to_error",
]
