"""The plain models of the limit algorithms, and the meters that are made of a configuration."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echelon_configs import Limits, RateLimit
from echelon_workers.ledger.limits import ALGORITHMS, LEAST_GUARD_MS, Meter, meters_of
from echelon_workers.ledger.limits.sliding_window import SlidingWindow
from echelon_workers.ledger.limits.token_bucket import TokenBucket
from echelon_workers.ledger.limits.weighted_window import WeightedWindow

gaps = st.lists(st.integers(0, 400), min_size=1, max_size=80)


def test_a_minute_is_held_open_a_third_of_a_percent_longer() -> None:
    (meter,) = meters_of(Limits(requests_per_minute=600))
    assert meter == Meter("sliding_window", "requests", 600, 60_200, 133)


def test_a_short_window_has_the_least_guard() -> None:
    rate = RateLimit(algorithm="sliding_window", window_s=1, max_requests=5)
    (meter,) = meters_of(Limits(rate=rate))
    assert meter.span == 1000 + LEAST_GUARD_MS


def test_a_bucket_is_smaller_by_what_flows_in_on_the_way_and_never_below_one() -> None:
    big = RateLimit(algorithm="token_bucket", bucket_size=20, refill_per_s=10)
    tiny = RateLimit(algorithm="token_bucket", bucket_size=1, refill_per_s=10)
    assert [meters_of(Limits(rate=rate))[0].size for rate in (big, tiny)] == [18, 1]


def test_nothing_limited_has_no_meters() -> None:
    assert meters_of(Limits(rate=RateLimit(algorithm="token_bucket"))) == []


@given(st.sampled_from(sorted(ALGORITHMS)), st.integers(1, 10**6), st.integers(1, 10**6))
def test_a_meter_is_read_as_it_was_written(algorithm: str, size: int, span: int) -> None:
    meter = Meter(algorithm, "tokens" if algorithm == "weighted_window" else "requests", size, span / 1000, 5)
    assert Meter.parse(str(meter)) == meter


@given(gaps)
def test_no_window_ever_holds_more_than_its_size(gaps: list[int]) -> None:
    model, now = SlidingWindow(Meter("sliding_window", "requests", 5, 1000, 50)), 0.0
    starts = []
    for gap in gaps:
        now = max(now + gap, model.open_at(1, now + gap))
        model.use(1, now)
        starts.append(now)
    assert all(later - earlier >= 1000 for earlier, later in zip(starts, starts[5:], strict=False))


@given(gaps)
def test_a_bucket_never_gives_more_than_its_size_and_what_flowed_in(gaps: list[int]) -> None:
    model, now = TokenBucket(Meter("token_bucket", "requests", 3, 0.01, 50)), 0.0
    starts = []
    for gap in gaps:
        now = max(now + gap, model.open_at(1, now + gap))
        model.use(1, now)
        starts.append(now)
    for i, first in enumerate(starts):
        for j in range(i, len(starts)):
            assert j - i + 1 <= 3 + (starts[j] - first) * 0.01 + 1e-6
    assert all(later >= earlier for earlier, later in pairwise(starts))


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 60), st.integers(0, 60)), min_size=1, max_size=60))
def test_tokens_within_a_window_stay_within_it_when_calls_use_no_more_than_reserved(
    calls: list[tuple[int, int, int]],
) -> None:
    model, now = WeightedWindow(Meter("weighted_window", "tokens", 100, 1000, 50)), 0.0
    for gap, reserved, used in calls:
        now = max(now + gap, model.open_at(reserved, now + gap))
        model.use(reserved, now)
        assert model.used(now) <= 100
        model.settle(now, reserved, min(used, reserved))


def test_an_overrun_is_carried_until_its_window_has_passed() -> None:
    model = WeightedWindow(Meter("weighted_window", "tokens", 100, 1000, 50))
    model.use(50, 0)
    model.settle(0, 50, 150)
    assert model.open_at(1, 10) == 1000
    assert model.used(1001) == 0


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_what_is_larger_than_the_limit_never_fits(algorithm: str) -> None:
    unit = "tokens" if algorithm == "weighted_window" else "requests"
    model = ALGORITHMS[algorithm](Meter(algorithm, unit, 10, 1, 5))
    assert model.open_at(11, 0) == float("inf")
