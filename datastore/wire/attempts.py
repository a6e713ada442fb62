"""Attempts of writes as messages of `datastore.v1`, and back. Pure, apart from the clock."""

from __future__ import annotations

from typing import Any

from datastore.model.attempts import Attempt, check_request_id, elapsed_us
from datastore.model.errors import InvalidError

__all__ = ["decode_attempt", "set_attempt"]

#: The greatest age of an attempt, in microseconds: the greatest int64.
MAX_AGE_US = 2**63 - 1


def set_attempt(request: Any, attempt: Attempt | None) -> None:
    """Make a request, of `datastore.v1` or of `raw`, state an attempt that is sent now."""
    if attempt is not None:
        request.attempt.request_id = attempt.request_id
        # A repeat is never a first attempt, however fast; and the age must fit in the message.
        age_us = 0 if attempt.first_us is None else max(1, elapsed_us() - attempt.first_us)
        request.attempt.age_us = min(age_us, MAX_AGE_US)


def decode_attempt(message: Any) -> Attempt:
    """The attempt of a message that has just arrived. Raises InvalidError, with the field, if it is not one."""
    check_request_id(message.request_id)
    if message.age_us < 0:
        raise InvalidError(f"attempt.age_us cannot be negative, got {message.age_us}", field="attempt.age_us")
    return Attempt(message.request_id, elapsed_us() - message.age_us if message.age_us else None)
