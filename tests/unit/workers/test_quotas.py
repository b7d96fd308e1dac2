"""What providers say of their own limits, as they say it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echelon_workers.quotas import Stated, stated


def openai(**values: str) -> dict[str, str]:
    return {f"x-ratelimit-{name.replace('_', '-')}": value for name, value in values.items()}


def test_openai_states_requests_and_tokens_a_minute() -> None:
    headers = openai(
        limit_requests="500",
        remaining_requests="499",
        reset_requests="120ms",
        limit_tokens="30000",
        remaining_tokens="15000",
        reset_tokens="30s",
    )
    assert stated(headers) == Stated(500, 499, 30_000)


def test_a_limit_of_requests_a_day_is_not_one_a_minute() -> None:
    headers = openai(limit_requests="10000", remaining_requests="9999", reset_requests="8.64s")
    assert stated(headers) == Stated()


def test_a_limit_of_which_nothing_is_used_says_nothing_of_its_window() -> None:
    assert stated(openai(limit_requests="500", remaining_requests="500", reset_requests="0s")) == Stated()


@pytest.mark.parametrize(
    ("reset", "known"), [("1m0s", True), ("60", True), ("59.5s", True), ("soon", False), ("", False)]
)
def test_times_are_read_as_they_are_written(reset: str, known: bool) -> None:
    headers = openai(limit_requests="60", remaining_requests="0", reset_requests=reset)
    assert (stated(headers) == Stated(60, 0, None)) is known


def test_anthropic_states_its_limits_by_the_minute() -> None:
    headers = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-requests-reset": "2026-11-22T12:00:00Z",
        "anthropic-ratelimit-tokens-limit": "40000",
    }
    assert stated(headers) == Stated(50, 49, 40_000)


def test_finish_is_told_in_one_line() -> None:
    assert str(Stated(50, None, 40_000)) == "50 - 40000"
    assert str(Stated()) == ""


@given(
    st.dictionaries(st.sampled_from([*openai(limit_requests="", remaining_requests="", reset_requests="")]), st.text())
)
def test_whatever_a_provider_sends_is_no_error(headers: dict[str, str]) -> None:
    said = str(stated(headers))
    assert said == "" or len(said.split(" ")) == 3
