"""A node that answers nothing may be waited for by a few calls only, until it answers one."""

from __future__ import annotations

from datastore_server.silence import CALLS_UNANSWERED, SILENCE_S, Silence


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def waited_for(calls: int, seconds: float) -> tuple[Silence, Clock]:
    """A node for which so many calls have waited for so long."""
    clock = Clock()
    silence = Silence(clock=clock)
    for _ in range(calls):
        silence.enter()
    clock.now_s += seconds
    return silence, clock


def test_a_node_is_silent_if_enough_calls_have_waited_long_enough() -> None:
    assert waited_for(CALLS_UNANSWERED, SILENCE_S)[0].lasted_s() == SILENCE_S
    assert waited_for(CALLS_UNANSWERED - 1, SILENCE_S)[0].lasted_s() is None
    assert waited_for(CALLS_UNANSWERED, SILENCE_S * 0.9)[0].lasted_s() is None


def test_one_answer_ends_the_silence() -> None:
    silence, clock = waited_for(CALLS_UNANSWERED + 1, SILENCE_S)
    silence.heard()
    silence.leave()
    assert silence.lasted_s() is None
    clock.now_s += SILENCE_S
    assert silence.lasted_s() == SILENCE_S


def test_calls_that_gave_up_make_room_for_others_and_do_not_end_the_silence() -> None:
    silence, _ = waited_for(CALLS_UNANSWERED, 10 * SILENCE_S)
    silence.leave()
    assert silence.lasted_s() is None
    silence.enter()
    assert silence.lasted_s() == 10 * SILENCE_S


def test_a_node_that_nobody_calls_is_not_silent() -> None:
    silence, clock = waited_for(1, 0.0)
    silence.heard()
    silence.leave()
    clock.now_s += 1000.0
    for _ in range(CALLS_UNANSWERED):
        silence.enter()
    assert silence.lasted_s() is None
