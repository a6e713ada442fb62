"""Changes to a cluster's placement while it refuses writes: plan, apply, adopt, abort.

Every node prepares a change and then refuses writes; entries are copied to their new owners, and counts and checksums
compared; then every node commits, and only then are copies deleted at the sources. Every step is idempotent: after a
crash, running the same command again continues; the nodes alone show how far the change had got.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from datastore.engine.placement import Placement
from datastore.model.errors import ConfigError, CorruptDataError
from datastore_server.config import Config
from datastore_server.coordination.comparison import Comparison, agree, first_of
from datastore_server.coordination.planning import (
    Move,
    Slots,
    Summary,
    check_fits,
    differing,
    moves,
    target_placement,
    total,
)
from datastore_server.coordination.survey import Node, Survey, surveyed
from datastore_server.counting import counted
from datastore_server.placement.record import RECORD_NAME

__all__ = ["Options", "Plan", "Unfinished", "abort", "apply", "plan", "unfinished"]

Report = Callable[[str], object]

#: The pauses before copied slots that differ are compared again, in seconds: together more than the clocks of a
#: cluster should differ by.
_COMPARED_AGAIN_S = (0.0, 1.0, 3.0)


@dataclass(frozen=True)
class Options:
    """What a change may do, beyond what the configuration says."""

    #: New shard names by old ones.
    renames: Mapping[str, str] = field(default_factory=dict)
    #: The URLs of nodes that are not in the configuration, by shard.
    addresses: Mapping[str, str] = field(default_factory=dict)
    #: Shards whose entries are lost, and whose new nodes are empty.
    replaced: frozenset[str] = frozenset()
    #: Shards to be removed whose nodes do not answer and never will: a change under way is finished without them.
    lost: frozenset[str] = frozenset()
    #: Whether writes may be refused while entries are moved.
    offline: bool = False
    #: Whether nodes with entries but no placement are given one.
    adopt: bool = False


@dataclass(frozen=True)
class Plan:
    """A change from one placement to another, and what it moves. `target is current` if nothing changes."""

    current: Placement
    target: Placement
    moves: tuple[Move, ...]

    @property
    def size(self) -> Summary:
        """The total to be moved."""
        return sum((move.size for move in self.moves), Summary())


@dataclass(frozen=True)
class Unfinished:
    """A change that was started but not finished. If writes are not refused, only copies remain to be deleted."""

    epoch: int
    refuses_writes: bool
    may_be_cancelled: bool


async def plan(config: Config, source: str, options: Options) -> Plan:
    """What `apply` would move. Changes nothing."""
    async with surveyed(config, options.addresses) as survey:
        survey.require_all(config, source)
        current, target = _goal(survey, config, source, options)
        return await _planned(survey, current, target)


async def apply(config: Config, source: str, options: Options, report: Report) -> Plan:
    """Change the cluster to what `config` says, or continue an interrupted change. Calls `report` with each step.

    Raises ConfigError, saying what to do instead, for an impossible change or one that needs another option;
    UnavailableError if a node cannot be reached; CorruptDataError if copies do not compare equal. In each case
    nothing was deleted, and the same command can be run again.
    """
    await _settle_left(config, source, options, report)
    async with surveyed(config, options.addresses) as found:
        survey = found.without(options.lost)
        survey.require_all(config, source)
        if survey.pending is None and (survey.newest is None or options.adopt):
            return await _place(survey, config, options, report)
        current, target = _goal(survey, config, source, options)
        if survey.is_committed:
            report(f"continuing the move to epoch {target.epoch}, which some nodes have committed")
            await _prepare(survey, current, target)
            await _finish(survey, target, report)
            _report_lost(found, options, report)
            return Plan(current, target, ())
        planned = await _planned(survey, current, target)
        if target is current:
            await _clear(survey, current, report)
            return planned
        if planned.size.entries and not options.offline:
            raise ConfigError(
                f"{counted(planned.size.entries, 'entries')} would move, and writes would be refused meanwhile; if that"
                " is acceptable, run the command again with --offline"
            )
        await _prepare(survey, current, target)
        report(
            f"epoch {target.epoch} is prepared on {counted(len(survey.nodes), 'nodes')}; writes are refused until the"
            " change is done"
        )
        await _copy(survey, current, target, report, _slots_of_lost(found, options, current, target))
        await _copy_records(survey)
        await _finish(survey, target, report)
        _report_lost(found, options, report)
        return planned


async def abort(config: Config, source: str, options: Options, report: Report) -> None:
    """Cancel a move in progress and allow writes again. Raises ConfigError if a node has committed it."""
    async with surveyed(config, options.addresses) as survey:
        pending = survey.pending
        if pending is None:
            survey.require_all(config, source)
            await _drop(survey.overtaken, report)
            report("no move is under way")
            return
        if survey.is_committed:
            raise ConfigError(
                f"the move to epoch {pending.epoch} is committed on some nodes already, and all entries are copied; "
                f"finish it: datastore placement apply {source} --offline"
            )
        survey.require_members(config, source)
        await _drop(survey.preparing, report)
        for name in survey.missing:
            report(f"shard {name!r} does not answer at {survey.urls[name]}; it is left unchanged: it owns nothing yet")


async def unfinished(config: Config, options: Options) -> Unfinished | None:
    """What remains to be done for a change that was started, or None. UnavailableError if no node answers."""
    async with surveyed(config, options.addresses) as survey:
        if not survey.nodes:
            survey.require_all(config, "CONFIG")
        if survey.pending is not None:
            return Unfinished(survey.pending.epoch, refuses_writes=True, may_be_cancelled=not survey.is_committed)
        if survey.newest is not None and survey.holding_copies:
            return Unfinished(survey.newest.epoch, refuses_writes=False, may_be_cancelled=False)
        return None


async def _settle_left(config: Config, source: str, options: Options, report: Report) -> None:
    """Cancel moves that cannot be finished: superseded ones, and one prepared for a new node that is gone.

    A move that some nodes have committed is finished without nodes lost since, if they are to be replaced.
    """
    async with surveyed(config, options.addresses) as found:
        survey = found.without(options.lost)
        survey.require_all(config, source)
        pending = survey.pending
        await _drop(survey.overtaken, report)
        if pending is None or not survey.changed:
            return
        check_fits(pending, config, source)
        if survey.is_committed:
            _check_lost(survey, options)
            report(f"finishing the move to epoch {pending.epoch} without the nodes that were lost")
            there = replace(survey, nodes=tuple(node for node in survey.nodes if node not in survey.changed))
            await _prepare(there, survey.current, pending)
            await _finish(there, pending, report)
        else:
            report(f"the move to epoch {pending.epoch} was prepared for a node that is not there any more")
            await _drop(survey.preparing, report)


def _slots_of_lost(found: Survey, options: Options, current: Placement, target: Placement) -> frozenset[int]:
    """The slots of shards whose nodes are lost. How much of them was copied can no longer be verified.

    Raises ConfigError if `shard_by` changes too, because the copied entries cannot be identified then.
    """
    lost = options.lost & found.missing.keys()
    if lost and current.shard_by != target.shard_by:
        raise ConfigError(
            f"--lost {min(lost)}: shard_by changes too, so what was copied from that shard is not known; start its node"
        )
    return frozenset(slot for slot, owner in enumerate(current.owners) if current.shards[owner] in lost)


def _report_lost(found: Survey, options: Options, report: Report) -> None:
    for name in sorted(options.lost & found.missing.keys()):
        report(
            f"shard {name!r} was left out: if its data directory at {found.urls[name]} turns up again, do not serve it"
        )


def _check_lost(survey: Survey, options: Options) -> None:
    """Raise ConfigError unless nodes that were lost after others had committed are to be replaced.

    Until a node that had entries before has switched, no entries are lost, and the move can start over.
    """
    coming = ", ".join(sorted(node.name for node in survey.nodes if survey.joins(node)))
    for node in survey.changed:
        text = (
            f"{node.url} (shard {node.name!r}) is on another data directory than when the change began, and some nodes"
            " have committed the change. Start it on its own directory, and run the same command again."
        )
        if not survey.has_switched:
            raise ConfigError(
                f"{text} If that directory is lost, no entries are: stop the new nodes ({coming}), start each of them"
                " on a new, empty directory, and run the same command again"
            )
        if node.name not in options.replaced:
            raise ConfigError(
                f"{text} If that directory is lost, so are its entries: start it on a new, empty directory, and run the"
                f" same command with --replace {node.name}"
            )


async def _drop(nodes: Sequence[Node], report: Report) -> None:
    """Cancel pending moves on nodes. First, all of them stop accepting a command that may still be executing it."""
    held = [(node, node.answer.placement) for node in nodes]
    for node, placement in held:
        if placement.pending is not None:
            await node.client.prepare(placement.pending_shard, placement.pending, joins=not placement.shard)
    for node, placement in held:
        if placement.pending is not None:
            await node.client.abort(placement.pending.epoch)
            if placement.shard:
                # Aborting empties a node that is not a member. A member's copies are not served in the meantime.
                await node.client.clear_slots(placement.epoch)
            report(f"{node.label}: the change to epoch {placement.pending.epoch} is cancelled")


def _goal(survey: Survey, config: Config, source: str, options: Options) -> tuple[Placement, Placement]:
    """The placements before and after the change; after is the pending one, if a move is in progress."""
    pending, newest = survey.pending, survey.newest
    if pending is not None:
        check_fits(pending, config, source)
        if newest is not None and survey.is_committed:
            return newest, pending
        current = survey.current
        if current is None:
            raise ConfigError("the nodes that prepare a move have no placement to move from; report this")
        return current, pending
    if newest is None:
        raise ConfigError(f"no node has a placement yet; place them first: datastore placement apply {source}")
    _check_nodes(survey, config, newest, source, options)
    members = {node.name: node.member for node in survey.nodes if node.name}
    return newest, target_placement(newest, config, members, options.renames)


def _check_nodes(survey: Survey, config: Config, current: Placement, source: str, options: Options) -> None:
    """Raise ConfigError for mismatched nodes, with which entries would be lost."""
    comparison = Comparison(config, survey.answers, current, source)
    found = [difference for difference in comparison.nodes() if difference.shard not in options.replaced]
    found += comparison.copies()
    found += [
        difference
        for difference in comparison.names()
        if difference.shard in comparison.renamed.keys() - options.renames.keys()
    ]
    if found:
        raise ConfigError("\n".join(map(str, found)))
    for name in options.replaced:
        _check_replaced(name, survey, current)
    for node in survey.nodes:
        if not node.name and not agree(node.answer.placement.current, current):
            raise ConfigError(
                f"{node.url} is not a node of the cluster {current.cluster!r}, and not in the configuration"
            )
    held = {node.shard_in(current) for node in survey.nodes}
    for member in current.members:
        if member.shard not in held and member.shard not in options.replaced and not member.in_memory:
            raise ConfigError(
                f"no node is the shard {member.shard!r} of the cluster, with its entries; start it, and if it listens "
                f"elsewhere say --node {member.shard}=grpc://HOST:PORT"
            )


def _check_replaced(name: str, survey: Survey, current: Placement) -> None:
    node = next((node for node in survey.nodes if node.name == name), None)
    if node is None or current.member(name) is None:
        raise ConfigError(f"--replace {name}: there is no such shard in both the configuration and the cluster")
    if not node.answer.is_empty:
        raise ConfigError(f"--replace {name}: the node at {node.url} holds entries; start it on a new directory")


async def _planned(survey: Survey, current: Placement, target: Placement) -> Plan:
    if target is current:
        return Plan(current, target, ())
    held = await _held(survey, current, target)
    label = {node.name: node.shard_in(current) or node.name for node in survey.nodes if node.name}
    owner_of = [label[target.shards[owner]] for owner in target.owners]
    same_rule = current.shard_by == target.shard_by
    unchanged = {slot: current.shards[owner] for slot, owner in enumerate(current.owners)} if same_rule else None
    found = moves({node.shard_in(current): slots for node, slots in held.items()}, owner_of, unchanged)
    return Plan(current, target, tuple(found))


async def _held(survey: Survey, current: Placement, target: Placement) -> dict[Node, Slots]:
    """What each current member owns, by slot under the target's rule."""
    sources = [node for node in survey.nodes if node.is_of(current)]
    held = await asyncio.gather(*(node.client.summarize(target.shard_by, owned_only=True) for node in sources))
    return dict(zip(sources, held, strict=True))


