"""What becomes of a job after a failed attempt: a pure function."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echelon_configs import CallSettings
from echelon_workers import errors
from echelon_workers.decision import LONGEST_DELAY_S, Decision, decide

FAILURES = [
    cls
    for cls in vars(errors).values()
    if isinstance(cls, type) and issubclass(cls, errors.AttemptFailed) and cls is not errors.AttemptFailed
]
FOREVER = float("inf")


def decided(failure: errors.AttemptFailed, **case: float) -> Decision:
    facts = {"attempts": 1, "others": 1, "left_ms": FOREVER, "max_retries": 2, **case}
    return decide(
        failure,
        CallSettings(max_retries=int(facts["max_retries"])),
        attempts=int(facts["attempts"]),
        instance="one",
        others=int(facts["others"]),
        left_ms=facts["left_ms"],
    )


def test_a_failure_that_passes_is_tried_again_at_once_where_there_is_another_instance() -> None:
    assert decided(errors.ServerFailed("500")) == Decision("retry", delay_ms=0, avoid="one")


def test_with_no_other_instance_the_delay_grows_with_the_attempts() -> None:
    first = [decided(errors.ServerFailed("500"), others=0).delay_ms for _ in range(50)]
    fifth = [decided(errors.ServerFailed("500"), others=0, attempts=5, max_retries=9).delay_ms for _ in range(50)]
    assert 500 <= min(first) <= max(first) <= 1000
    assert 8000 <= min(fifth) <= max(fifth) <= 16000


def test_a_retry_after_is_waited_out_even_where_there_are_others() -> None:
    assert decided(errors.RateLimited("429", retry_after_s=7.5)).delay_ms == 7500


def test_a_failure_of_the_job_itself_is_the_end() -> None:
    assert decided(errors.BadRequest("400")).verdict == "bury"


def test_a_failure_of_the_instance_is_the_end_only_where_there_is_no_other() -> None:
    assert decided(errors.AuthenticationFailed("401"), others=1).verdict == "retry"
    assert decided(errors.AuthenticationFailed("401"), others=0).verdict == "bury"


def test_no_retries_means_one_attempt() -> None:
    assert decided(errors.ServerFailed("500"), max_retries=0).verdict == "bury"


def test_an_attempt_that_would_start_after_the_deadline_is_not_made() -> None:
    assert decided(errors.RateLimited("429", retry_after_s=60), left_ms=59_000).verdict == "bury"


@given(
    failure=st.sampled_from(FAILURES),
    retry_after_s=st.none() | st.floats(0, 1000),
    attempts=st.integers(1, 20),
    others=st.integers(0, 3),
    max_retries=st.integers(0, 10),
    left_ms=st.floats(0, 1e7),
)
def test_it_always_ends_and_never_exceeds_its_budget(
    failure: type[errors.AttemptFailed],
    retry_after_s: float | None,
    attempts: int,
    others: int,
    max_retries: int,
    left_ms: float,
) -> None:
    decision = decided(
        failure("scripted", retry_after_s=retry_after_s),
        attempts=attempts,
        others=others,
        max_retries=max_retries,
        left_ms=left_ms,
    )
    if decision.verdict == "retry":
        assert attempts <= max_retries
        assert decision.delay_ms < left_ms
        assert decision.delay_ms <= 1000 * max(LONGEST_DELAY_S, retry_after_s or 0)
    else:
        assert decision.verdict == "bury"
        assert decision.because


@pytest.mark.parametrize("failure", FAILURES)
def test_every_failure_says_where_it_may_be_tried_again(failure: type[errors.AttemptFailed]) -> None:
    assert failure("x").retry in ("here", "elsewhere", "nowhere")
