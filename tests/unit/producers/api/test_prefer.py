"""The Prefer header, as RFC 7240 has it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echelon_producers.api.prefer import MOST_WAIT_S, wait_s


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        ([""], None),
        (["wait=10"], 10),
        (["Wait = 10"], 10),
        (['wait="10"'], 10),
        (["wait=10; because=slow"], 10),
        (["respond-async, wait=7"], 7),
        (["respond-async", "handling=lenient; x, wait=7"], 7),
        (['note="a, wait=3", wait=7'], 7),
        (["wait=5, wait=9"], 5),
        (["wait=0"], 0),
        (["wait=300"], 300),
        (["wait=301"], MOST_WAIT_S),
        ([f"wait={'9' * 5000}"], MOST_WAIT_S),
        (["wait=soon"], None),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["wait=²"], None),
        (["wait"], None),
        (["waiting=10"], None),
    ],
)
def test_the_first_wait_counts_and_what_is_not_understood_is_ignored(headers: list[str], seconds: int | None) -> None:
    assert wait_s(headers) == seconds


@given(st.lists(st.text(max_size=60), max_size=4))
def test_no_header_can_do_harm(headers: list[str]) -> None:
    assert wait_s(headers) is None or 0 <= (wait_s(headers) or 0) <= MOST_WAIT_S