async def _prepare(survey: Survey, current: Placement | None, target: Placement) -> None:
    """Make every uncommitted node refuse writes, and other commands that execute the same move.

    Then none gives versions that are not above those of all nodes: entries that move must not get lower ones.
    """
    uncommitted = [node for node in survey.in_order if not agree(node.answer.placement.current, target)]
    latest: dict[Node, int] = {}
    for node in uncommitted:
        if survey.is_former(node):
            # It joins again; its entries moved away when it was removed.
            await node.client.clear_slots(node.answer.placement.epoch)
        latest[node] = await _prepare_node(node, current, target)
    highest = max(latest.values(), default=0)
    for node in uncommitted:
        if latest[node] < highest:
            await _prepare_node(node, current, target, version=highest)


async def _prepare_node(node: Node, current: Placement | None, target: Placement, *, version: int = 0) -> int:
    held = node.answer.placement
    name = held.pending_shard if held.pending is not None else node.name
    return await node.client.prepare(name, target, joins=not node.is_of(current), version=version)


async def _copy(
    survey: Survey, current: Placement, target: Placement, report: Report, lost: frozenset[int] = frozenset()
) -> None:
    """Copy every entry to its new owner, and verify the copies. `lost` slots are left unchanged."""
    held = await _held(survey, current, target)
    expected = total(held.values())
    for node in survey.nodes:
        if node.name:
            await _fill(node, held, expected, target, report, lost)
    entries = sum(summary.entries for summary in expected.values())
    report(f"verified {counted(entries, 'entries')} in {counted(len(expected), 'slots')}: counts and checksums agree")


