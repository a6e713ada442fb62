"""A store as data: which kind it is, and its options. The base of every kind's Config. Pure: opens nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from difflib import get_close_matches
from typing import Any, ClassVar, NamedTuple, Self

from datastore.model.errors import InvalidError
from datastore.model.extras import require
from datastore.model.options import DIRECTORY, SERVER, OptionType, ServerUrl
from datastore.model.urls import directory_of, options_of, shown, split, without_options

__all__ = ["CHILD", "CHILDREN", "MOUNTS", "NAMED_CHILDREN", "Composed", "Config", "Origin", "closest", "did_you_mean"]


class Origin(NamedTuple):
    """The name of a store in its document, and its place for errors, e.g. `cluster.toml: store.main`."""

    name: str = ""
    place: str = ""


@dataclass(frozen=True, kw_only=True)
class Config:
    """The description of one store. Each kind of store has a subclass, whose docstring describes the kind.

    An option is a field with `metadata=option(description, type)`. A child store is an option whose value is a Config,
    so a Config is the root of a tree. Equal trees describe the same composition, wherever they were written.
    A Config is checked when it is created: InvalidError (a ValueError), with the option's name as `field`.
    """

    #: The word for this kind in a table: `kind = "lmdb"`. An entry point of the same name announces the class.
    kind: ClassVar[str]
    #: The form of this kind's URLs, for people; None if it has no URLs.
    url_form: ClassVar[str | None] = None
    #: The package that the store needs and the extra that installs it, e.g. `("redis", "redis")`.
    driver: ClassVar[tuple[str, str] | None] = None
    #: Whether the options of a URL that are not of this kind are the driver's.
    driver_options: ClassVar[bool] = False
    #: Whether the store must be the outermost one.
    outermost: ClassVar[bool] = False
    origin: Origin = field(default=Origin(), compare=False, repr=False)

    def __post_init__(self) -> None:
        for name, part in self.options().items():
            value = getattr(self, name)
            if value is None and part.default is None:
                continue
            try:
                object.__setattr__(self, name, type_of(part).read(value))
            except InvalidError as error:
                raise InvalidError(f"{name} is {error}", field=name) from error
        if self.driver is not None:
            require(*self.driver)
        self.check()

    @classmethod
    def options(cls) -> dict[str, Field[Any]]:
        """The options of this kind, by their names."""
        return {part.name: part for part in fields(cls) if "option" in part.metadata}

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The store that a URL of this kind describes. The scheme is in lower case.

        By default it is that of a server if the option `url` is one, and `KIND:///DIRECTORY` if there is a directory,
        otherwise `KIND:`; the options follow, `?NAME=VALUE&...`.
        Raises InvalidError (a ValueError), which says what is valid and shows no secret.
        """
        kinds = {type_of(part): name for name, part in cls.options().items()}
        if kinds.get(SERVER) == "url":
            return cls._of_server(url)
        if DIRECTORY in kinds:
            return cls._with_options(url, {kinds[DIRECTORY]: directory_of(url)})
        rest = url.partition(":")[2]
        if rest.partition("?")[0].strip("/") or (rest.strip("/") and not kinds):
            raise InvalidError(f"{shown(url)}: {cls.kind}: takes nothing after its colon", field="url")
        return cls._with_options(url, {})

    @classmethod
    def _with_options(cls, url: str, known: Mapping[str, Any]) -> Self:
        """The store of a URL whose options after the `?` are added to the `known` ones."""
        given: dict[str, Any] = dict(known)
        valid = [name for name, part in cls.options().items() if name not in known and not is_child(type_of(part))]
        for name, text in options_of(url).items():
            if name not in valid:
                problem = f"unknown option {name!r}; valid are {', '.join(valid)}{did_you_mean(name, valid)}"
                raise InvalidError(f"{shown(url)}: {problem}", field="url")
            given[name] = cls._option_of(url, name, text)
        return cls(**given)

    @classmethod
    def _of_server(cls, url: str) -> Self:
        """The store of the `url` of a server, with or without options of the driver after its `?`."""
        if not cls.driver_options:
            bare = split(url, cls.url_form or "")._replace(query="").geturl()
            return cls._with_options(url, {"url": ServerUrl(bare)})
        bare, own = without_options(url, [name for name in cls.options() if name != "url"])
        given: dict[str, Any] = {name: cls._option_of(url, name, text) for name, text in own.items()}
        return cls(url=ServerUrl(bare), **given)  # type: ignore[call-arg]

    @classmethod
    def _option_of(cls, url: str, name: str, text: str) -> Any:
        try:
            return type_of(cls.options()[name]).from_text(text)
        except InvalidError as error:
            raise InvalidError(f"{shown(url)}: {name} is {error}", field="url") from error

    def check(self) -> None:
        """Raise InvalidError if the options do not fit together. Opens nothing."""

    def parts(self) -> Iterator[tuple[str, Config]]:
        """The child stores, each with its place: `child`, `children[0]`, `children.name`."""
        for name, part in self.options().items():
            value = getattr(self, name)
            if type_of(part) is CHILD and value is not None:
                yield name, value
            elif isinstance(value, Mapping):
                yield from ((f"{name}.{label}", child) for label, child in value.items())
            elif is_child(type_of(part)) and value is not None:
                yield from ((f"{name}[{index}]", child) for index, child in enumerate(value))

    def can_query(self) -> bool:
        """Whether the store answers queries."""
        return True

    def open(self) -> Any:
        """Open the blocking store. For a kind that is not Composed."""
        raise NotImplementedError(f"{type(self).__name__} does not implement open")

    def open_async(self) -> Any:
        """The store for asyncio, which must not connect before its first call; None to lift the blocking store."""
        return None


