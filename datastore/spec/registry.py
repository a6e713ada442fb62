"""The kinds of stores: installed packages announce them, each with its Config class, in one group of entry points."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from datastore.model.config import Config, closest, did_you_mean
from datastore.model.errors import ConfigError, InvalidError
from datastore.model.urls import SCHEME, shown

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["GROUP", "Registry"]

GROUP = "datastore.kinds"

_NONE = "none: is datastore-grpc installed? After an update run pip install again"


class Registry:
    """The kinds that were installed when it was created. A kind's module is loaded on first use."""

    def __init__(self) -> None:
        # Scanning the installed packages takes longer than everything else here, so only opening a store loads it.
        from importlib.metadata import entry_points

        self._announced: dict[str, dict[str, EntryPoint]] = {}
        for found in entry_points(group=GROUP):
            self._announced.setdefault(found.name, {})[found.value] = found

    @property
    def kinds(self) -> list[str]:
        """The names of all kinds, sorted."""
        return sorted(self._announced)

    def kind(self, name: str) -> type[Config]:
        """The Config class of a kind.

        Raises InvalidError for an unknown one, with those that are known; ConfigError for a package that announces it
        wrongly, or several; ImportError, with the command that helps, if its driver is not installed.
        """
        if name not in self._announced:
            near = did_you_mean(name, self.kinds)
            raise InvalidError(f"unknown kind {name!r}; known are {', '.join(self.kinds) or _NONE}{near}", field="kind")
        return self._load(name, f"stores of the kind {name}")

    def scheme(self, url: str) -> type[Config]:
        """The Config class for a URL. Raises InvalidError for one with no scheme, or with an unknown one."""
        match = SCHEME.match(url)
        if match is None:
            hint = f"; for files in the directory {url} write file:{url}" if url and "@" not in url else ""
            raise InvalidError(f"{shown(url)} is not a store URL: expected SCHEME:..., e.g. memory:{hint}", field="url")
        scheme = match[1].lower()
        if scheme in self._announced:
            found = self._load(scheme, f"{scheme}: URLs")
            if found.url_form is not None:
                return found
            problem = f"stores of the kind {scheme} have no URL; describe them in a table"
            raise InvalidError(f'{shown(url)}: {problem}: {{ kind = "{scheme}", ... }}', field="url")
        known = [f"{name}:" for name in self._with_urls]
        near = did_you_mean(f"{scheme}:", known)
        raise InvalidError(
            f"{shown(url)}: unknown scheme {scheme!r}; known are {' '.join(known) or _NONE}{near}", field="url"
        )

    def near_kind(self, name: str) -> str:
        """A hint for a `name` that names no store but resembles a kind; empty if it resembles none."""
        near = closest(name, self.kinds)
        if near is None:
            return ""
        return f"; did you mean {near}:?" if near in self._with_urls else f'; did you mean {{ kind = "{near}" }}?'

    def _load(self, name: str, what: str) -> type[Config]:
        announced = self._announced[name]
        if len(announced) > 1:
            raise ConfigError(f"several packages open {what}: {', '.join(sorted(announced))}; uninstall all but one")
        ((value, entry_point),) = announced.items()
        try:
            found = entry_point.load()
        except AttributeError as error:
            raise ConfigError(f"the package that announces {what} lacks {value}: {error}") from error
        if not (isinstance(found, type) and issubclass(found, Config) and hasattr(found, "kind")):
            raise ConfigError(f"what opens {what}, {value}, must be a subclass of datastore.spec.Config with a `kind`")
        return found

    @cached_property
    def _with_urls(self) -> list[str]:
        """The kinds that have URLs. One whose driver is not installed counts as such: the library's own need none."""
        found = []
        for name in self.kinds:
            try:
                has_url = self._load(name, name).url_form is not None
            except (ImportError, ConfigError):
                has_url = True
            found += [name] if has_url else []
        return found
