"""A configuration compared with its nodes, for people: as a proxy does it before it serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from datastore.model.errors import DatastoreError
from datastore_server.config import Config
from datastore_server.coordination.comparison import compare
from datastore_server.coordination.differences import Difference
from datastore_server.coordination.survey import surveyed

__all__ = ["Findings", "check"]


@dataclass(frozen=True)
class Findings:
    """What keeps a proxy of a configuration from serving, and which nodes could not be asked."""

    differences: tuple[Difference, ...]
    #: A change that was begun: reads are served, and writes are refused.
    move: Difference | None
    #: Why nodes could not be asked, by shard.
    missing: Mapping[str, DatastoreError]

    @property
    def all(self) -> tuple[Difference, ...]:
        """The differences, and the change under way if there is one."""
        return self.differences if self.move is None else (*self.differences, self.move)


async def check(config: Config, source: str) -> Findings:
    """Ask the nodes, and compare. `source` is the path of the configuration, for the commands."""
    async with surveyed(config, {}) as survey:
        verdict = compare(config, {**survey.missing, **survey.answers}, source)
        return Findings(verdict.differences, verdict.move, survey.missing)
