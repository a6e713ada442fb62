"""Faults of the network, of processes and of disks, while clients write, read, query and watch through two proxies.

What was acknowledged holds, one order explains all answers, and every query and watch is complete. The faults follow
from a seed; a failure prints them, and how to repeat them (see CONTRIBUTING.md).
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from datastore.aio.base import Datastore
from datastore_client.aio import connect
from tests.support.loads import Ledger, Load, Queries, Registers, under_load
from tests.support.schedules import DISKS, NETWORK, PROCESSES, Plan, plan
from tests.support.storms import networked, storm
from tests.support.watched import watched_writes

#: How many faults there are in a test, and how many tests of each group, by the profile of random tests.
FAULTS, ROUNDS = {"quick": (4, 1), "ci": (50, 1), "soak": (50, 20)}[settings.get_current_profile_name()]
#: Short, so that clients call again while a server is away; its end makes the outcome of a write unknown.
TIMEOUT_S = 2.0


@pytest.mark.timeout(0)
@pytest.mark.parametrize("repetition", range(ROUNDS))
@pytest.mark.parametrize(
    "kinds",
    [
        pytest.param([NETWORK], id="network"),
        pytest.param([NETWORK, PROCESSES], id="processes", marks=pytest.mark.long("many faults in a row")),
        pytest.param([DISKS, PROCESSES], id="disks", marks=pytest.mark.long("many faults in a row")),
    ],
)
async def test_no_fault_loses_undoes_or_repeats_anything(tmp_path: Path, kinds: Any, repetition: int) -> None:
    loads: list[Load] = [Ledger(), Registers(), Queries()]
    async with networked(tmp_path) as network:
        planned = plan(network.targets(*kinds), FAULTS)
        async with AsyncExitStack() as stack:
            stack.push_async_exit(noting(planned))

            async def connected(url: str, **settings: Any) -> Datastore:
                return await stack.enter_async_context(connect(url, **settings))

            stores = [
                await connected(network.urls[0], timeout_s=TIMEOUT_S),
                await connected(network.urls[1], timeout_s=TIMEOUT_S, retry_writes=True),
            ]
            await stack.enter_async_context(under_load(loads, stores, await connected(network.direct)))
            if DISKS not in kinds:
                # A node on a full disk gives up its log of changes, and watches end with CHANGES_EXPIRED.
                await stack.enter_async_context(watched_writes(network.urls[repetition % 2]))
            await storm(network, planned.faults, lambda: sum(load.answered for load in loads))


def noting(planned: Plan) -> Any:
    """Add the faults to what goes through."""

    async def exit_(_: object, error: BaseException | None, __: object) -> None:
        if error is not None:
            error.add_note(str(planned))

    return exit_


TARGETS = {"the way to shard-1": NETWORK, "the disk of shard-2": DISKS, "shard-2": PROCESSES}


def test_a_seed_always_gives_the_same_faults() -> None:
    first = plan(TARGETS, 200, seed=7)
    assert first == plan(dict(reversed(TARGETS.items())), 200, seed=7)
    assert first.faults != plan(TARGETS, 200, seed=8).faults
    assert {fault.kind for fault in first.faults} == {*NETWORK, *PROCESSES, *DISKS}
    assert any(fault.joined for fault in first.faults)


def test_a_failure_names_the_seed_that_repeats_its_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = plan(TARGETS, 20)
    for setting in str(failed).split(" repeats")[0].split():
        name, _, value = setting.partition("=")
        monkeypatch.setenv(name, value)
    assert plan(TARGETS, 3) == failed


def test_faults_that_happen_together_do_not_concern_the_same_process() -> None:
    together: set[str] = set()
    for fault in plan(TARGETS, 500, seed=1).faults:
        together = together if fault.joined else set()
        process = fault.target.removeprefix("the disk of ")
        assert process not in together
        together.add(process)
