"""Time that never runs backwards, servers that were away, and servers that have taken another's place."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from byhand import configuration
from ledger_hands import FAST, LedgerHands, ids
from waiting import until

from echelon_workers.ledger.address import Address
from echelon_workers.ledger.limits import ALGORITHMS, Meter
from echelon_workers.ledger.scripts import script
from echelon_workers.ledger.status import cluster_status
from echelon_workers.ledger.verbs import Terms, Verb

HOUR_MS = 3_600_000
#: What a busy machine may add between two readings of a clock.
SLACK_MS = 150
SCOPE = "model:one"


def limit(hands: LedgerHands, *meters: Meter) -> None:
    """The instance of FAST has these limits."""
    hands.redis.hset(hands.keys.of("scope", SCOPE), "meters", "".join(map(str, meters)))
    hands.redis.sadd(hands.keys.of("scopes"), SCOPE)
    hands.redis.set(hands.keys.of("plan", FAST), f"one {FAST} 0 typical|{SCOPE}")


@pytest.fixture
def hands(address: Address) -> Iterator[LedgerHands]:
    hands = LedgerHands(address, Terms(lease_ms=10_000))
    yield hands
    hands.close()


# A clock that was set back


@pytest.fixture
def ahead(hands: LedgerHands) -> LedgerHands:
    """The cluster has seen a time that is an hour ahead of the server's: it came to a host whose clock is behind."""
    hands.reap()
    hands.redis.incrby(hands.keys.of("clock"), HOUR_MS)
    hands.terms = Terms(lease_ms=200)
    return hands


def test_time_goes_on_at_its_own_pace_where_the_clock_was_set_back(ahead: LedgerHands) -> None:
    first, began = ahead.taken().now_ms, time.monotonic()
    assert first >= ahead.redis.time()[0] * 1000 + HOUR_MS - SLACK_MS
    until(lambda: time.monotonic() - began > 0.2, what="a while has passed")
    passed = (time.monotonic() - began) * 1000
    assert abs(ahead.taken().now_ms - first - passed) < SLACK_MS
    assert abs(cluster_status(ahead.ledger, configuration(), 1).now_ms - first - passed) < SLACK_MS


def test_leases_lapse_and_deadlines_pass_where_the_clock_was_set_back(ahead: LedgerHands) -> None:
    ahead.submit("a")
    ahead.take()
    began = time.monotonic()
    ahead.submit("b", queue="other.queue", deadline_ms=200)

    def states() -> list[str]:
        ahead.reap()
        return [ahead.field(id, "state") for id in "ab"]

    assert states() == ["running", "queued"]
    until(lambda: states() == ["queued", "expired"], timeout_s=15, what="the lease and the deadline run out")
    assert time.monotonic() - began > 0.15


def test_windows_slide_and_delays_end_where_the_clock_was_set_back(ahead: LedgerHands) -> None:
    limit(ahead, Meter("sliding_window", "requests", 2, 300, 300))
    ahead.submit("a", "b", "c")
    began = time.monotonic()
    first, second = ahead.take()
    assert ahead.finish(first, "retry", delay_ms=100)
    assert ahead.finish(second)
    found = until(ahead.take, timeout_s=15, what="the window has slid")
    assert time.monotonic() - began > 0.25
    assert sorted(ids(found)) == ["a", "c"]


def test_a_clock_that_is_no_time_is_no_reason_to_stop(hands: LedgerHands) -> None:
    hands.submit("a")
    for name in ("clock", "ahead", "lease"):
        for garbage in ("garbage", "nan", "inf", "-inf", "1e300", ""):
            hands.redis.set(hands.keys.of(name), garbage)
            now = hands.taken().now_ms
            assert abs(now - time.time() * 1000) < 60_000, f"{name} {garbage}"
            assert cluster_status(hands.ledger, configuration(), 1).now_ms >= now
        hands.redis.delete(hands.keys.of(name))
        hands.redis.hset(hands.keys.of(name), "a", 1)
        hands.taken()
        hands.redis.delete(hands.keys.of(name))


# A server that was away


def away(hands: LedgerHands, seconds: float) -> None:
    """Nobody has asked for so long, and every lease has run out meanwhile."""
    hands.redis.decrby(hands.keys.of("clock"), int(seconds * 1000))
    hands.due("running", "a")


def test_no_lease_lapses_at_once_when_the_server_was_away_and_each_may_be_renewed(hands: LedgerHands) -> None:
    hands.submit("a")
    hands.reap()
    (grant,) = hands.take()
    away(hands, 6)
    hands.reap()
    assert hands.record("a").state == "running"
    assert 4_000 < hands.redis.pttl(hands.keys.of("calm")) <= 5_000
    assert hands.take() == []
    assert hands.reap(grant).lost == []
    assert (hands.redis.zscore(hands.keys.of("running"), "a") or 0) > hands.now_ms()
    assert hands.finish(grant)


