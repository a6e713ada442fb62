"""Keys: the text they accept, their parts, how they compare and hash."""

from __future__ import annotations

import copy
import itertools
import operator
import os
import pickle
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore import (
    DictDatastore,
    DirectoryDatastore,
    InterfaceMappingDatastore,
    Key,
    KeyTransformDatastore,
    LowercaseKeyDatastore,
    LRUCacheDatastore,
    Namespace,
    NamespaceDatastore,
    NestedPathDatastore,
    Query,
    SerializerShimDatastore,
    ShardedDatastore,
    SymlinkDatastore,
    TieredDatastore,
)
from datastore.filesystem import FileSystemDatastore
from datastore.lmdb import LMDBDatastore
from datastore.model import fasthash
from datastore.model.errors import InvalidKeyError, UnsupportedTypeError
from datastore.model.limits import KEY_BYTES
from datastore.wire import codec
from tests.support.vectors import vectors

texts = st.text(st.sampled_from("ab:/. é日\U0001f600"), max_size=12)


@pytest.mark.parametrize("row", vectors("keys"), ids=lambda row: repr(row["given"]))
def test_a_key_has_the_parts_of_its_vector(row):
    key = Key(row["given"])
    assert str(key) == row["text"]
    assert [str(part) for part in key.list] == row["list"]
    assert (key.name, key.type) == (row["name"], row["type"])
    assert (str(key.path), str(key.parent), str(key.reverse)) == (row["path"], row["parent"], row["reverse"])


@pytest.mark.parametrize("row", vectors("hashes"), ids=lambda row: row["key"])
def test_the_hash_is_that_of_the_vectors(row):
    assert hash(Key(row["key"])) == fasthash.hash(row["key"]) == fasthash.hash(row["key"].encode()) == row["hash"]


@pytest.mark.parametrize("seed", ["0", "1", "random"])
def test_the_hash_is_the_same_in_every_process(seed):
    code = "from datastore import Key; print(hash(Key('/hello')))"
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) == 946184302554483941


def test_the_order_of_keys_matches_the_vectors():
    texts = vectors("order")
    for shuffled in (reversed(texts), texts[::2] + texts[1::2]):
        assert [str(key) for key in sorted(map(Key, shuffled))] == texts


@given(st.lists(texts.map(Key)))
def test_the_order_is_that_of_the_bytes(keys):
    assert sorted(keys) == sorted(keys, key=lambda key: str(key).encode())


@given(texts.map(Key), texts.map(Key))
def test_each_comparison_is_that_of_the_texts(one, other):
    for compare in (operator.lt, operator.le, operator.eq, operator.ne, operator.ge, operator.gt):
        assert compare(one, other) is compare(str(one), str(other))
        assert compare(one, Key(str(one))) is compare(0, 0)


@given(texts)
def test_a_key_of_its_own_text_is_itself(text):
    key = Key(text)
    assert Key(str(key)) == key == Key(key.list) == Key(key) == Key(text.split("/"))
    assert str(key).startswith("/")
    assert "//" not in str(key)


@given(texts.map(Key))
def test_a_key_survives_copying_and_conversion_to_text(key):
    for twin in (pickle.loads(pickle.dumps(key)), copy.copy(key), copy.deepcopy(key), eval(repr(key))):
        assert twin == key
        assert hash(twin) == hash(key)
        assert type(twin) is Key


@given(texts.map(Key), texts.map(Key))
def test_ancestry_is_by_parts(one, other):
    ours, theirs = one.list, other.list
    assert one.is_ancestor_of(other) == (len(ours) < len(theirs) and theirs[: len(ours)] == ours)
    assert other.is_descendant_of(one) == one.is_ancestor_of(other)


@given(texts.map(Key), texts)
def test_a_child_appends_anything_that_a_key_accepts(key, text):
    child = key.child(text)
    assert child.list == key.list + Key(text).list
    assert key.child("") == key


@given(texts.map(Key))
def test_parent_and_path_are_above(key):
    assert key.parent.list == key.list[:-1]
    assert key.path == key.parent.child(key.type)
    assert key.reverse.list == key.list[::-1]
    assert key.is_top_level() == (len(key.list) == 1)


@given(texts.map(Key), texts.filter(lambda text: "/" not in text))
def test_an_instance_is_a_name_after_a_colon(key, name):
    instance = key.instance(name)
    assert str(instance) == f"{key}:{name}"
    assert instance.parent == key.parent or str(key) == "/"


class Shouting(str):
    __slots__ = ()

    def __str__(self):
        return "SHOUTED/"


class Worded(int):
    def __str__(self):
        return "a/b"

    __repr__ = __str__


