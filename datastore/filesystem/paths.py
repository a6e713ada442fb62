"""Conversion between keys and relative file paths. Pure.

The file is in the directory of the key's collection, so that a query lists one directory. Different keys have different
files, even if their names differ only in case when `folding` is set; no file is outside the root.
"""

from __future__ import annotations

import hashlib
import re
from urllib.parse import unquote_to_bytes

from datastore.model.errors import InvalidError, UnsupportedTypeError
from datastore.model.key import Key, Namespace

__all__ = [
    "EXTENSION",
    "EXTENSION_BYTES",
    "checked_extension",
    "holds_instances",
    "is_shortened",
    "key_of_file",
    "relative_directory",
    "relative_file",
    "tag",
]

EXTENSION = ".obj"
#: The longest extension with which a shortened name, of 70 bytes, still fits in NAME_BYTES.
EXTENSION_BYTES = 100

#: The longest name of a directory or a file, and the longest path of directories, in bytes; longer ones are shortened
#: to a hash. Common file systems take names of 255 bytes and paths of 4,096.
NAME_BYTES = 200
DIRECTORY_BYTES = 1000

_LONG, _LONG_PATH = "%long-", "%path-"
_EXTENSION = re.compile(r"\.[A-Za-z0-9_.,=@+-]+")
_UNSAFE = re.compile(rb"[^A-Za-z0-9_.,=@+-]")
_UNSAFE_OR_CAPITAL = re.compile(rb"[^a-z0-9_.,=@+-]")


def checked_extension(extension: object) -> str:
    """`extension` itself; UnsupportedTypeError or InvalidError if files cannot have it."""
    if not isinstance(extension, str):
        raise UnsupportedTypeError(
            f"object_extension must be a str, e.g. '.json', got {type(extension).__name__}", path="object_extension"
        )
    if len(extension) > EXTENSION_BYTES or not _EXTENSION.fullmatch(extension):
        raise InvalidError(
            f"object_extension must be a dot and letters, digits or any of _.,=@+- of ASCII, e.g. '.json', at most"
            f" {EXTENSION_BYTES} in all, not {extension[: EXTENSION_BYTES + 1]!r}",
            field="object_extension",
        )
    return extension


def relative_directory(key: Key, *, folding: bool = False, extension: str = EXTENSION) -> str:
    """The directory with the files of the collection `key`; '' for the root's."""
    names = [_directory_name(segment, folding, extension) for part in key.namespaces for segment in _segments(part)]
    whole = "/".join(names)
    return whole if len(whole) <= DIRECTORY_BYTES else _LONG_PATH + _hash(str(key))


def relative_file(key: Key, *, folding: bool = False, extension: str = EXTENSION) -> str:
    """The file of the entry at `key`."""
    parts = key.namespaces
    last = _segments(parts[-1])[-1] if parts else ""
    name = _encoded(last, folding) + tag(key)
    if len(name) + len(extension) > NAME_BYTES:
        name = _LONG + _hash(str(key))
    directory = relative_directory(key.path, folding=folding, extension=extension)
    return f"{directory}/{name}{extension}" if directory else name + extension


def holds_instances(name: str, key: Key, *, folding: bool = False) -> bool:
    """Whether a directory beside that of `key` may hold entries below its instances: `b%3Ac` those of `/a:b:c/d`.

    `name` is the directory's own name, in the directory of `key.path`. Also True if the name does not say.
    """
    last = _segments(key.namespaces[-1])[-1]
    return name.startswith((_encoded(f"{last}:", folding), _LONG))


def is_shortened(relative: str) -> bool:
    """Whether a file's path does not contain its key, so that its header has to."""
    return _LONG in relative or _LONG_PATH in relative


def key_of_file(relative: str, extension: str = EXTENSION) -> Key | None:
    """The key whose file this is, if its path contains it; None for a shortened path, or any other file.

    Check the result with `relative_file`: paths of other programs may look alike.
    """
    if is_shortened(relative) or not relative.endswith(extension):
        return None
    *directories, name = relative.removesuffix(extension).split("/")
    name, tilde, kinds = name.partition("~")
    try:
        segments = [_decoded(segment) for segment in [*directories, name]]
        return Key("/" + "/".join(_components(segments, kinds if tilde else None)))
    except ValueError:
        return None


def _components(segments: list[str], tag: str | None) -> list[str]:
    """The components of a key from its segments, and the tag that says which of them are typed."""
    if tag is None:
        # As many typed ones as fit, then one that is untyped if a segment is left.
        tag = "t" * (len(segments) // 2) + "u" * (len(segments) % 2)
    elif tag == "":
        tag = "u" * len(segments)
    if len(segments) != len(tag) + tag.count("t"):
        raise ValueError(tag)
    rest = iter(segments)
    return [f"{next(rest)}:{next(rest)}" if kind == "t" else next(rest) for kind in tag]


def _segments(part: Namespace) -> list[str]:
    """A typed component is a directory and a name in it, any other is one name."""
    field, colon, value = part.partition(":")
    return [field, value] if colon and field else [str(part)]


def tag(key: Key) -> str:
    """A tag that distinguishes keys with the same segments; empty for the common kinds."""
    parts = key.namespaces
    pattern = "".join("t" if part.partition(":")[1] and part.partition(":")[0] else "u" for part in parts)
    if re.fullmatch("t*u?", pattern):
        return ""
    return "~" if set(pattern) == {"u"} else f"~{pattern}"


def _directory_name(segment: str, folding: bool, extension: str) -> str:
    name = _encoded(segment, folding)
    if name.lower().endswith(extension.lower()):
        # A directory must not look like one of our files.
        name = f"{name[: -len(extension)]}%2E{name[1 - len(extension) :]}"
    return name if len(name) <= NAME_BYTES else _LONG + _hash(segment)


def _encoded(segment: str, folding: bool) -> str:
    if not segment:
        return "%"
    unsafe = _UNSAFE_OR_CAPITAL if folding else _UNSAFE
    name = unsafe.sub(lambda found: b"%%%02X" % found[0][0], segment.encode()).decode()
    return f"%2E{name[1:]}" if name.startswith(".") else name


def _decoded(name: str) -> str:
    return "" if name == "%" else unquote_to_bytes(name).decode()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