@dataclass(frozen=True, kw_only=True)
class Composed(Config):
    """A kind that exists for threads and for tasks: in memory, or built on other stores."""

    #: The name of the class of the store, unless `build` is overridden.
    store_class: ClassVar[str]

    def can_query(self) -> bool:
        """Whether all stores that it is built on answer queries."""
        return all(child.can_query() for _, child in self.parts())

    def build(self, stores: Any, below: Mapping[str, Any]) -> Any:
        """The store. `stores` is the module with the classes to use: `datastore` or `datastore.aio`.

        `below` has the built child stores, by option: a store, or a list or dict of stores. Opens nothing. The default
        passes them to the class named `store_class`, which takes nothing else.
        """
        return getattr(stores, self.store_class)(*below.values())


def type_of(part: Field[Any]) -> OptionType:
    """How an option is written."""
    kind: OptionType = part.metadata["option"]
    return kind


def is_child(kind: OptionType) -> bool:
    """Whether an option of this type is a store, or several."""
    return kind in (CHILD, CHILDREN, NAMED_CHILDREN, MOUNTS)


def is_required(part: Field[Any]) -> bool:
    """Whether an option has no default."""
    return part.default is MISSING and part.default_factory is MISSING


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The hint that ends the message about an unknown name; empty if no name is like it."""
    near = closest(name, names)
    return f"; did you mean {near}?" if near else ""


def closest(name: str, names: Iterable[str]) -> str | None:
    """The most similar of `names`, ignoring case; None if none is similar."""
    folded = {each.casefold(): each for each in names}
    near = get_close_matches(name.casefold(), folded, 1)
    return folded[near[0]] if near else None


def _child(given: Any) -> Config | None:
    return given if isinstance(given, Config) else None


def _children(given: Any) -> tuple[Config, ...] | None:
    is_list = isinstance(given, list | tuple) and given and all(isinstance(child, Config) for child in given)
    return tuple(given) if is_list else None


def _named_children(given: Any) -> dict[str, Config] | tuple[Config, ...] | None:
    if isinstance(given, Mapping) and given and all(isinstance(child, Config) for child in given.values()):
        return dict(given)
    return _children(given)


CHILD = OptionType("a store: a name, a URL or a table", _child)
CHILDREN = OptionType("a list of stores, each a name, a URL or a table", _children)
NAMED_CHILDREN = OptionType(
    "stores, each a name, a URL or a table: a list, or a table with a name for each", _named_children
)
MOUNTS = OptionType(
    'a table with a key prefix for each store, each a name, a URL or a table: `{ "/archive" = "files", "/" = "main" }`',
    lambda given: _named_children(given) if isinstance(given, Mapping) else None,
)