def test_the_content_of_a_subclass_counts_not_its_printed_form():
    for key in (Key(Shouting("/a")), Key(["", Shouting("a")]), Key("/").child(Shouting("a"))):
        assert str(key) == "/a"
    assert str(Key("/a").instance(Shouting("b"))) == "/a:b"
    for key in (Key(Worded(7)), Key([Worded(7)]), Key("/").child(Worded(7))):
        assert str(key) == "/7"
    assert str(Key("/a").instance(Worded(7))) == "/a:7"


def test_an_instance_takes_a_number_and_no_slash():
    assert str(Key("/a").instance(7)) == "/a:7"
    with pytest.raises(InvalidKeyError, match="'/'"):
        Key("/a").instance("b/c")
    with pytest.raises(UnsupportedTypeError):
        Key("/a").instance(None)
    for wrong in (1.5, True, False, b"b", ["b"], Key("/b")):
        with pytest.raises(UnsupportedTypeError):
            Key("/a").instance(wrong)


@pytest.mark.parametrize("thing", [None, True, False, 1.5, b"/a", object(), ["a", None], ["a", 1.5], [["a"]], {"a"}])
def test_other_types_are_refused(thing):
    with pytest.raises(TypeError) as raised:
        Key(thing)
    assert isinstance(raised.value, UnsupportedTypeError)


@pytest.mark.parametrize("character", ["\x00", "\n", "\x1f", "\x7f", "\x80", "\x9f", "\ud800", "\udfff"])
def test_control_characters_and_surrogates_are_refused_and_named(character):
    for text in (character, f"/a{character}", f"/é{character}b"):
        with pytest.raises(ValueError, match="cannot contain") as raised:
            Key(text)
        assert isinstance(raised.value, InvalidKeyError)
        assert repr(character) in str(raised.value)


