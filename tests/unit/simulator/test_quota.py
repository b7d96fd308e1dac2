"""Quotas against plain models: never one too many, and a wait that is true to the nanosecond."""

from fractions import Fraction

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echelon_producers.simulator.quota import Gate, Quota, TokenBucket, TrailingWindow
from echelon_producers.simulator.script import Limits

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

MINUTE_NS = 60_000_000_000
# Steps of time and amounts asked, as a client would bring them.
ASKS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), max_size=60)


@quick
@given(ASKS, st.integers(1, 20), st.integers(1, 50))
def test_a_trailing_window_admits_exactly_what_fits(asks: list[tuple[int, int]], limit: int, window: int) -> None:
    meter = TrailingWindow(limit, window)
    spent: list[tuple[int, int]] = []
    now = 1000
    for step, amount in asks:
        now += step
        inside = sum(size for at, size in spent if at > now - window)
        wait = meter.wait_ns(amount, now)
        assert (wait == 0) == (inside + amount <= limit)
        assert meter.used(now) == inside
        assert (wait is None) == (amount > limit)
        if wait == 0:
            meter.spend(amount, now)
            spent.append((now, amount))
    for end in range(1000, now + 1):
        assert sum(size for at, size in spent if end - window < at <= end) <= limit


@quick
@given(ASKS, st.integers(1, 20), st.integers(1, 50))
def test_the_wait_of_a_trailing_window_is_the_first_moment_that_fits(
    asks: list[tuple[int, int]], limit: int, window: int
) -> None:
    meter = TrailingWindow(limit, window)
    now = 1000
    for step, amount in asks:
        now += step
        wait = meter.wait_ns(amount, now)
        if wait:
            assert meter.wait_ns(amount, now + wait - 1) != 0
            now += wait
        if wait is not None:
            assert meter.wait_ns(amount, now) == 0
            meter.spend(amount, now)


@quick
@given(
    st.lists(st.tuples(st.integers(0, 5 * MINUTE_NS), st.integers(1, 12)), max_size=40),
    st.integers(1, 10),
    st.integers(1, 600),
)
def test_a_token_bucket_is_exact(asks: list[tuple[int, int]], limit: int, per_minute: int) -> None:
    meter = TokenBucket(limit, per_minute)
    level, now = Fraction(limit), 1000
    for step, amount in asks:
        now += step
        level = min(Fraction(limit), level + Fraction(per_minute * step, MINUTE_NS))
        wait = meter.wait_ns(amount, now)
        assert (wait == 0) == (level >= amount)
        assert (wait is None) == (amount > limit)
        if wait:
            refilled = Fraction(per_minute, MINUTE_NS)
            assert level + refilled * (wait - 1) < amount <= level + refilled * wait
        if wait == 0:
            meter.spend(amount, now)
            level -= amount


def test_requests_and_tokens_are_spent_together_or_not_at_all() -> None:
    quota = Quota(Limits(rpm=10, tpm=100))
    assert quota.admit(90, 1) is None
    refused = quota.admit(20, 2)
    assert refused is not None
    assert (refused.measure, refused.limit, refused.used, refused.requested) == ("tokens", 100, 90, 20)
    requests, tokens = quota.standing(3)
    assert (requests.remaining, tokens.remaining) == (9, 10)


def test_the_wait_covers_every_limit_that_is_exceeded() -> None:
    quota = Quota(Limits(rpm=1, tpm=100))
    assert quota.admit(100, 0) is None
    refused = quota.admit(1, 20_000_000_000)
    assert refused is not None
    assert refused.retry_after_s == 40
    assert quota.admit(1, 60_000_000_000) is None


def test_the_limit_that_binds_longest_is_the_one_that_is_named() -> None:
    quota = Quota(Limits(rpm=2, tpm=100))
    assert quota.admit(1, 0) is None
    assert quota.admit(99, 10_000_000_000) is None
    refused = quota.admit(50, 20_000_000_000)
    assert refused is not None
    assert (refused.measure, refused.retry_after_s) == ("tokens", 50)


@quick
@given(
    st.lists(st.tuples(st.integers(0, 20_000_000), st.integers(1, 60)), max_size=40),
    st.integers(1, 5),
    st.sampled_from(["sliding_window", "token_bucket"]),
)
def test_who_waits_as_long_as_told_is_admitted_and_not_a_moment_earlier(
    asks: list[tuple[int, int]], calls: int, algorithm: str
) -> None:
    quota = Quota(Limits.model_validate({"rpm": calls, "tpm": 60, "algorithm": algorithm}))
    now = 0
    for step_us, tokens in asks:
        now += step_us * 1000
        refused = quota.admit(tokens, now)
        if refused is None:
            continue
        assert refused.retry_after_s is not None
        wait = round(refused.retry_after_s * 1e9)
        # A microsecond before, because seconds come as a float.
        assert quota.admit(tokens, now + wait - 1000) is not None
        now += wait + 1
        assert quota.admit(tokens, now) is None


def test_a_call_larger_than_the_limit_is_told_no_time_to_come_back() -> None:
    refused = Quota(Limits(tpm=100)).admit(101, 0)
    assert refused is not None
    assert refused.retry_after_s is None


def test_a_shorter_window_keeps_the_rate_and_lowers_the_count() -> None:
    quota = Quota(Limits(rpm=600, window_s=2))
    assert [quota.admit(1, 0) is None for _ in range(21)] == [True] * 20 + [False]
    assert quota.standing(0)[0].limit == 20


def test_a_gate_refuses_beyond_its_limit_and_zero_is_no_limit() -> None:
    gate = Gate(1)
    assert gate.refusal() is None
    gate.inside += 1
    refused = gate.refusal()
    assert refused is not None
    assert refused.measure == "concurrency"
    assert Gate(0).refusal() is None
