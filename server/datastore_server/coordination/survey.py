"""Asks all nodes affected by a change to a cluster what they are, and classifies them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Container, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from datastore.engine.placement import Member, Placement
from datastore.model.errors import (
    ConfigError,
    DatastoreError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
)
from datastore_server.config import Config, parse_server_url
from datastore_server.coordination.comparison import Answer, agree, cluster_placement
from datastore_server.coordination.nodes import NodeClient

__all__ = ["Node", "Survey", "surveyed"]


@dataclass(frozen=True, eq=False)
class Node:
    """A node that answered. `name` is its shard in the configuration, or '' if it is to be removed."""

    client: NodeClient
    answer: Answer
    name: str

    @property
    def url(self) -> str:
        """Its URL."""
        return self.client.url

    @property
    def label(self) -> str:
        """The node in messages: its shard, or its address if it has none."""
        held = self.answer.placement
        shard = self.name or held.shard or held.pending_shard
        return f"shard {shard!r}" if shard else self.url

    def is_of(self, current: Placement | None) -> bool:
        """Whether it is a member of the cluster's placement."""
        return bool(self.answer.placement.shard) and agree(self.answer.placement.current, current)

    def shard_in(self, current: Placement | None) -> str:
        """Its shard in the cluster's placement; '' if it has none."""
        return self.answer.placement.shard if self.is_of(current) else ""

    @property
    def member(self) -> Member:
        """The member it will be."""
        node_id = "" if self.answer.in_memory else self.answer.placement.node_id
        return Member(self.name, node_id=node_id, url=self.url, in_memory=self.answer.in_memory)


@dataclass(frozen=True)
class Survey:
    """The nodes of a configuration and its cluster, with their answers. `missing` has the errors of the others."""

    nodes: tuple[Node, ...]
    missing: Mapping[str, DatastoreError]
    #: The URL of every node asked, by shard.
    urls: Mapping[str, str]

    @property
    def answers(self) -> dict[str, Answer]:
        """The answers of the configured nodes, by shard."""
        return {node.name: node.answer for node in self.nodes if node.name}

    @property
    def newest(self) -> Placement | None:
        """The cluster's placement."""
        return cluster_placement({node.url: node.answer for node in self.nodes})

    @property
    def pending(self) -> Placement | None:
        """The placement that members are preparing. One that only prospective members prepare does not count."""
        newest = self.newest
        held = [node.answer.placement for node in self.nodes]
        placements = (one.pending for one in held if one.shard or agree(one.pending, newest))
        return next((placement for placement in placements if placement is not None), None)

    @property
    def overtaken(self) -> list[Node]:
        """The nodes that prepare a placement that will not be committed, because another one or none is pending."""
        pending = self.pending
        held = [node for node in self.nodes if node.answer.placement.pending is not None]
        return [node for node in held if not agree(node.answer.placement.pending, pending)]

    @property
    def preparing(self) -> list[Node]:
        """The nodes that prepare the move in progress."""
        pending = self.pending
        return [node for node in self.nodes if pending is not None and agree(node.answer.placement.pending, pending)]

    @property
    def holding_copies(self) -> list[Node]:
        """The nodes that may hold copies of entries that moved away; none during a move."""
        if self.pending is not None:
            return []
        return [node for node in self.nodes if node.answer.placement.may_hold_foreign]

    @property
    def changed(self) -> list[Node]:
        """The configured nodes that differ from those the move in progress was prepared for."""
        known = {member.shard: member.node_id for member in self.pending.members} if self.pending is not None else {}
        named = [node for node in self.nodes if node.name]
        return [node for node in named if node.member.node_id != known.get(node.name, node.member.node_id)]

    @property
    def has_switched(self) -> bool:
        """Whether a node that had entries before the move in progress has committed it."""
        pending, current = self.pending, self.current
        before = {member.node_id for member in current.members if member.node_id} if current is not None else set()
        held = [node.answer.placement for node in self.nodes]
        return any(one.node_id in before and agree(one.current, pending) for one in held)

    def joins(self, node: Node) -> bool:
        """Whether a node is not yet a member of the cluster."""
        return bool(node.name) and not node.is_of(self.current)

    def is_former(self, node: Node) -> bool:
        """Whether a node was removed from the cluster by a finished change."""
        held, current = node.answer.placement, self.current
        if held.shard or held.pending is not None or held.current is None or current is None:
            return False
        return held.current.cluster == current.cluster and held.epoch <= current.epoch

    @property
    def in_order(self) -> list[Node]:
        """The nodes in the order in which they prepare and commit: joining, leaving, staying.

        The order is the same for both, so that a command that lost its first node to another command commits nowhere.
        Problems with a new node are found before any member refuses writes.
        """
        return sorted(self.nodes, key=lambda node: (not self.joins(node), bool(node.name)))

    @property
    def is_committed(self) -> bool:
        """Whether a node has committed the move that others still prepare: everything is copied and verified."""
        pending = self.pending
        return pending is not None and any(agree(node.answer.placement.current, pending) for node in self.nodes)

    @property
    def current(self) -> Placement | None:
        """The placement before the move in progress; the newest one if there is no move."""
        pending = self.pending
        if pending is None:
            return self.newest
        before = {node.url: node.answer for node in self.nodes if node.answer.placement.epoch == pending.epoch - 1}
        return cluster_placement(before)

    def without(self, lost: Container[str]) -> Survey:
        """The survey without the missing nodes of these shards, as long as a change is under way that removes them."""
        if self.pending is None:
            return self
        removed = [name for name in self.missing if name in lost and self.pending.member(name) is None]
        return replace(self, missing={name: error for name, error in self.missing.items() if name not in removed})

    def require_all(self, config: Config, source: str) -> None:
        """Raise UnavailableError, saying how to start it, if a node did not answer."""
        self._require(config, source, self.missing)

    def require_members(self, config: Config, source: str) -> None:
        """Like `require_all`, except for new nodes of the move in progress, which own nothing yet."""
        current, pending = self.current, self.pending
        members = current.members if current is not None else ()
        known = {member.node_id for member in members if member.node_id}

        def is_new(name: str) -> bool:
            member = pending.member(name) if pending is not None else None
            return member is not None and name not in {one.shard for one in members} and member.node_id not in known

        self._require(config, source, [name for name in self.missing if not is_new(name)])

    def _require(self, config: Config, source: str, names: Iterable[str]) -> None:
        configured = {shard.name for shard in config.shards}
        for name in names:
            error = self.missing[name]
            if isinstance(error, UnauthenticatedError | PermissionDeniedError):
                # It does answer.
                raise error
            url = self.urls[name]
            start = f"datastore serve --config {source} --shard {name}"
            if name not in configured:
                start = (
                    f"datastore serve lmdb:ITS_DIRECTORY --listen {parse_server_url(url)}\n"
                    f"or, if it listens elsewhere, say --node {name}=grpc://HOST:PORT"
                )
                if self.pending is not None:
                    start += (
                        f"\nor, if its data directory is lost, finish the change without it:\n"
                        f"  datastore placement apply {source} --offline --lost {name}"
                    )
            raise UnavailableError(
                f"shard {name!r} does not answer at {url}: {error}. All nodes must be running for this. To start it:\n"
                f"  {start}",
                shard=name,
            )


