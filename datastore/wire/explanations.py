"""How a query was evaluated, as a message and back."""

from __future__ import annotations

from typing import Any

from datastore.model.capability import Support
from datastore.model.explanation import Explanation, QueryPart
from datastore.v1 import service_pb2

__all__ = ["EXPLANATION_BYTES", "EXPLANATION_DEPTH", "decode_explanation", "encode_explanation"]

#: The largest explanation that is sent, in bytes. A larger one is sent without its children, so that the summary,
#: which ends the results, always fits in a message.
EXPLANATION_BYTES = 256 * 1024
#: How many stores below one another are sent. Protobuf refuses to read messages that are nested 100 deep.
EXPLANATION_DEPTH = 40

_MICROSECONDS = 1_000_000
_SUPPORTS = {
    Support.NONE: service_pb2.Explanation.SUPPORT_NONE,
    Support.INEXACT: service_pb2.Explanation.SUPPORT_INEXACT,
    Support.EXACT: service_pb2.Explanation.SUPPORT_EXACT,
}
_SUPPORT_OF = {number: support for support, number in _SUPPORTS.items()}


def encode_explanation(explanation: Explanation) -> service_pb2.Explanation:
    """The message of an explanation, cut to EXPLANATION_DEPTH and EXPLANATION_BYTES, with a note if it is cut."""
    message = _encode(explanation, EXPLANATION_DEPTH)
    if message.ByteSize() > EXPLANATION_BYTES:
        message = _encode(explanation, 1)
    return message


def _encode(explanation: Explanation, depth: int) -> service_pb2.Explanation:
    is_cut = depth == 1 and bool(explanation.children)
    note = "the stores below are left out: there are too many to send" if is_cut else ""
    return service_pb2.Explanation(
        kind=explanation.kind,
        description=explanation.text,
        shard=explanation.shard,
        parts=[
            service_pb2.Explanation.Part(text=part.text, support=_SUPPORTS[part.support]) for part in explanation.parts
        ],
        scanned=explanation.scanned,
        returned=explanation.returned,
        remaining=explanation.remaining,
        time_us=round(explanation.time_s * _MICROSECONDS),
        note="; ".join(filter(None, [explanation.note, note])),
        children=[] if is_cut else [_encode(child, depth - 1) for child in explanation.children],
    )


def decode_explanation(message: Any) -> Explanation:
    """The explanation of a message. A support that this version does not know is shown as none."""
    return Explanation(
        message.kind,
        message.description,
        tuple(QueryPart(part.text, _SUPPORT_OF.get(part.support, Support.NONE)) for part in message.parts),
        message.shard,
        message.scanned,
        message.returned,
        message.remaining if message.HasField("remaining") else None,
        message.time_us / _MICROSECONDS,
        message.note,
        list(map(decode_explanation, message.children)),
    )
