"""Compares a configuration with its nodes for people, as a proxy does before it serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from datastore.model.errors import DatastoreError
from datastore_server.config import Config
from datastore_server.coordination.comparison import compare
from datastore_server.coordination.differences import Difference
from datastore_server.coordination.survey import Node, surveyed

__all__ = ["Findings", "check"]


@dataclass(frozen=True)
class Findings:
    """What prevents a proxy with a configuration from serving, and which nodes did not answer."""

    differences: tuple[Difference, ...]
    #: A change in progress: reads are answered, writes refused.
    move: Difference | None
    #: The errors of nodes that did not answer, by shard.
    missing: Mapping[str, DatastoreError]
    #: A committed change that left copies to delete.
    copies: Difference | None = None

    @property
    def all(self) -> tuple[Difference, ...]:
        """The differences, and what remains to be done for a change."""
        return (*self.differences, *(one for one in (self.move, self.copies) if one is not None))


async def check(config: Config, source: str) -> Findings:
    """Ask the nodes and compare. `source` is the path of the configuration, quoted in commands."""
    async with surveyed(config, {}) as survey:
        verdict = compare(config, {**survey.missing, **survey.answers}, source)
        # Resolving a difference deletes the copies too.
        copies = None if verdict.differences else _copies(survey.holding_copies, source)
        return Findings(verdict.differences, verdict.move, survey.missing, copies)


def _copies(nodes: Sequence[Node], source: str) -> Difference | None:
    if not nodes:
        return None
    return Difference(
        f"copies of entries that moved away await deletion: {', '.join(node.label for node in nodes)}. They are not"
        " served, but take space, and `datastore status` counts them",
        f"delete them: datastore placement apply {source}",
    )
