"""Key and Namespace: the names of entries. Pure; does not know about stores."""

from __future__ import annotations

import builtins
import re
from collections import deque
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any, ClassVar, Self, TypeAlias

from datastore.model.errors import InvalidKeyError, UnsupportedTypeError
from datastore.model.fasthash import hash as fasthash
from datastore.model.limits import KEY_BYTES
from datastore.model.spellings import TwoNames, definer_of

__all__ = ["Key", "Namespace"]

# Unicode's category Cc, and lone surrogates, which cannot be encoded as UTF-8.
_REFUSED = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_EMPTY_PARTS = re.compile("//+")


#: The types that a Key can be made from.
KeyLike: TypeAlias = "str | int | Key | Sequence[str | int | Key]"


class Namespace(str):
    """One part of a key, e.g. `name` or `field:value`. Not checked: it is a view of text."""

    __slots__ = ()

    namespace_delimiter: ClassVar[str] = ":"

    @property
    def field(self) -> str:
        """What precedes the first colon; '' if there is none."""
        field, colon, _ = self.partition(self.namespace_delimiter)
        return field if colon else ""

    @property
    def value(self) -> str:
        """What follows the last colon; all of it if there is none."""
        return str(self).rpartition(self.namespace_delimiter)[2]

    def __repr__(self) -> str:
        return f"Namespace({str(self)!r})"


