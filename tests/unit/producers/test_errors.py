"""The errors a producer sees: one root, and each says what was wrong and where."""

import inspect

import pytest

from echelon_producers import errors
from echelon_producers.errors import (
    EchelonError,
    IdempotencyConflict,
    JobCancelled,
    JobDied,
    JobEnded,
    JobExpired,
    QueueFull,
    ResultTimeout,
    SubmitInvalid,
    Unavailable,
    UnknownJob,
    ended_without_answer,
)
from echelon_workers.ledger.record import JobRecord, State
from echelon_workers.ledger.verbs import Full


def classes() -> list[type[Exception]]:
    found = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, Exception)]
    return [each for each in found if each.__module__ == errors.__name__]


def record(state: State, error: dict[str, str] | None = None) -> JobRecord:
    return JobRecord(id="j1", state=state, queue="q", home="q", target="q", error=error)


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
def test_every_error_has_the_one_root_and_a_place_in_the_tree(kind: type[Exception]) -> None:
    assert issubclass(kind, EchelonError)
    assert kind.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize("kind", [each for each in classes() if each is not EchelonError])
def test_the_package_exports_every_error(kind: type[Exception]) -> None:
    import echelon_producers

    assert getattr(echelon_producers, kind.__name__) is kind
    assert kind.__name__ in echelon_producers.__all__


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (SubmitInvalid, ValueError),
        (IdempotencyConflict, ValueError),
        (UnknownJob, LookupError),
        (ResultTimeout, TimeoutError),
    ],
)
def test_code_that_knows_only_builtin_errors_catches_them(kind: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(kind, builtin)


def test_a_refusal_lists_each_problem_with_its_place() -> None:
    exc = SubmitInvalid([("temperature", "too hot"), ("prompt", "missing")])
    assert str(exc) == "temperature: too hot\nprompt: missing"


def test_within_many_jobs_the_place_begins_with_the_job() -> None:
    exc = SubmitInvalid([("target", "unknown")], "unknown_target").within("jobs[3]")
    assert exc.problems == (("jobs[3].target", "unknown"),)
    assert exc.code == "unknown_target"


def test_unavailable_keeps_the_ids_to_submit_again_with() -> None:
    assert Unavailable("no Redis", iter(["a", "b"])).job_ids == ("a", "b")
    assert Unavailable("no Redis").job_ids == ()


@pytest.mark.parametrize(
    ("waiting", "said"),
    [
        (1200, "echelon a.b is full: 1,200 jobs wait there, 1,000 may (would be right: try again in 2.5 s)"),
        (
            999,
            "echelon a.b has no room for so many jobs: 999 wait there, 1,000 may (would be right: try again in 2.5 s)",
        ),
    ],
)
def test_what_is_full_is_said_with_the_time_to_come_back(waiting: int, said: str) -> None:
    full = QueueFull(Full("echelon:a.b", 1000, waiting, 2500), ["j1", "j2"])
    assert str(full) == said
    assert (full.retry_after_s, full.job_ids, full.accepted) == (2.5, ("j1", "j2"), ())


@pytest.mark.parametrize(
    ("state", "kind"), [("dead", JobDied), ("expired", JobExpired), ("cancelled", JobCancelled), ("answered", JobEnded)]
)
def test_the_state_of_a_record_chooses_the_error(state: State, kind: type[JobEnded]) -> None:
    exc = ended_without_answer(record(state, {"code": "x", "message": "the reason"}))
    assert type(exc) is kind
    assert exc.record.id == "j1"
    assert "j1" in str(exc)
    assert "the reason" in str(exc)


def test_a_record_without_a_reason_is_said_to_have_none() -> None:
    assert "no reason on record" in str(ended_without_answer(record("dead")))