def test_a_lease_that_nobody_renewed_lapses_when_it_has_been_calm_for_long_enough(hands: LedgerHands) -> None:
    hands.submit("a")
    hands.reap()
    hands.take()
    away(hands, 6)
    hands.reap()
    hands.redis.set(hands.keys.of("calm"), hands.now_ms() - 1, px=60_000)  # five seconds later
    hands.reap()
    assert hands.record("a").state == "queued"


def test_a_lease_lapses_as_usual_when_the_server_was_asked_all_the_while(hands: LedgerHands) -> None:
    hands.submit("a")
    hands.reap()
    hands.take()
    away(hands, 4)
    hands.reap()
    assert hands.record("a").state == "queued"


# Another server than before


def arrive(hands: LedgerHands, run_id: str, lost_ms: int = 2_000) -> int:
    return int(hands.ledger.run(Verb(script("arrive"), [run_id, lost_ms], int)))


METERS = {
    "sliding_window": (Meter("sliding_window", "requests", 300, 60_200, 60_200), 10),
    "token_bucket": (Meter("token_bucket", "requests", 20, 0.004, 60_000), 8),
    "weighted_window": (Meter("weighted_window", "tokens", 1000, 60_200, 60_200), 34),
}


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_a_new_server_counts_two_seconds_of_each_rate_as_used_once(hands: LedgerHands, algorithm: str) -> None:
    meter, charged = METERS[algorithm]
    limit(hands, meter)
    options: dict[str, Any] = {"input_tokens": 9}  # ten are reserved
    assert arrive(hands, "one") == 0, "the first is no other one"
    hands.submit(*(f"j{i}" for i in range(400)), **options)
    began = hands.taken(0).now_ms
    model = ALGORITHMS[algorithm](meter)
    if algorithm == "token_bucket":
        model.at = began  # type: ignore[attr-defined]
    amount = 10 if meter.unit == "tokens" else 1
    for grant in hands.take(5):
        model.use(amount, began)
        assert grant.instance == "one"
    assert [arrive(hands, "two"), arrive(hands, "two"), arrive(hands, "two")] == [1, 0, 0]
    model.use(charged, began)
    hands.redis.delete(hands.keys.of("blocked"))
    taken = hands.taken(400)
    allowed = 0
    while model.open_at(amount, taken.now_ms) <= taken.now_ms:
        model.use(amount, taken.now_ms)
        allowed += 1
    assert 0 < len(taken.grants) == allowed


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_a_server_that_forgets_nothing_charges_nothing(hands: LedgerHands, algorithm: str) -> None:
    meter, _ = METERS[algorithm]
    limit(hands, meter)
    arrive(hands, "one", 0)
    assert arrive(hands, "two", 0) == 1
    hands.submit(*(f"j{i}" for i in range(400)), input_tokens=9)
    assert len(hands.take(400)) == (100 if meter.unit == "tokens" else meter.size)


def test_the_log_of_a_window_stays_ordered_and_bounded_however_often_servers_change(hands: LedgerHands) -> None:
    small, large = (Meter("sliding_window", "requests", size, 1_000, 1_000) for size in (20, 2_000))
    limit(hands, small, large)
    log = hands.keys.of("log", SCOPE)
    hands.submit(*(f"j{i}" for i in range(60)))
    for number in range(4):
        hands.redis.delete(hands.keys.of("blocked"))
        hands.take(15)
        arrive(hands, f"server {number}")
        times = [int(at) for at in hands.redis.lrange(log, 0, -1)]
        assert times == sorted(times)
        assert len(times) <= 2_000
    assert 0 < hands.redis.pttl(log) <= 60_200
    assert hands.take(15) == [], "its window is full"


def test_what_the_provider_states_of_its_tokens_is_not_charged_beside_what_is_configured(hands: LedgerHands) -> None:
    limit(hands, Meter("weighted_window", "tokens", 1000, 60_200, 60_200))
    hands.taken(0)
    declared = str(Meter("weighted_window", "tokens", 500, 60_200, 60_200))
    until = hands.now_ms() + HOUR_MS
    hands.redis.hset(hands.keys.of("scope", SCOPE), mapping={"declared": declared, "du": until})
    arrive(hands, "one")
    arrive(hands, "two")
    entries = [int(entry.split()[-1]) for entry in hands.redis.zrange(hands.keys.of("tokens", SCOPE), 0, -1)]
    assert sum(entries) == int(hands.redis.hget(hands.keys.of("scope", SCOPE), "tu") or 0) == 34


def test_leases_get_a_while_to_be_renewed_on_another_server(hands: LedgerHands) -> None:
    hands.submit("a")
    hands.reap()
    arrive(hands, "one")
    hands.take()
    arrive(hands, "two")
    hands.due("running", "a")
    hands.reap()
    assert hands.record("a").state == "running"
    assert 4_000 < hands.redis.pttl(hands.keys.of("calm")) <= 5_000