class Key(TwoNames):
    """A path of parts that names one entry: `/Comedy:MontyPython/Sketch:CheeseShop`.

    Made from text, an int, another Key, or a list of these; double, leading and trailing slashes do not matter, and
    `Key('')` is the root `/`. Raises InvalidKeyError (a ValueError) for control characters, lone surrogates, and
    more than 1,024 bytes of UTF-8; UnsupportedTypeError (a TypeError) for other types. `.` and `..` are names
    like any other.

    Immutable. Equal to Keys with the same text, ordered by the UTF-8 bytes of the text, and always truthy; `hash(key)`
    is the same in every process and release.
    """

    __slots__ = ("_hash", "_string")

    _string: str
    _hash: int
    two_names: ClassVar = {
        "isAncestorOf": "is_ancestor_of",
        "isDescendantOf": "is_descendant_of",
        "isTopLevel": "is_top_level",
        "randomKey": "random_key",
        "removeDuplicateSlashes": "remove_duplicate_slashes",
    }

    def __new__(cls, key: KeyLike = "") -> Self:
        """A key from anything that the class accepts."""
        text = key if type(key) is str else _joined(key)
        if text[:1] != "/" or text[-1:] == "/" or "//" in text or cls._normalizes:
            text = cls.remove_duplicate_slashes(text)
        # Short ASCII text of printable characters, by far the most common, needs no search.
        if not (text.isascii() and text.isprintable() and len(text) <= KEY_BYTES):
            _check(text)
        self: Self = _new(cls)
        _set_string(self, text)
        _set_hash(self, _UNKNOWN)
        return self

    #: Whether a subclass overrides the normalization of text, so that all text must go through it.
    _normalizes: ClassVar[bool] = False

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Route all text through the subclass's normalization if it overrides it."""
        super().__init_subclass__(**arguments)
        cls._normalizes = definer_of(cls, "remove_duplicate_slashes") < cls.__mro__.index(Key)

    @classmethod
    def _trusted(cls, text: str) -> Self:
        """A key from text that is known to be canonical, e.g. the text of another Key."""
        self: Self = _new(cls)
        _set_string(self, text)
        _set_hash(self, _UNKNOWN)
        return self

    @classmethod
    def _all_trusted(cls, texts: Sequence[str]) -> builtins.list[Self]:
        """Like `_trusted`, for many texts at once. Written for speed: results of queries are made with it."""
        keys: builtins.list[Self] = list(map(_new, repeat(cls, len(texts))))
        # A deque of no length runs a map to its end.
        deque(map(_set_string, keys, texts), maxlen=0)
        deque(map(_set_hash, keys, repeat(_UNKNOWN)), maxlen=0)
        return keys

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Key cannot be changed; make a new one instead of setting {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Key cannot be changed; make a new one instead of deleting {name}")

    def __str__(self) -> str:
        return self._string

    def __repr__(self) -> str:
        return f"Key({self._string!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self._string,))

    def __copy__(self) -> Key:
        return self

    def __deepcopy__(self, memo: object) -> Key:
        return self

    def __bool__(self) -> bool:
        return True

    def __hash__(self) -> int:
        number = self._hash
        if number == _UNKNOWN:
            number = fasthash(self._string.encode())
            _set_hash(self, number)
        return number

    def __eq__(self, other: object) -> bool:
        return self._string == other._string if isinstance(other, Key) else NotImplemented

    def __lt__(self, other: Key) -> bool:
        return self._string < other._string if isinstance(other, Key) else NotImplemented

    def __le__(self, other: Key) -> bool:
        return self._string <= other._string if isinstance(other, Key) else NotImplemented

    def __gt__(self, other: Key) -> bool:
        return self._string > other._string if isinstance(other, Key) else NotImplemented

    def __ge__(self, other: Key) -> bool:
        return self._string >= other._string if isinstance(other, Key) else NotImplemented

    @property
    def list(self) -> builtins.list[Namespace]:
        """The parts, outermost first, in a fresh list; none for the root."""
        return [Namespace(part) for part in self._string.split("/") if part]

    @property
    def namespaces(self) -> builtins.list[Namespace]:
        """Same as `list`."""
        return self.list

    @property
    def _last(self) -> Namespace:
        return Namespace(self._string.rpartition("/")[2])

    @property
    def name(self) -> str:
        """The value of the last part: `CheeseShop` of `/Comedy/Sketch:CheeseShop`; '' for the root."""
        return self._last.value

    @property
    def type(self) -> str:
        """The field of the last part: `Sketch` of `/Comedy/Sketch:CheeseShop`; '' if it has none."""
        return self._last.field

    @property
    def parent(self) -> Key:
        """The key without its last part; the root for the root."""
        return Key._trusted(self._string.rpartition("/")[0] or "/")

    @property
    def path(self) -> Key:
        """The collection that the key belongs to: `/Comedy/Sketch` for `/Comedy/Sketch:CheeseShop`."""
        return Key._trusted(self._path_text())

    def _path_text(self) -> str:
        """The text of `path`, in less than half of its time."""
        above, _, last = self._string.rpartition("/")
        field, colon, _ = last.partition(":")
        return f"{above}/{field}" if colon and field else above or "/"

    @property
    def reverse(self) -> Key:
        """The parts in reverse, each unchanged inside."""
        return Key._trusted("/" + "/".join(reversed(self._string[1:].split("/"))))

    def child(self, other: KeyLike) -> Key:
        """This key with the parts of `other`, anything that Key takes, appended."""
        return Key(f"{self._string}/{other if type(other) is str else _joined(other)}")

    def instance(self, other: str | int) -> Key:
        """This key with `:` and a str or int appended; InvalidKeyError for a `/` in it."""
        if isinstance(other, bool) or not isinstance(other, (str, int)):
            raise UnsupportedTypeError(f"an instance is named by a str or int, not {type(other).__name__}", path="key")
        name = _part(other)
        if "/" in name:
            raise InvalidKeyError(f"the name of an instance cannot contain '/': {name!r}", field="key")
        return Key(f"{self._string}:{name}")

    def is_ancestor_of(self, other: Key) -> bool:
        """Whether `other` is below this key, part by part; a key is not its own ancestor."""
        if not isinstance(other, Key):
            raise UnsupportedTypeError(f"only Keys have ancestors, not {type(other).__name__}", path="key")
        if self._string == "/":
            return other._string != "/"
        return other._string.startswith(self._string + "/")

    def is_descendant_of(self, other: Key) -> bool:
        """Whether this key is below `other`."""
        if not isinstance(other, Key):
            raise UnsupportedTypeError(f"only Keys have descendants, not {type(other).__name__}", path="key")
        return other.is_ancestor_of(self)

    def is_top_level(self) -> bool:
        """Whether the key has exactly one part."""
        return self._string != "/" and self._string.rfind("/") == 0

    @classmethod
    def random_key(cls) -> Self:
        """A key of one part: the 32 hexadecimal digits of a random UUID."""
        # Loaded here: `uuid` takes long to import, and few programs make random keys.
        from uuid import uuid4

        return cls._trusted("/" + uuid4().hex)

    @classmethod
    def remove_duplicate_slashes(cls, path: str) -> str:
        """`path` with one leading slash, no trailing slash and no double slashes."""
        return "/" + _EMPTY_PARTS.sub("/", path).strip("/")

    # The documented names.
    isAncestorOf = is_ancestor_of  # noqa: N815
    isDescendantOf = is_descendant_of  # noqa: N815
    isTopLevel = is_top_level  # noqa: N815
    randomKey = random_key  # noqa: N815
    removeDuplicateSlashes = remove_duplicate_slashes  # noqa: N815


# Bypasses the immutability of keys, and is faster than `object.__setattr__`.
_new: Callable[[Any], Any] = object.__new__
_set_string: Callable[[Key, str], None] = vars(Key)["_string"].__set__
_set_hash: Callable[[Key, int], None] = vars(Key)["_hash"].__set__
#: Placeholder for a hash that has not been computed yet; real hashes are not negative.
_UNKNOWN = -1


def _check(text: str) -> None:
    found = _REFUSED.search(text)
    if found is not None:
        raise InvalidKeyError(
            f"a key cannot contain {found.group()!r} (a control character or lone surrogate), at {found.start()}"
            f" in {_short(text)}",
            field="key",
        )
    size = len(text.encode())
    if size > KEY_BYTES:
        raise InvalidKeyError(
            f"a key has at most {KEY_BYTES:,} bytes of UTF-8, this one has {size:,}: {_short(text)}", field="key"
        )


def _joined(key: Any) -> str:
    if isinstance(key, (list, tuple)):
        return "/".join(map(_part, key))
    return _part(key)


def _part(part: Any) -> str:
    # The text of an enum member is its value, not its name.
    if isinstance(part, str):
        return str.__str__(part)
    if isinstance(part, Key):
        return part._string
    if isinstance(part, int) and not isinstance(part, bool):
        # Python refuses to convert very long integers to text.
        if abs(int(part)).bit_length() > KEY_BYTES * 4:
            raise InvalidKeyError(f"a key has at most {KEY_BYTES:,} bytes of UTF-8, and this int more", field="key")
        return int.__repr__(part)
    raise UnsupportedTypeError(
        f"a key is made from a str, int, Key or a list of these, not {type(part).__name__}", path="key"
    )


def _short(text: str) -> str:
    return repr(text) if len(text) <= 60 else f"{text[:60]!r}..."
