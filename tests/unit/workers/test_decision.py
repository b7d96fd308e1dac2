"""What becomes of a job after a failed attempt: a pure function."""

from collections.abc import Mapping

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


def decided(
    failure: errors.AttemptFailed,
    *,
    instances: str = "one two",
    tried: Mapping[str, errors.Retry] | None = None,
    attempts: int = 1,
    max_retries: int = 2,
    left_ms: float = FOREVER,
) -> Decision:
    return decide(
        failure,
        CallSettings(max_retries=max_retries),
        instance="one",
        instances=instances.split(),
        tried=tried or {},
        attempts=attempts,
        left_ms=left_ms,
    )


def test_an_instance_that_was_not_tried_is_tried_at_once() -> None:
    assert decided(errors.ServerFailed("500")) == Decision("retry", avoid="one")
    later = decided(errors.ServerFailed("500"), instances="one two three", tried={"two": "elsewhere"}, attempts=2)
    assert later == Decision("retry", avoid="one,two")


def test_with_all_tried_the_job_comes_back_to_one_that_may_yet_answer() -> None:
    decision = decided(
        errors.ServerFailed("500"), instances="one two three", tried={"two": "elsewhere", "three": "here"}
    )
    assert (decision.verdict, decision.avoid) == ("retry", "one,two")
    assert decided(errors.ServerFailed("500"), tried={"two": "elsewhere"}).avoid == "two"


def test_with_no_other_instance_the_delay_grows_with_the_attempts() -> None:
    first = [decided(errors.ServerFailed("500"), instances="one").delay_ms for _ in range(50)]
    fifth = [
        decided(errors.ServerFailed("500"), instances="one", attempts=5, max_retries=9).delay_ms for _ in range(50)
    ]
    assert 500 <= min(first) <= max(first) <= 1000
    assert 8000 <= min(fifth) <= max(fifth) <= 16000


def test_a_retry_after_is_waited_out_where_nothing_else_is_left_to_try() -> None:
    assert decided(errors.ServerFailed("503", retry_after_s=7.5), instances="one").delay_ms == 7500


def test_a_rate_limit_is_waited_for_and_is_no_failure() -> None:
    for attempts in (1, 99):
        decision = decided(errors.RateLimited("429", retry_after_s=7.5), attempts=attempts)
        assert decision == Decision("wait", delay_ms=7500)


def test_a_failure_of_the_job_itself_is_the_end() -> None:
    assert decided(errors.BadRequest("400")).verdict == "bury"


def test_a_failure_of_the_instance_is_the_end_only_where_there_is_no_other() -> None:
    assert decided(errors.AuthenticationFailed("401")).verdict == "retry"
    assert decided(errors.AuthenticationFailed("401"), instances="one").verdict == "bury"
    assert decided(errors.AuthenticationFailed("401"), tried={"two": "elsewhere"}).verdict == "bury"


def test_no_retries_means_one_attempt() -> None:
    assert decided(errors.ServerFailed("500"), max_retries=0).verdict == "bury"


def test_an_attempt_that_would_start_after_the_deadline_is_not_made() -> None:
    failure = errors.ServerFailed("503", retry_after_s=60)
    assert decided(failure, instances="one", left_ms=59_000).verdict == "bury"


NAMES = ["one", "two", "three", "four"]


@given(
    failure=st.sampled_from(FAILURES),
    retry_after_s=st.none() | st.floats(0, 1000),
    attempts=st.integers(1, 20),
    instances=st.sets(st.sampled_from(NAMES)).map(lambda names: sorted(names | {"one"})),
    tried=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["here", "elsewhere"])),
    max_retries=st.integers(0, 10),
    left_ms=st.floats(0, 1e7),
)
def test_it_always_ends_and_never_goes_back_to_an_instance_that_is_out(
    failure: type[errors.AttemptFailed],
    retry_after_s: float | None,
    attempts: int,
    instances: list[str],
    tried: dict[str, errors.Retry],
    max_retries: int,
    left_ms: float,
) -> None:
    decision = decided(
        failure("scripted", retry_after_s=retry_after_s),
        instances=" ".join(instances),
        tried=tried,
        attempts=attempts,
        max_retries=max_retries,
        left_ms=left_ms,
    )
    if decision.verdict == "wait":
        assert failure is errors.RateLimited
    elif decision.verdict == "retry":
        assert attempts <= max_retries
        assert decision.delay_ms == 0 or decision.delay_ms < left_ms
        assert decision.delay_ms <= 1000 * max(LONGEST_DELAY_S, retry_after_s or 0)
        left = set(instances) - set(decision.avoid.split(","))
        assert left, "there is somewhere to go"
        assert not left & {name for name, retry in tried.items() if retry == "elsewhere" and name != "one"}
    else:
        assert decision.verdict == "bury"
        assert decision.because


@pytest.mark.parametrize("failure", FAILURES)
def test_every_failure_says_where_it_may_be_tried_again(failure: type[errors.AttemptFailed]) -> None:
    assert failure("x").retry in ("here", "elsewhere", "nowhere")
