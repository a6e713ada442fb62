"""Reads of many entries: requests written, and answers read, without a message for each of them.

Knows protobuf's encoding of keys and results, and nothing of calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain

from datastore.model.key import Key
from datastore.v1 import service_pb2
from datastore.wire.varints import filling_head, nested_head

__all__ = ["batch_get_request", "plain_values"]

#: The tag of the value in a result.
_VALUE = b"\x0a"


def batch_get_request(keys: Iterable[Key], *, metadata: bool) -> bytes:
    """A serialized BatchGetRequest."""
    texts = [str(key).encode() for key in keys]
    others: bytes = service_pb2.BatchGetRequest(include_metadata=metadata).SerializeToString()
    return b"".join(chain.from_iterable(zip(map(nested_head, map(len, texts)), texts, strict=True))) + others


def plain_values(results: Sequence[bytes]) -> list[bytes | None] | None:
    """The values of serialized results, None for absent keys; None unless each has a value alone, or nothing."""
    values: list[bytes | None] = []
    # Runs for every entry of a batch.
    for result in results:
        head = _value_head(len(result))
        if head is None or not result.startswith(head):
            return None
        values.append(result[len(head) :] if head else None)
    return values


@lru_cache(maxsize=4096)
def _value_head(result_bytes: int) -> bytes | None:
    """What precedes the value in a result of this size that has nothing else; None if there is no such result."""
    return filling_head(_VALUE, result_bytes) if result_bytes else b""
