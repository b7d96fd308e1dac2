"""What a worker holds: which grants may still be sent, and which were renewed."""

import asyncio

import pytest

from echelon_workers.hand import Hand, Held
from echelon_workers.ledger.verbs import Grant

LEASE_S = 10.0


class Clock:
    """`time.monotonic`, by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("echelon_workers.hand.time.monotonic", clock)
    return clock


@pytest.fixture
def hand(clock: Clock) -> Hand:
    return Hand(LEASE_S)


def grant(id: str = "a", lease: str = "1", within_ms: int | None = None) -> Grant:
    return Grant(id, "q", lease, "one", "q", b"{}", "", "q", 0, 0, 0, False, "", "", within_ms)


def test_a_grant_is_sent_once_its_call_goes_out_and_stays_sent(hand: Hand, clock: Clock) -> None:
    held = hand.take_up(grant(), clock())
    assert hand.send(held)
    clock.now += 10 * LEASE_S
    assert hand.send(held), "a call that is on its way is not stopped by this"


def test_a_grant_whose_lease_was_not_renewed_in_time_is_not_sent(hand: Hand, clock: Clock) -> None:
    held = hand.take_up(grant(), clock())
    clock.now += LEASE_S
    assert not held.lapsed
    clock.now += 0.001
    assert held.lapsed
    assert not hand.send(held)


def test_a_grant_counts_from_before_redis_was_asked_for_it(hand: Hand, clock: Clock) -> None:
    asked_at = clock()
    clock.now += 6
    held = hand.take_up(grant(), asked_at)
    clock.now += 5
    assert not hand.send(held)


def test_a_renewed_grant_is_sent_later_too(hand: Hand, clock: Clock) -> None:
    first, second = hand.take_up(grant("a"), clock()), hand.take_up(grant("b"), clock())
    clock.now += 8
    asked_at = clock()
    clock.now += 1
    hand.renewed([("a", "1"), ("gone", "1")], asked_at)
    clock.now += 8
    assert hand.send(first)
    assert not hand.send(second), "it was not among those renewed"


def test_a_renewal_counts_from_before_redis_was_asked_for_it(hand: Hand, clock: Clock) -> None:
    held = hand.take_up(grant(), clock())
    asked_at = clock()
    clock.now += 9
    hand.renewed([("a", "1")], asked_at)
    clock.now += 2
    assert not hand.send(held)


def test_a_renewal_of_another_lease_renews_nothing(hand: Hand, clock: Clock) -> None:
    held = hand.take_up(grant(lease="2"), clock())
    clock.now += 9
    hand.renewed([("a", "1")], clock())
    clock.now += 2
    assert not hand.send(held)


def test_a_grant_under_a_rate_lapses_by_that_however_long_its_lease_is(hand: Hand, clock: Clock) -> None:
    held = hand.take_up(grant(within_ms=50), clock())
    hand.renewed([("a", "1")], clock())
    assert hand.urgent == 1
    clock.now += 0.051
    assert not hand.send(held)
    hand.put_down(held)
    assert (hand.urgent, len(hand)) == (0, 0)


def test_what_was_sent_is_not_urgent_any_more_and_not_twice(hand: Hand, clock: Clock) -> None:
    held = hand.take_up(grant(within_ms=50), clock())
    assert hand.send(held)
    assert hand.urgent == 0
    hand.put_down(held)
    assert hand.urgent == 0


def test_only_the_first_reason_to_stop_counts_and_none_after_its_end(clock: Clock) -> None:
    async def stopped() -> tuple[Held, Held, bool]:
        hand = Hand(LEASE_S)
        held, done = hand.take_up(grant("a"), clock()), hand.take_up(grant("b"), clock())
        task = asyncio.ensure_future(asyncio.sleep(0))
        hand.runs_in(held, task)
        hand.put_down(done)
        for why in ("cancel", "lost"):
            held.halt(why)  # type: ignore[arg-type]
            done.halt(why)  # type: ignore[arg-type]
        await asyncio.wait([task])
        return held, done, task.cancelled()

    held, done, was_cancelled = asyncio.run(stopped())
    assert (held.stop, done.stop, was_cancelled) == ("cancel", None, True)
