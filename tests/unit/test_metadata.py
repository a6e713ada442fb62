"""Conditions: what their errors say."""

from __future__ import annotations

import pytest

from datastore.model.errors import ConditionFailedError
from datastore.model.key import Key
from datastore.model.metadata import ABSENT, EXISTS, Precondition, require


@pytest.mark.parametrize(
    ("condition", "version", "text"),
    [
        (ABSENT, 179, "it must not exist, but it exists with version 179"),
        (EXISTS, 0, "it must exist, but it does not exist"),
        (Precondition(version=7), 0, "it must have version 7, but it does not exist"),
        (Precondition(version=7), 8, "it must have version 7, but it exists with version 8"),
    ],
)
def test_a_condition_that_fails_says_what_must_hold_and_what_does(
    condition: Precondition, version: int, text: str
) -> None:
    with pytest.raises(ConditionFailedError) as failed:
        require(condition, Key("/T:a"), version)
    assert (str(failed.value), failed.value.version) == (f"/T:a was not written: {text}", version)