@pytest.mark.parametrize(("letter", "size"), [("a", 1), ("é", 2), ("日", 3), ("\U0001f600", 4)])
def test_a_key_has_at_most_so_many_bytes(letter, size):
    filler = "x" * ((KEY_BYTES - 1) % size)
    longest = "/" + filler + letter * ((KEY_BYTES - 1) // size)
    assert len(str(Key(longest)).encode()) == KEY_BYTES
    with pytest.raises(InvalidKeyError, match="1,024"):
        Key(longest + "x")


@pytest.mark.parametrize(("letters", "end"), [(3, "'"), (58, "'"), (59, "'...")])
def test_an_error_shows_sixty_characters_of_a_long_key(letters, end):
    with pytest.raises(InvalidKeyError) as raised:
        Key("/\n" + "a" * letters)
    assert str(raised.value).endswith(f" in '/\\n{'a' * min(letters, 58)}{end}")


def test_children_and_instances_keep_the_limit():
    longest = Key("a" * (KEY_BYTES - 1))
    for grow in (lambda: longest.child("b"), lambda: longest.instance("b")):
        with pytest.raises(InvalidKeyError, match="1,024"):
            grow()


def test_a_key_cannot_be_changed():
    key = Key("/a")
    for change in (
        lambda: setattr(key, "_string", "/b"),
        lambda: setattr(key, "x", 1),
        lambda: delattr(key, "_string"),
    ):
        with pytest.raises(AttributeError, match="cannot be changed"):
            change()
    assert str(key) == "/a"


def test_a_key_equals_only_keys_and_compares_only_with_keys():
    assert Key("/a") != "/a"
    assert Key("/") and bool(Key("")) is True
    for compare in ("__lt__", "__le__", "__gt__", "__ge__"):
        assert getattr(Key("/a"), compare)("/a") is NotImplemented
    with pytest.raises(TypeError):
        Key("/a") < "/b"  # noqa: B015
    for ask in (Key("/a").is_ancestor_of, Key("/a").is_descendant_of):
        with pytest.raises(UnsupportedTypeError):
            ask("/a/b")


class Named(Key):
    """A key of a custom class."""

    __slots__ = ()


def test_a_key_of_a_subclass_is_made_copied_and_pickled_as_such():
    made = Named.random_key()
    assert type(made) is Named
    for twin in (pickle.loads(pickle.dumps(made)), copy.copy(made), copy.deepcopy(made)):
        assert type(twin) is Named
        assert twin == made


def test_a_key_equals_one_of_a_subclass_of_the_same_text():
    one, other = Key("/a/b"), Named("/a/b")
    assert one == other and other == one
    assert hash(one) == hash(other)
    assert {one: 1}[other] == 1
    assert one != Named("/a/c") and one < Named("/a/c") and Named("/a/c") > one
    assert one.is_descendant_of(Named("/a"))


def test_the_list_of_a_key_belongs_to_the_caller():
    key = Key("/a/b:c")
    for parts in (key.list, key.namespaces):
        parts.append(Namespace("d"))
        parts.reverse()
    assert key.list == key.namespaces == ["a", "b:c"]
    assert key.list is not key.list
    assert all(type(part) is Namespace for part in key.list)


def test_random_keys_are_32_digits_and_differ():
    keys = {Key.random_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(len(key.name) == 32 and set(key.name) <= set("0123456789abcdef") for key in keys)


def test_the_documented_names_are_there():
    for alias, name in [
        ("isAncestorOf", "is_ancestor_of"),
        ("isDescendantOf", "is_descendant_of"),
        ("isTopLevel", "is_top_level"),
        ("randomKey", "random_key"),
        ("removeDuplicateSlashes", "remove_duplicate_slashes"),
    ]:
        assert getattr(Key, alias) == getattr(Key, name)
    assert Key("/a").namespaces == Key("/a").list
    assert Key.remove_duplicate_slashes("a//b/") == "/a/b"
    assert Key("/a")._string == "/a"


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [("a", "", "a"), ("a:b", "a", "b"), ("a:b:c", "a", "c"), (":b", "", "b"), ("a:", "a", "")],
)
def test_a_namespace_has_a_field_and_a_value(text, field, value):
    namespace = Namespace(text)
    assert (namespace.field, namespace.value) == (field, value)
    assert type(namespace.value) is str
    assert eval(repr(namespace)) == namespace


def test_a_namespace_is_copied_and_pickled_as_such():
    assert Namespace.namespace_delimiter == ":"
    namespace = Namespace("a:b")
    for twin in (pickle.loads(pickle.dumps(namespace)), copy.copy(namespace), copy.deepcopy(namespace)):
        assert type(twin) is Namespace
        assert (twin, twin.field, twin.value) == ("a:b", "a", "b")


class Likeness:
    """Has a Key's interface, but is not a Key."""

    def __init__(self, text):
        self._text = str(text)
        self._key = Key(self._text)

    def __str__(self):
        return self._text

    def __hash__(self):
        return hash(str(self))

    def __eq__(self, other):
        return isinstance(other, Likeness) and str(self) == str(other)

    def __lt__(self, other):
        return str(self) < str(other)

    def __getattr__(self, name):
        return getattr(self._key, name)

    @property
    def path(self):
        return Likeness(self._key.path)

    @property
    def parent(self):
        return Likeness(self._key.parent)

    def child(self, other):
        return Likeness(self._key.child(str(other)))

    def instance(self, other):
        return Likeness(self._key.instance(other))


TAKERS = {
    "dict": lambda _: DictDatastore(),
    "files": FileSystemDatastore,
    "lmdb": lambda directory: SerializerShimDatastore(LMDBDatastore(directory, durability="async"), codec),
    "namespace": lambda _: NamespaceDatastore("x", DictDatastore()),
    "nested paths": lambda _: NestedPathDatastore(DictDatastore()),
    "transform": lambda _: KeyTransformDatastore(DictDatastore(), lambda key: Key("/x").child(key)),
    "links": lambda _: SymlinkDatastore(DictDatastore()),
    "directories": lambda _: DirectoryDatastore(DictDatastore()),
    "tiers": lambda _: TieredDatastore([DictDatastore(), DictDatastore()]),
    "lowercase": lambda _: LowercaseKeyDatastore(DictDatastore()),
    "lru": lambda _: LRUCacheDatastore(2),
    "mapping": lambda _: InterfaceMappingDatastore({}, put="__setitem__", delete="__delitem__"),
    "shards": lambda _: ShardedDatastore([DictDatastore() for _ in range(10)]),
}


@pytest.mark.parametrize("name", TAKERS)
@pytest.mark.parametrize("text", ["/a/b", "/a:b", "/a", "/", "c//d/"])
def test_an_object_with_a_keys_interface_counts_as_the_key_of_its_text(name, text, tmp_path):
    key, likeness = Key(text), Likeness(text)
    with TAKERS[name](tmp_path) as store:
        store.put(likeness, "one")
        assert store.get(key) == store.get(likeness) == store.get(Likeness(text)) == "one"
        assert store.contains(key) and store.contains(likeness)
        store.put(key, "two")
        assert store.get(likeness) == "two"
        if name not in ("nested paths", "transform", "mapping"):
            (entry,) = store.query(Query(key.path)).entries()
            assert entry == (key, "two")
            assert type(entry.key) is Key
        store.delete(likeness)
        assert not store.contains(key) and not store.contains(likeness)
        store.put(likeness, "three")
        store.delete(key)
        assert not store.contains(likeness)
        store.delete(likeness)


def test_every_string_of_few_letters_is_a_key_or_refused():
    for letters in itertools.product("a/:.", repeat=4):
        key = Key("".join(letters))
        assert str(key.parent.child(key.list[-1] if key.list else "")) == str(key)
