"""Reading the trail of a job."""

import json

from echelon_workers.strategies import Attempt, read_trail

FAILED = {
    "queue": "g.e",
    "instance": "one",
    "error": {"code": "timed_out", "retry": "here"},
    "decision": "retry",
    "delay_ms": 0,
}


def read(*entries: dict[str, object]) -> tuple[Attempt, ...]:
    return read_trail("".join(json.dumps(entry) + "\n" for entry in entries))


def test_failed_attempts_are_read_in_order_with_the_delay_that_followed() -> None:
    assert read(FAILED, {**FAILED, "instance": "two", "delay_ms": 7}) == (
        Attempt("g.e", "one", "timed_out", "here"),
        Attempt("g.e", "two", "timed_out", "here", delayed=True),
    )
    assert read() == ()


def test_a_wait_spent_no_attempt_and_an_answer_is_no_failure() -> None:
    assert read({**FAILED, "decision": "wait"}, {"queue": "g.e", "instance": "one", "decision": "answer"}) == ()


def test_what_was_before_a_job_died_and_was_sent_again_counts_no_more() -> None:
    assert read(FAILED, {**FAILED, "decision": "bury"}, {**FAILED, "instance": "two"}) == (
        Attempt("g.e", "two", "timed_out", "here"),
    )
