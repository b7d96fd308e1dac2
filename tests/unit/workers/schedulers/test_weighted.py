"""Shares by weight, and by how well each instance does."""

import math

from hypothesis import given
from hypothesis import strategies as st

from echelon_workers.schedulers import Standing
from echelon_workers.schedulers.weighted import LEAST, LEAST_FOR_LATENCY, Weighted


def scores(*standings: Standing) -> list[float]:
    found = Weighted().scores(standings)
    return [round(found[standing.instance], 6) for standing in standings]


def test_weights_alone_are_the_scores_of_instances_of_which_nothing_is_known() -> None:
    assert scores(Standing(instance="a", weight=3), Standing(instance="b")) == [3, 1]


def test_half_the_successes_are_a_quarter_of_the_share() -> None:
    assert scores(Standing(instance="a", success_rate=0.5), Standing(instance="b")) == [0.25, 1]


def test_twice_the_latency_is_half_the_share() -> None:
    slow, fast = Standing(instance="a", latency_ms=2000), Standing(instance="b", latency_ms=1000)
    assert scores(slow, fast, Standing(instance="c")) == [0.5, 1, 1]
    assert scores(Standing(instance="a", latency_ms=1e9), fast) == [LEAST_FOR_LATENCY, 1]


def test_a_full_instance_has_half_of_what_an_idle_one_has() -> None:
    loads = [Standing(instance=str(used), in_use=used, concurrency=10) for used in (0, 5, 10, 12)]
    assert scores(*loads, Standing(instance="unlimited", in_use=99)) == [1, 0.75, 0.5, 0.5, 1]


@given(
    weight=st.floats(0.001, 1000),
    success=st.floats(0, 1),
    latency=st.none() | st.floats(0.1, 1e7),
    in_use=st.integers(0, 1000),
    concurrency=st.none() | st.integers(1, 100),
)
def test_something_is_always_left_and_never_more_than_the_weight(
    weight: float, success: float, latency: float | None, in_use: int, concurrency: int | None
) -> None:
    standing = Standing(
        instance="a",
        weight=weight,
        success_rate=success,
        latency_ms=latency,
        in_use=in_use,
        concurrency=concurrency,
    )
    score = Weighted().scores([standing, Standing(instance="b", latency_ms=1.0)])["a"]
    assert math.isclose(score, weight * LEAST) or weight * LEAST <= score <= weight
