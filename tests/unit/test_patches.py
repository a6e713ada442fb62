"""Changes of parts of a value: they make a new value, and leave the old one as it is."""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.model.errors import InvalidError
from datastore.model.fields import object_getattr
from datastore.model.key import Key
from datastore.model.operations import Form, Patch
from datastore.model.patches import CHANGES, Change, changed, changes_of

NAMES = st.sampled_from(["a", "b", "a.b", "c"])
VALUES = st.recursive(
    st.integers(-3, 3) | st.just("text"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
MAPS = st.dictionaries(NAMES, VALUES, max_size=4)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(".".join)
CHANGE = st.one_of(
    st.builds(Change, st.just("set"), PATHS, VALUES),
    st.builds(Change, st.just("increment"), PATHS, st.integers(-3, 3)),
    st.builds(Change, st.just("append"), PATHS, st.lists(VALUES, max_size=2)),
    st.builds(Change, st.just("remove"), PATHS, st.none()),
)


@given(MAPS, st.lists(CHANGE, min_size=1, max_size=3))
def test_a_value_that_is_patched_stays_as_it_was(value, changes):
    before = deepcopy(value)
    with suppress(ValueError):
        changed(value, changes)
    assert value == before


@given(MAPS, PATHS, VALUES)
def test_what_is_set_is_read_under_the_same_path(value, path, new):
    try:
        patched = changed(value, [Change("set", path, new)])
    except ValueError:
        return
    assert object_getattr(patched, path) == new


def test_a_patch_has_a_limited_number_of_changes():
    most = {f"m{place}": place for place in range(CHANGES)}
    assert len(changes_of(most)) == CHANGES
    with pytest.raises(InvalidError, match=f"at most {CHANGES}"):
        changes_of({**most, "one more": 1})


def test_a_patch_sees_the_value_under_all_forms_in_which_it_is_stored():
    inner = Form(lambda stored: stored["in"], lambda value: {"in": value})
    outer = Form(lambda stored: stored["out"], lambda value: {"out": value})
    patch = Patch(Key("/a"), (Change("increment", "n", 1),), create=True).through(outer).through(inner)
    assert patch.apply({"in": {"out": {"n": 1}}}) == {"in": {"out": {"n": 2}}}
    assert patch.at(Key("/b")).apply(None) == {"in": {"out": {"n": 1}}}
