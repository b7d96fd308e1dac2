"""What the benchmark of limits counts, against the same said plainly."""

from importlib import import_module
from pathlib import Path
from random import Random
from types import ModuleType

import pytest

S = 1_000_000_000


@pytest.fixture
def lawful(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks"))
    return import_module("bench.lawful")


def calls(lawful: ModuleType, times: list[int], amounts: list[int] | None = None, lasts: int = 1) -> object:
    return lawful.Calls(
        times_ns=times,
        amounts=amounts or [1] * len(times),
        ends_ns=[at + lasts for at in times],
        cut=[False] * len(times),
    )


def some_times(seed: int, many: int = 300) -> list[int]:
    draw = Random(seed)
    return sorted(draw.randrange(20 * S) for _ in range(many))


@pytest.mark.parametrize("seed", range(5))
def test_calls_over_a_window_are_those_whose_trailing_window_is_too_full(lawful: ModuleType, seed: int) -> None:
    times = some_times(seed)
    amounts = [Random(at).randrange(1, 5) for at in times]
    law = lawful.Window(limit=40, window_s=1.0, held_s=1.0)
    plainly = sum(
        sum(amount for t, amount in zip(times[: i + 1], amounts, strict=False) if t > at - S) > 40
        for i, at in enumerate(times)
    )
    assert plainly > 0
    assert law.over(calls(lawful, times, amounts)) == plainly


@pytest.mark.parametrize("seed", range(5))
def test_calls_over_a_bucket_are_those_that_end_a_stretch_that_is_too_full(lawful: ModuleType, seed: int) -> None:
    times = some_times(seed, 150)
    law = lawful.Bucket(size=6, per_minute=480, held_size=6, held_per_minute=480)
    plainly = sum(
        any((j - i + 1) * 60 * S > 6 * 60 * S + 480 * (times[j] - times[i]) for i in range(j + 1))
        for j in range(len(times))
    )
    assert 0 < plainly < len(times)
    assert law.over(calls(lawful, times)) == plainly


@pytest.mark.parametrize("seed", range(5))
def test_calls_over_a_concurrency_limit_are_those_that_find_it_reached(lawful: ModuleType, seed: int) -> None:
    times = some_times(seed)
    law = lawful.AtOnce(limit=8)
    plainly = sum(
        sum(t + S // 2 > at for t in times[: i + 1]) > 8 for i, at in enumerate(times)
    )  # each call lasts half a second
    assert plainly > 0
    assert law.over(calls(lawful, times, lasts=S // 2)) == plainly


def test_a_window_used_at_once_whenever_it_opens_is_used_but_for_its_guard_and_never_late(lawful: ModuleType) -> None:
    law = lawful.Window(limit=10, window_s=60.0, held_s=60.2)
    seen = calls(lawful, [round(turn * 60.2 * S) for turn in range(4) for _ in range(10)])
    assert law.over(seen) == 0
    assert law.used(seen) == pytest.approx(60 / 60.2)
    assert max(ms for _, ms in law.delays(seen)) == pytest.approx(0, abs=1e-3)


def test_a_bucket_that_is_emptied_and_then_drained_as_it_fills_is_all_used(lawful: ModuleType) -> None:
    law = lawful.Bucket(size=5, per_minute=600, held_size=5, held_per_minute=600)
    seen = calls(lawful, [0] * 5 + [number * S // 10 for number in range(1, 101)])
    assert law.over(seen) == 0
    assert law.used(seen) == pytest.approx(1)
    assert max(ms for _, ms in law.delays(seen)) == pytest.approx(0, abs=1e-3)


def test_a_permit_that_a_killed_worker_never_used_is_spent_all_the_same(lawful: ModuleType) -> None:
    law = lawful.Window(limit=2, window_s=1.0, held_s=1.0)
    seen = lawful.Calls(
        times_ns=[0, S, S + 5_000_000], amounts=[1] * 3, ends_ns=[1, S, 2 * S], cut=[False] * 3, never_arrived=[0]
    )
    assert [ms for _, ms in law.delays(seen)] == [0.0, 5.0]


def test_a_start_is_late_by_the_time_since_the_call_whose_place_it_takes(lawful: ModuleType) -> None:
    seen = lawful.Calls(
        times_ns=[0, 0, 30_000_000, 90_000_000],
        amounts=[1] * 4,
        ends_ns=[10_000_000, 80_000_000, 200_000_000, 200_000_000],
        cut=[False] * 4,
    )
    assert [ms for _, ms in lawful.AtOnce(limit=2).delays(seen)] == [20.0, 10.0]
