"""The base of small mutable classes of named fields; immutable ones are NamedTuples. Pure.

The modules that `import datastore` loads use no `dataclasses`: loading it, and generating each class, would take as
long as everything else.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = ["Record"]


class Record:
    """A class whose instances are compared and shown by their fields: all slots, or those that `compared` names."""

    __slots__ = ()
    compared: ClassVar[tuple[str, ...]] = ()

    def _compared(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.compared or self.__slots__}

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._compared() == other._compared()

    def __hash__(self) -> int:
        return hash(tuple(self._compared().values()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self._compared().items())
        return f"{type(self).__name__}({fields})"
