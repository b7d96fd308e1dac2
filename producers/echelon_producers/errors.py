"""What can go wrong for a producer.

    EchelonError
    ├── Unavailable          Redis cannot be reached: nothing is half submitted, try again
    ├── NoConfiguration      nothing is published yet: no cluster has been started on this Redis
    ├── SubmitInvalid        the job is wrong: an unknown target or node, a bad request, a bad option
    ├── UnknownJob           no such job, or its retention is over
    ├── ResultTimeout        it has not ended yet; it is still on its way
    └── JobEnded             it has ended without an answer
        ├── JobDied          every attempt failed; `.record.trail` lists them
        ├── JobExpired       its deadline passed
        └── JobCancelled     somebody cancelled it
"""

from echelon_workers.ledger.record import JobRecord


class EchelonError(Exception):
    """The root of all errors a producer sees."""


class Unavailable(EchelonError):
    """Redis cannot be reached or refuses."""


class NoConfiguration(EchelonError):
    """There is no configuration in force."""


class SubmitInvalid(EchelonError, ValueError):
    """The job was not accepted, because of what is in it."""


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


def ended_without_answer(record: JobRecord) -> JobEnded:
    """The error for a record that has ended and has no answer."""
    kinds = {"dead": JobDied, "expired": JobExpired, "cancelled": JobCancelled}
    return kinds.get(record.state, JobEnded)(record)
