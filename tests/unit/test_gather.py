"""Calls that share messages: none is lost or sent twice, and those of one order never overtake each other."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore_client._gather import GATHERED_BYTES, GATHERED_CALLS, MESSAGES_AT_ONCE, Gather, GatheredCall


def call(number: int, order: object = None, *, size: int = 1, is_alone: bool = False) -> GatheredCall[int]:
    return GatheredCall(order, size, float(number), number, is_alone=is_alone)


def numbers(leader: GatheredCall[int] | None) -> list[int]:
    """The calls of a leader's message."""
    return [] if leader is None or leader.message is None else [member.waiter for member in leader.message]


def busy(at_once: int = MESSAGES_AT_ONCE) -> tuple[Gather[int], list[GatheredCall[int]]]:
    """One with all messages in flight, of one call each, numbered from -1 down."""
    gather: Gather[int] = Gather(at_once=at_once)
    flying = [call(-1 - place) for place in range(at_once)]
    for first in flying:
        assert gather.join(first) is first
    return gather, flying


def test_calls_are_sent_at_once_while_few_messages_are_in_flight() -> None:
    gather, flying = busy()
    assert [numbers(first) for first in flying] == [[-1], [-2]]
    assert gather.join(call(1)) is None


def test_calls_that_waited_share_the_next_message_in_their_order_led_by_the_latest_deadline() -> None:
    gather, (first, _) = busy()
    waiting = [call(number) for number in range(5)]
    assert [gather.join(one) for one in waiting] == [None] * 5
    (leader,) = gather.end(first.message or [])
    assert leader is waiting[4]
    assert numbers(leader) == [0, 1, 2, 3, 4]
    assert [one.leads for one in waiting] == [False] * 4 + [True]


@pytest.mark.parametrize(
    ("sizes", "sent"),
    [
        ([GATHERED_BYTES - 1, 1, 1], [0, 1]),
        ([GATHERED_BYTES, 1], [0]),
        ([GATHERED_BYTES + 1], [0]),
        ([1] * (GATHERED_CALLS + 1), list(range(GATHERED_CALLS))),
    ],
)
def test_a_message_has_a_limit_of_bytes_and_of_calls_and_always_one_call(sizes: list[int], sent: list[int]) -> None:
    gather, (first, _) = busy()
    for number, size in enumerate(sizes):
        gather.join(call(number, size=size))
    (leader,) = gather.end(first.message or [])
    assert numbers(leader) == sent
    assert gather.waiting == len(sizes) - len(sent)


def test_a_call_that_was_answered_holds_no_others() -> None:
    gather, (first, _) = busy()
    assert first.message is not None
    gather.end(first.message)
    assert first.message is None


def test_a_call_that_must_be_alone_shares_no_message() -> None:
    gather, (first, second) = busy()
    for one in (call(0), call(1, is_alone=True), call(2)):
        gather.join(one)
    (leader,) = gather.end(first.message or [])
    assert numbers(leader) == [0, 2]
    (leader,) = gather.end(second.message or [])
    assert numbers(leader) == [1]


def test_a_call_waits_for_an_earlier_one_of_its_order_even_if_a_message_may_be_sent() -> None:
    gather: Gather[int] = Gather()
    first, second, third = call(1, "/a"), call(2, "/a"), call(3, "/a")
    assert gather.join(first) is first
    assert gather.join(second) is None
    assert gather.hurry(second) is None
    assert gather.join(third) is None
    assert [numbers(leader) for leader in gather.end(first.message or [])] == [[2, 3]]


def test_a_call_in_a_hurry_is_sent_beside_messages_that_are_not_answered() -> None:
    gather, (first, second) = busy()
    hurried, later = call(1), call(2)
    gather.join(hurried)
    assert gather.hurry(hurried) is hurried
    assert gather.hurry(hurried) is None
    gather.join(later)
    # The extra message counts as one in flight.
    assert gather.end(first.message or []) == []
    assert gather.end(second.message or []) == [later]


def test_when_the_leader_leaves_another_call_leads() -> None:
    gather, (first, _) = busy()
    waiting = [call(number) for number in range(3)]
    for one in waiting:
        gather.join(one)
    (leader,) = gather.end(first.message or [])
    successor = gather.leave(leader)
    assert successor is waiting[1]
    assert numbers(successor) == [0, 1]


def test_when_the_only_call_of_a_message_leaves_others_are_sent_instead() -> None:
    gather, (first, second) = busy()
    last, waits = call(1, "/a"), call(2, "/a")
    gather.join(last)
    assert gather.end(first.message or []) == [last]
    gather.join(waits)
    assert gather.leave(last) is waits
    assert gather.end(second.message or []) == []


@given(st.data())
def test_every_call_is_in_one_message_and_no_order_is_overtaken(data: st.DataObject) -> None:
    gather: Gather[int] = Gather()
    flying: list[list[GatheredCall[int]]] = []
    unsent: list[GatheredCall[int]] = []
    sent: dict[object, list[int]] = defaultdict(list)
    joined: dict[object, list[int]] = defaultdict(list)
    gone: set[int] = set()

    def note(leader: GatheredCall[int] | None) -> None:
        if leader is not None:
            assert leader.message is not None
            assert leader.leads
            assert leader.message not in flying
            flying.append(leader.message)

    for number in range(data.draw(st.integers(1, 40))):
        step = data.draw(st.sampled_from(["join", "join", "join", "end", "leave", "hurry"]))
        if step == "join":
            order = data.draw(st.sampled_from([None, "/a", "/b"]))
            one = call(number, order, size=data.draw(st.sampled_from([0, 1, GATHERED_BYTES // 2, GATHERED_BYTES])))
            one.is_alone = data.draw(st.booleans())
            joined[order].append(number)
            unsent.append(one)
            note(gather.join(one))
        elif step == "end" and flying:
            message = flying.pop(data.draw(st.integers(0, len(flying) - 1)))
            for member in message:
                sent[member.order].append(member.waiter)
                unsent.remove(member)
            for leader in gather.end(message):
                note(leader)
        elif step in ("leave", "hurry"):
            waits = [one for one in unsent if one.message is None]
            if waits:
                one = data.draw(st.sampled_from(waits))
                if step == "leave":
                    gone.add(one.waiter)
                    unsent.remove(one)
                    note(gather.leave(one))
                else:
                    note(gather.hurry(one))
        for order in ("/a", "/b"):
            assert sum(any(member.order == order for member in message) for message in flying) <= 1
        for message in flying:
            assert len(message) == 1 or not any(member.is_alone for member in message)
    while flying:
        message = flying.pop(0)
        for member in message:
            sent[member.order].append(member.waiter)
        for leader in gather.end(message):
            note(leader)
    assert gather.waiting == 0
    for order, all_joined in joined.items():
        expected = [number for number in all_joined if number not in gone]
        assert (sorted(sent[order]) if order is None else sent[order]) == expected
