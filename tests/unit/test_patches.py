"""Changes of parts of a value: they make a new value, and leave the old one as it is."""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.model.encoded import Encoded
from datastore.model.errors import InvalidError, InvalidValueError, OverloadedError, UnsupportedTypeError
from datastore.model.fields import object_getattr
from datastore.model.key import Key
from datastore.model.limits import FIELD_PATH_BYTES, PATCHED_BYTES
from datastore.model.operations import Form, Patch
from datastore.model.patches import CHANGES, FieldChange, PatchRoom, changed, changes_of


class Large(int):
    """An int of a subclass, which `in range(...)` compares with each number."""


NAMES = st.sampled_from(["a", "b", "a.b", "c"])
VALUES = st.recursive(
    st.integers(-3, 3) | st.just("text"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
MAPS = st.dictionaries(NAMES, VALUES, max_size=4)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(".".join)
CHANGE = st.one_of(
    st.builds(FieldChange, st.just("set"), PATHS, VALUES),
    st.builds(FieldChange, st.just("increment"), PATHS, st.integers(-3, 3)),
    st.builds(FieldChange, st.just("append"), PATHS, st.lists(VALUES, max_size=2)),
    st.builds(FieldChange, st.just("remove"), PATHS, st.none()),
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
        patched = changed(value, [FieldChange("set", path, new)])
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
    patch = Patch(Key("/a"), (FieldChange("increment", "n", 1),), create=True).through(outer).through(inner)
    assert patch.apply({"in": {"out": {"n": 1}}}) == {"in": {"out": {"n": 2}}}
    assert patch.at(Key("/b")).apply(None) == {"in": {"out": {"n": 1}}}


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"set": ["a"]}, UnsupportedTypeError, "set must map paths to operands"),
        ({"increment": "a"}, UnsupportedTypeError, "increment must map paths to operands"),
        ({"remove": "a"}, UnsupportedTypeError, "remove must be a list of paths, not str"),
        ({"remove": 1}, UnsupportedTypeError, "remove must be a list of paths, not int"),
        ({"increment": {"a": 2**63}}, InvalidError, "beyond int64"),
        ({"increment": {"a": Large(2**63)}}, InvalidError, "beyond int64"),
    ],
)
def test_arguments_of_a_patch_that_make_no_sense_are_named(arguments, error, text):
    with pytest.raises(error, match=text):
        changes_of(**arguments)


def test_a_path_has_a_limited_length_and_so_a_limited_depth():
    longest = "é" + "." * (FIELD_PATH_BYTES - 2)
    patched = changed({}, changes_of({longest: 1}))
    assert object_getattr(patched, longest) == 1
    with pytest.raises(InvalidError, match="more than 1,024 bytes"):
        changes_of({longest + "a": 1})


@pytest.mark.parametrize("member", [2**63, -(2**63) - 1, 2**2000, Large(2**63)])
@pytest.mark.parametrize("operand", [1, -1, 1.5])
def test_an_int_beyond_int64_cannot_be_incremented(member, operand):
    with pytest.raises(InvalidValueError, match=r"n is an? .*int64"):
        changed({"n": member}, changes_of(increment={"n": operand}))


@pytest.mark.parametrize(
    ("inner", "named"), [([], "a list"), (1, "an int"), ("text", "a str"), (None, "null")], ids=str
)
def test_a_path_into_what_is_not_a_map_is_refused_with_its_place(inner, named):
    with pytest.raises(InvalidValueError, match=f"^a.b.c.d leads into a.b, which is {named}, not a map$"):
        changed({"a": {"b": inner}}, changes_of({"a.b.c.d": 1}))


def test_the_patches_of_a_batch_rewrite_a_limited_number_of_bytes():
    def room_after(size: int) -> PatchRoom:
        room = PatchRoom()
        patch = Patch(Key("/a"), changes_of({"n": 1}), encode=lambda _: Encoded(b"x" * size), room=room)
        assert patch.at(Key("/b")).apply(None).data == b"x" * size
        return room

    room_after(PATCHED_BYTES - 1).check()
    for size in (PATCHED_BYTES, PATCHED_BYTES + 1):
        with pytest.raises(OverloadedError, match="2,097,152 bytes") as refused:
            room_after(size).check()
        assert refused.value.retry_after_s is not None


def test_a_patch_that_is_refused_for_its_batch_reads_no_value():
    room = PatchRoom()
    room.use(Encoded(b"x" * PATCHED_BYTES))
    unread = Form(lambda _: pytest.fail("it is read"), lambda _: pytest.fail("it is written"))
    with pytest.raises(OverloadedError):
        Patch(Key("/a"), changes_of({"n": 1}), room=room).through(unread).apply({})
