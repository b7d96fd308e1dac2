"""What can go wrong for a producer.

    EchelonError
    ├── Unavailable          Redis cannot be reached, or refuses: `.job_ids` are safe to submit again, try later
    ├── NoConfiguration      nothing is published yet: no cluster has been started on this Redis
    ├── SubmitInvalid        the job is wrong: an unknown target or node, a bad request, a bad option
    ├── IdempotencyConflict  its id is that of another job: another target, other options or another request
    ├── QueueFull            as many jobs wait already as may: try again after `.retry_after_s`
    ├── QueueDraining        its queue takes no new jobs
    ├── NotListed            jobs are not listed so: a state that is not, or a limit out of range
    ├── UnknownJob           no such job, or its retention is over
    ├── ResultTimeout        it has not ended yet; it is still on its way
    └── JobEnded             it has ended without an answer
        ├── JobDied          every attempt failed; `.record.trail` lists them
        ├── JobExpired       its deadline passed
        └── JobCancelled     somebody cancelled it

The message of each says what is wrong and what would be right.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

from echelon_workers.ledger.record import JobRecord
from echelon_workers.ledger.verbs import Full

#: Why a job was not accepted: its target or node does not exist, or something else in it is wrong.
Refusal = Literal["unknown_target", "invalid_job"]


class EchelonError(Exception):
    """The root of all errors a producer sees."""


class Unavailable(EchelonError):
    """Redis cannot be reached, or it refuses: it is full, cannot write its disk, still loads, or is a replica.

    `job_ids` are the jobs that a submit was about, in order. Each of them was accepted whole or not at all; given
    again as the jobs' `id`, none of them runs twice. Without any, nothing was sent.
    """

    def __init__(self, message: str, job_ids: Iterable[str] = ()) -> None:
        self.job_ids = tuple(job_ids)
        super().__init__(message)


class NoConfiguration(EchelonError):
    """There is no configuration in force."""


class SubmitInvalid(EchelonError, ValueError):
    """The job was not accepted, because of what is in it; nothing was submitted.

    `problems` are (where, what): the field (`temperature`, `messages.0.role`), of many jobs after the job
    (`jobs[3].temperature`, counted from 0), and what is wrong with it and would be right.
    """

    def __init__(self, problems: Iterable[tuple[str, str]], code: Refusal = "invalid_job") -> None:
        self.problems = tuple(problems)
        self.code: Refusal = code
        super().__init__("\n".join(f"{where}: {what}" for where, what in self.problems))

    def within(self, place: str) -> "SubmitInvalid":
        """The same, said of a job that is one of many."""
        return SubmitInvalid([(f"{place}.{where}", what) for where, what in self.problems], self.code)


class IdempotencyConflict(EchelonError, ValueError):
    """An id (an idempotency key) was used before for another job: its target, its options or its request differ.

    `job_id` is that id. `job_ids` are the jobs that a submit was about, in order, and `accepted` those of them that
    were submitted before it came to this one.
    """

    def __init__(self, job_id: str, job_ids: Iterable[str] = (), accepted: Iterable[str] = ()) -> None:
        self.job_id = job_id
        self.job_ids, self.accepted = tuple(job_ids), tuple(accepted)
        before = _said_accepted(self.accepted, self.job_ids)
        super().__init__(
            f"the id {job_id} is that of another job, with another target, other options or another request{before} "
            "(would be right: another id, another idempotency key, or exactly the same job)"
        )


class QueueFull(EchelonError):
    """More jobs would wait in a scope than its `queue_size` allows.

    `scope` is `echelon:NAME`, `group:NAME`, `model:NAME` or `node:NAME`; `limit` may wait there and `waiting` do;
    `retry_after_s` is when there will be room, as its queues go at present. `job_ids` are the jobs that a submit was
    about, in order, and `accepted` those of them that were submitted before it got full: with these ids all may be
    submitted again, and none runs twice.
    """

    def __init__(self, full: Full, job_ids: Iterable[str] = (), accepted: Iterable[str] = ()) -> None:
        self.scope, self.limit, self.waiting = full.scope, full.limit, full.waiting
        self.retry_after_s = full.retry_after_ms / 1000
        self.job_ids, self.accepted = tuple(job_ids), tuple(accepted)
        super().__init__(_said_full(self))


class QueueDraining(EchelonError):
    """A queue is being emptied: it takes no new jobs. `queue` is its name; `job_ids` and `accepted` as of QueueFull."""

    def __init__(self, queue: str, job_ids: Iterable[str] = (), accepted: Iterable[str] = ()) -> None:
        self.queue = queue
        self.job_ids, self.accepted = tuple(job_ids), tuple(accepted)
        before = _said_accepted(self.accepted, self.job_ids)
        super().__init__(
            f"queue {queue} is being drained and takes no new jobs{before} "
            f"(would be right: another target, or first `echelon queue resume {queue}`)"
        )


class NotListed(EchelonError, ValueError):
    """Jobs are not listed so. `where` is `state` or `limit`, the message says what would be right."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where = where


class UnknownJob(EchelonError, LookupError):
    """There is no record of this job."""


class ResultTimeout(EchelonError, TimeoutError):
    """The job has not ended within the time that the caller would wait."""


class JobEnded(EchelonError):
    """The job has ended without an answer; `record` says how."""

    def __init__(self, record: JobRecord) -> None:
        error = record.error or {}
        super().__init__(f"job {record.id} is {record.state}: {error.get('message') or 'no reason on record'}")
        self.record = record


class JobDied(JobEnded):
    """Every attempt failed."""


class JobExpired(JobEnded):
    """Its deadline passed before it was answered."""


class JobCancelled(JobEnded):
    """It was cancelled."""


def _said_full(full: QueueFull) -> str:
    where = full.scope.replace(":", " ", 1)
    told = f"{where} is full: {full.waiting:,} jobs wait there, {full.limit:,} may"
    if full.waiting < full.limit:
        told = f"{where} has no room for so many jobs: {full.waiting:,} wait there, {full.limit:,} may"
    before = _said_accepted(full.accepted, full.job_ids)
    return f"{told}{before} (would be right: try again in {full.retry_after_s:.1f} s)"


def _said_accepted(accepted: Sequence[str], job_ids: Sequence[str]) -> str:
    return f"; {len(accepted):,} of {len(job_ids):,} jobs were accepted before" if accepted else ""


def ended_without_answer(record: JobRecord) -> JobEnded:
    """The error for a record that has ended and has no answer."""
    kinds = {"dead": JobDied, "expired": JobExpired, "cancelled": JobCancelled}
    return kinds.get(record.state, JobEnded)(record)
