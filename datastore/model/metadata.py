"""What a store keeps about an entry beside its value, and conditions on it. Pure data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from datastore.model.errors import ConditionFailedError, InvalidError, UnsupportedError, UnsupportedTypeError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from datastore.model.key import Key

__all__ = [
    "ABSENT",
    "EXISTS",
    "Metadata",
    "Precondition",
    "PutOptions",
    "Stamp",
    "WriteOptions",
    "check_condition",
    "condition_of",
    "no_versions",
    "require",
    "time_of",
    "times_of",
]

#: The largest version: an int64.
MAX_VERSION = 2**63 - 1


class Metadata(NamedTuple):
    """The version of an entry and its times, in microseconds since 1970 (UTC).

    Every write gives its entry a version above all versions that the store has given before, also after a delete, so a
    later version of a key is always greater. A version is at least 1. `created_us` is when the key was first written
    since it was last absent, `updated_us` when it was last written, by the clock of the store; `expires_us` is when it
    expires, 0 for never.
    """

    version: int
    created_us: int
    updated_us: int
    expires_us: int = 0

    @property
    def create_time(self) -> datetime:
        """When the entry was created."""
        return time_of(self.created_us)

    @property
    def update_time(self) -> datetime:
        """When the entry was last written."""
        return time_of(self.updated_us)

    @property
    def expire_time(self) -> datetime | None:
        """When the entry expires; None for never."""
        return time_of(self.expires_us) if self.expires_us else None


#: A Metadata, or a bare tuple of its fields, which takes a fraction of the time to make. `expires_us` may be left out.
Stamp = tuple[int, ...]


def time_of(microseconds: int) -> datetime:
    """The instant, in UTC, so many microseconds after the beginning of 1970."""
    return times_of((microseconds,))[0]


def times_of(microseconds: Iterable[int]) -> list[datetime]:
    """The instants, in UTC, so many microseconds after the beginning of 1970."""
    # Loaded only where times are shown: loading takes noticeable time.
    from datetime import UTC, datetime, timedelta

    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return [epoch + timedelta(0, 0, each) for each in microseconds]


class Precondition(NamedTuple):
    """What must hold for a write to be made: that the entry exists or is absent, or has this version.

    Exactly one of the two is set. The store decides it atomically with the write.
    """

    exists: bool | None = None
    version: int | None = None

    def holds(self, version: int) -> bool:
        """Whether it holds for an entry with this version; 0 for an absent one."""
        return version == self.version if self.exists is None else (version > 0) == self.exists

    def __str__(self) -> str:
        if self.exists is None:
            return f"it must have version {self.version}"
        return "it must exist" if self.exists else "it must not exist"


#: The entry exists.
EXISTS = Precondition(exists=True)
#: The entry is absent.
ABSENT = Precondition(exists=False)


class WriteOptions(TypedDict, total=False):
    """The keyword arguments of `delete`: conditions."""

    #: Write only if the key has no entry.
    if_absent: bool
    #: Write only if the key has an entry.
    if_exists: bool
    #: Write only if the entry has this version.
    if_version: int | None


class PutOptions(WriteOptions, total=False):
    """The keyword arguments of `put`: conditions and an expiry. Without one, the entry never expires."""

    #: The entry expires so many seconds after the write, by the clock of the store.
    expires_in_s: float | None
    #: The entry expires at this instant.
    expire_time: datetime | None


def condition_of(
    *, if_absent: bool = False, if_exists: bool = False, if_version: int | None = None
) -> Precondition | None:
    """The condition that the keyword arguments of a write state, or None.

    Raises InvalidError (a ValueError) for more than one condition or a version below 1, UnsupportedTypeError for a
    version that is not an int.
    """
    stated = [
        name
        for name, is_set in (("if_absent", if_absent), ("if_exists", if_exists), ("if_version", if_version is not None))
        if is_set
    ]
    if len(stated) > 1:
        raise InvalidError(f"a write has one condition at most, not {' and '.join(stated)}", field="condition")
    if if_version is not None:
        return Precondition(version=checked_version(if_version))
    if if_absent:
        return ABSENT
    return EXISTS if if_exists else None


def check_condition(condition: object) -> None:
    """Raise unless `condition` is a Precondition that states exactly one thing; for a version see `checked_version`."""
    if not isinstance(condition, Precondition):
        raise UnsupportedTypeError(
            f"a condition must be a Precondition, got {type(condition).__name__}", path="condition"
        )
    if (condition.exists is None) == (condition.version is None):
        raise InvalidError("a Precondition has exists or version, one of them", field="condition")
    if condition.version is not None:
        checked_version(condition.version, "condition.version")
    elif not isinstance(condition.exists, bool):
        raise UnsupportedTypeError(
            f"condition.exists must be a bool, got {type(condition.exists).__name__}", path="condition.exists"
        )


def checked_version(version: object, field: str = "if_version") -> int:
    """`version` itself. Raises unless it is an int from 1 to MAX_VERSION."""
    if not isinstance(version, int) or isinstance(version, bool):
        raise UnsupportedTypeError(f"{field} must be an int, got {type(version).__name__}", path=field)
    if not 1 <= version <= MAX_VERSION:
        raise InvalidError(f"{field} must be a version, from 1 to 2^63 - 1, got {version}", field=field)
    return version


def require(condition: Precondition, key: Key, version: int) -> None:
    """Raise ConditionFailedError unless `condition` holds for the entry of `key`, which has this version; 0: absent."""
    if not condition.holds(version):
        found = f"it exists with version {version}" if version else "it does not exist"
        raise ConditionFailedError(f"{key} was not written: {condition}, but {found}", version=version)


def no_versions(store: Any) -> UnsupportedError:
    """The error for metadata or conditions that a store does not have."""
    return UnsupportedError(f"{type(store).__name__} keeps no versions, so entries have no metadata or conditions")
