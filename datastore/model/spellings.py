"""Methods with two names, that of release 0.3.0 and that of PEP 8: to override one is to override both.

Also tells whether a method is overridden, so that a faster path is taken only where it is not. Pure; knows no class
of the library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

__all__ = ["TwoNames", "definer_of", "is_overridden", "place_of", "replaces"]


class TwoNames:
    """A base for classes whose methods have a documented name beside that of PEP 8.

    Both names mean the same method in every class: one that defines either has it under the other too, so `super()`
    works under either name, and another base in multiple inheritance may use the other. An assignment to an instance
    sets both names as well. Changing a class after its creation is not noticed.
    """

    __slots__ = ()
    #: The documented names that a class adds, each with the name of PEP 8.
    two_names: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Give every method of the class, and of those it derives from, both of its names."""
        super().__init_subclass__(**arguments)
        pairs = _pairs_of(cls)
        for base in cls.__mro__:
            for name, twin in pairs.items():
                # The other bases may be any classes, which know only one of the names.
                if twin in vars(base) and name not in vars(base):
                    setattr(base, name, vars(base)[twin])

    if not TYPE_CHECKING:
        # Otherwise type checkers would allow assigning any name.
        def __setattr__(self, name: str, value: Any) -> None:
            object.__setattr__(self, name, value)
            twin = _pairs_of(type(self)).get(name)
            if twin is not None:
                object.__setattr__(self, twin, value)


def _pairs_of(cls: type) -> dict[str, str]:
    """Every name of a class that has a twin, with its twin; each pair both ways."""
    pairs: dict[str, str] | None = vars(cls).get("_pairs")
    if pairs is None:
        named = [pair for base in cls.__mro__ for pair in vars(base).get("two_names", {}).items()]
        pairs = {name: twin for documented, ours in named for name, twin in ((documented, ours), (ours, documented))}
        cls._pairs = pairs  # type: ignore[attr-defined]
    return pairs


def definer_of(cls: type, name: str) -> int:
    """How far up the class that defines an attribute is: 0 for the class itself."""
    return next(place for place, base in enumerate(cls.__mro__) if name in vars(base))


def place_of(obj: object, name: str) -> int:
    """Like `definer_of`, for an object; -1 for an attribute of the object itself."""
    return -1 if name in vars(obj) else definer_of(type(obj), name)


def replaces(obj: object, method: str, names: Iterable[str]) -> bool:
    """Whether `method` of an object may be called in place of the methods `names`: none is overridden below it."""
    return min(place_of(obj, name) for name in names) >= place_of(obj, method)


def is_overridden(obj: object, owner: type, name: str) -> bool:
    """Whether an object, or a class between it and `owner`, overrides an attribute of `owner`."""
    for base in type(obj).__mro__:
        if base is owner:
            break
        if name in vars(base):
            return True
    return name in vars(obj)