async def _copy_records(survey: Survey) -> None:
    """Copy to all nodes the records of a proxy over them that is itself a node of another cluster."""
    found = [await node.client.get_record(RECORD_NAME) for node in survey.nodes]
    kept = [record for record in found if record is not None]
    if kept:
        for node in survey.nodes:
            await node.client.put_record(RECORD_NAME, *max(kept))


async def _fill(
    node: Node, held: Mapping[Node, Slots], expected: Slots, target: Placement, report: Report, lost: frozenset[int]
) -> None:
    """Copy what `node` will own. Slots whose contents are already right are not sent again."""
    found = await node.client.summarize(target.shard_by, owned_only=False)
    owned = target.owned_by(node.name)
    wrong = differing(expected, found, [slot for slot in {*expected, *found} - lost if owned[slot]])
    if not wrong:
        return
    await node.client.clear_slots(target.epoch, wrong, shard_by=target.shard_by)
    for source, slots in held.items():
        wanted = [slot for slot in wrong if slot in slots]
        if source is node or not wanted:
            continue
        async with aclosing(source.client.read_slots(target.shard_by, wanted)) as batches:
            async for entries in batches:
                await node.client.write_slots(target.epoch, entries)
        count = sum(slots[slot].entries for slot in wanted)
        report(
            f"copied {counted(count, 'entries')} in {counted(len(wanted), 'slots')} from {source.label} to {node.label}"
        )
    found = await node.client.summarize(target.shard_by, owned_only=False)
    if wrong := await _still_wrong(node, held, target, differing(expected, found, wrong)):
        raise CorruptDataError(
            f"after copying, the contents of {counted(len(wrong), 'slots')} of {node.label} at {node.url} are wrong,"
            f" slot {wrong[0]} first; nothing was deleted, and the command can be run again",
            shard=node.name,
        )


