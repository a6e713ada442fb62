"""Reads of many entries: requests written, and answers read, without a message for each of them.

Knows protobuf's encoding of keys and results, and nothing of calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain

from datastore.model.key import Key
from datastore.model.limits import KEY_BYTES
from datastore.v1 import service_pb2
from datastore.wire.varints import length_prefix

__all__ = ["batch_get_request", "plain_values"]

#: The tag of field 1: a key in a request, its text, and the value in a result.
_FIELD_1 = b"\x0a"


def batch_get_request(keys: Iterable[Key], *, metadata: bool) -> bytes:
    """A serialized BatchGetRequest."""
    texts = [str(key).encode() for key in keys]
    others: bytes = service_pb2.BatchGetRequest(include_metadata=metadata).SerializeToString()
    return b"".join(chain.from_iterable(zip(map(_key_head, map(len, texts)), texts, strict=True))) + others


@lru_cache(maxsize=KEY_BYTES + 1)
def _key_head(text_bytes: int) -> bytes:
    """What precedes the text of a key in a request."""
    head = _FIELD_1 + length_prefix(text_bytes)
    return _FIELD_1 + length_prefix(len(head) + text_bytes) + head


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


#: The most bytes of a length.
_LENGTH_BYTES = 5


@lru_cache(maxsize=4096)
def _value_head(result_bytes: int) -> bytes | None:
    """What precedes the value in a result of this size that has nothing else; None if there is no such result."""
    if not result_bytes:
        return b""
    lengths = [length_prefix(max(0, result_bytes - 1 - size)) for size in range(1, _LENGTH_BYTES + 1)]
    return next((_FIELD_1 + length for size, length in enumerate(lengths, 1) if len(length) == size), None)
