"""Cancelling jobs: what a producer says, as calls of the ledger."""

import json
from collections.abc import Generator, Iterable
from typing import Any

from echelon_configs import Configuration
from echelon_workers.ledger.verbs import MOST_CANCELS_A_CALL, Cancelled, Verb, cancel

from .errors import UnknownJob

#: Of a reason no more is kept.
LONGEST_REASON = 500


def cancel_jobs(
    configuration: Configuration, job_ids: Iterable[str], reason: str = ""
) -> Generator[Verb[Any], Any, dict[str, Cancelled]]:
    """The walk that cancels jobs; it comes to what became of each."""
    ids, said = list(dict.fromkeys(job_ids)), dict[str, Cancelled]()
    retention_ms = int(configuration.defaults.retention_s * 1000)
    for first in range(0, len(ids), MOST_CANCELS_A_CALL):
        some = ids[first : first + MOST_CANCELS_A_CALL]
        replies = yield cancel(some, reason_json(reason), retention_ms=retention_ms)
        said.update(zip(some, replies, strict=True))
    return said


def reason_json(reason: str) -> str:
    """The error that a cancelled job has on record."""
    message = "cancelled by a producer" + (f": {reason[:LONGEST_REASON]}" if reason else "")
    return json.dumps({"code": "cancelled", "message": message})


def known(job_id: str, said: Cancelled) -> Cancelled:
    """What was said of a job that there is. Raises UnknownJob."""
    if said == "unknown":
        raise UnknownJob(f"no job {job_id} (it was never submitted here, or its retention is over)")
    return said