async def _still_wrong(node: Node, held: Mapping[Node, Slots], target: Placement, slots: list[int]) -> list[int]:
    """Those of `slots` whose contents on `node` are not those of the sources.

    Those that differ are compared again: entries may have expired in between, or by one clock and not yet by the other.
    """
    for pause_s in _COMPARED_AGAIN_S:
        if not slots:
            break
        await asyncio.sleep(pause_s)
        kept = await asyncio.gather(*(source.client.summarize(target.shard_by, owned_only=True) for source in held))
        found = await node.client.summarize(target.shard_by, owned_only=False)
        slots = differing(total(kept), found, slots)
    return slots


async def _finish(survey: Survey, target: Placement, report: Report) -> None:
    """Commit on every node, then delete what moved away. Removed nodes finish both before remaining members commit.

    Until a member commits, it knows the addresses of removed nodes, so that the same command finds them after a crash.
    """
    removed = [node for node in survey.in_order if not node.name]
    staying = [node for node in survey.in_order if node.name and not survey.joins(node)]
    coming = [node for node in survey.in_order if survey.joins(node)]
    await _commit([*coming, *removed], target)
    await _delete_moved(removed, target, report)
    await _commit(staying, target)
    report(f"epoch {target.epoch} is committed on {counted(len(survey.nodes), 'nodes')}")
    await _delete_moved([*coming, *staying], target, report)


