"""Changes of many entries and their progress as messages of `datastore.v1`, and back. Pure."""

from __future__ import annotations

from datastore.model.key import Key
from datastore.model.matching import MatchingFailure, MatchingStep, MatchingWrite
from datastore.v1 import service_pb2
from datastore.wire.errors import status_to_error
from datastore.wire.patches import encode_patch_changes
from datastore.wire.queries import encode_query

__all__ = ["decode_matching_step", "encode_matching"]


def encode_matching(
    asked: MatchingWrite,
) -> service_pb2.DeleteMatchingRequest | service_pb2.PatchMatchingRequest:
    """The request of a write, with its position as the token. Raises the errors of `encode_query` and of its patch."""
    query, token = encode_query(asked.query), asked.position or b""
    if asked.changes is None:
        return service_pb2.DeleteMatchingRequest(query=query, resume_token=token)
    changes = encode_patch_changes(asked.changes)
    return service_pb2.PatchMatchingRequest(query=query, changes=changes, resume_token=token)


def decode_matching_step(progress: service_pb2.MatchingProgress, token: bytes) -> MatchingStep:
    """The step of a message."""
    failures = (MatchingFailure(Key(shown.key.text), status_to_error(shown.status)) for shown in progress.failures)
    total = progress.total if progress.HasField("total") else None
    return MatchingStep(token, total, progress.changed, progress.passed_over, progress.failed, tuple(failures))
