"""The busiest trailing window, against a plain count."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echelon_producers.simulator.windows import busiest, most_at_once

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

TIMES = st.lists(st.integers(0, 200), max_size=40).map(sorted)


@quick
@given(TIMES, st.integers(1, 80))
def test_the_peak_is_the_largest_count_in_any_window_that_ends_at_an_arrival(times: list[int], window: int) -> None:
    counts = {end: sum(end - window < time <= end for time in times) for end in range(300)}
    peak = busiest(times, window)
    assert peak.value == max(counts.values(), default=0)
    assert peak.at_ns is None or counts[peak.at_ns] == peak.value


@quick
@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 50)), max_size=30).map(sorted), st.integers(1, 60))
def test_amounts_are_summed_where_they_are_given(rows: list[tuple[int, int]], window: int) -> None:
    times, amounts = [time for time, _ in rows], [amount for _, amount in rows]
    sums = [sum(amount for time, amount in rows if end - window < time <= end) for end in range(160)]
    assert busiest(times, window, amounts).value == max(sums)


def test_an_arrival_exactly_one_window_earlier_is_outside() -> None:
    assert busiest([0, 60], 60).value == 1
    assert busiest([0, 59], 60).value == 2


@quick
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), max_size=25))
def test_the_most_at_once_is_the_largest_number_of_open_spans(rows: list[tuple[int, int]]) -> None:
    spans = [(start, start + length) for start, length in rows]
    open_at = [sum(start <= moment < end for start, end in spans) for moment in range(100)]
    assert most_at_once(spans).value == max(open_at)


def test_a_call_that_ends_as_another_starts_makes_room_for_it() -> None:
    assert most_at_once([(0, 5), (5, 9)]).value == 1
    assert most_at_once([(0, 6), (5, 9)]).value == 2


def test_a_call_that_takes_no_time_at_all_still_counts_as_one() -> None:
    assert most_at_once([(3, 3)]).value == 1