async def _commit(nodes: Sequence[Node], target: Placement) -> None:
    for node in nodes:
        if not agree(node.answer.placement.current, target):
            await node.client.commit(target.epoch)


async def _clear(survey: Survey, current: Placement, report: Report) -> None:
    """Delete copies left by a finished move."""
    await _delete_moved(survey.holding_copies, current, report)
    if not survey.holding_copies:
        report("nothing to change")


async def _delete_moved(nodes: Sequence[Node], placement: Placement, report: Report) -> None:
    for node in nodes:
        deleted = await node.client.clear_slots(placement.epoch)
        if deleted:
            report(f"deleted {counted(deleted, 'entries')} that moved away from {node.label}")


async def _place(survey: Survey, config: Config, options: Options, report: Report) -> Plan:
    """Give unplaced nodes their first placement. All nodes with entries are checked before any is placed."""
    placement = survey.newest or first_of(config, survey.answers)
    unplaced = [node for node in survey.nodes if node.answer.placement.current is None]
    holding = [node for node in unplaced if not node.answer.is_empty]
    if holding and not options.adopt:
        raise ConfigError(
            f"{holding[0].url} holds entries, but has no placement; to check that they belong there and place it, "
            "run the command again with --adopt"
        )
    for node in unplaced:
        member = placement.member(node.name)
        if member is None or member.node_id not in ("", node.member.node_id):
            raise ConfigError(f"{node.url} is not the node that the cluster has as shard {node.name!r}")
    await _check_adopted(holding, placement)
    if survey.newest is None:
        empty = len(unplaced) - len(holding)
        report(
            f"none of these nodes belongs to a cluster: this forms a NEW cluster {placement.cluster!r} of"
            f" {counted(len(unplaced), 'nodes')}, {empty} empty"
        )
    for node in unplaced:
        await node.client.place(node.name, placement, check_entries=node in holding)
    report(f"placed {counted(len(unplaced), 'nodes')}, {len(holding)} with entries")
    return Plan(placement, placement, ())


async def _check_adopted(nodes: Sequence[Node], placement: Placement) -> None:
    """Raise ConfigError, with counts, if nodes hold entries outside their future slots."""
    misplaced = []
    for node in nodes:
        owned = placement.owned_by(node.name)
        held = await node.client.summarize(placement.shard_by, owned_only=False)
        strays = sum(summary.entries for slot, summary in held.items() if not owned[slot])
        if strays:
            whole = sum(summary.entries for summary in held.values())
            misplaced.append(
                f"{node.url}: {strays:,} of {counted(whole, 'entries')} outside the slots of shard {node.name!r}"
            )
    if misplaced:
        advice = (
            "nothing was changed; correct the configuration, or export these entries and delete them at their nodes; to"
            " divide a store among shards, adopt it as the only shard, then add the others"
        )
        raise ConfigError("\n".join([*misplaced, advice]))