@asynccontextmanager
async def surveyed(config: Config, addresses: Mapping[str, str]) -> AsyncIterator[Survey]:
    """Ask the nodes of the configuration and of its cluster. Connections are closed with the block.

    `addresses` has URLs of nodes that are not in the configuration, overriding those that the cluster recorded.
    """
    async with AsyncExitStack() as stack:
        found: dict[str, Answer | DatastoreError] = {}
        clients: dict[str, NodeClient] = {}
        coordinator = secrets.token_hex(8)
        credentials = config.credentials()

        async def ask(urls: Mapping[str, str]) -> None:
            for name, url in urls.items():
                client = NodeClient(url, coordinator=coordinator, credentials=credentials)
                clients[name] = await stack.enter_async_context(client)
            answers = await asyncio.gather(*(_ask(clients[name]) for name in urls))
            found.update(zip(urls, answers, strict=True))

        configured = {shard.name: shard.url for shard in config.shards}
        for name in addresses:
            if name in configured:
                raise ConfigError(f"--node {name}: the configuration has the url of {name!r}")
        await ask({**configured, **addresses})
        removed = _removed(clients, [answer for answer in found.values() if isinstance(answer, Answer)])
        await ask(removed)
        reached = {name: answer for name, answer in found.items() if isinstance(answer, Answer)}
        named = {reached[name].placement.node_id for name in configured if name in reached}
        yield Survey(
            tuple(
                Node(clients[name], answer, name if name in configured else "")
                for name, answer in reached.items()
                # A recorded address may belong to another shard by now.
                if name in configured or answer.placement.node_id not in named
            ),
            {name: answer for name, answer in found.items() if isinstance(answer, DatastoreError)},
            {name: client.url for name, client in clients.items()},
        )


async def _ask(client: NodeClient) -> Answer | DatastoreError:
    try:
        return await client.get_placement()
    except DatastoreError as error:
        return error


def _removed(asked: Container[str], answers: list[Answer]) -> dict[str, str]:
    """The URLs of cluster members, before or after a move, that have not been asked under any name."""
    members = [answer for answer in answers if answer.placement.shard]
    settled = [answer for answer in members if answer.is_settled] or members
    epoch = max((answer.placement.epoch for answer in settled), default=0)
    present = {name for answer in answers for name in (answer.placement.shard, answer.placement.pending_shard)}
    urls: dict[str, str] = {}
    for answer in settled:
        current, pending = answer.placement.current, answer.placement.pending
        if max(placement.epoch for placement in (current, pending) if placement is not None) < epoch:
            continue
        for placement in (current, pending):
            for member in placement.members if placement is not None else ():
                if member.shard not in asked and member.shard not in present:
                    urls[member.shard] = member.url
    for name, url in urls.items():
        if not url:
            raise ConfigError(
                f"where the node of {name!r} listens is not known; say it with --node {name}=grpc://HOST:PORT"
            )
    return urls
