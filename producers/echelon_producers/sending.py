"""Jobs on their way in: from what `submit` and `submit_many` are given to the calls that send them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from echelon_configs import Configuration
from echelon_workers.ledger.verbs import MOST_JOBS_A_CALL, Draining, Full, NewJob, OtherJob, Refusal, Verb, submit

from .draft import Drafter
from .errors import IdempotencyConflict, QueueDraining, QueueFull, SubmitInvalid

#: What `submit_many` accepts for one job: a prompt, or a mapping with `target`, options and the request's fields.
JobLike = str | Mapping[str, Any]


def one_job(target: str | None, prompt: str | None, job: dict[str, Any]) -> dict[str, Any]:
    """The mapping that `submit` means."""
    whole = {**job, "target": target}
    return whole if prompt is None else {**whole, "prompt": prompt}


def drafts_of(configuration: Configuration, jobs: Iterable[JobLike], target: str | None) -> Iterator[NewJob]:
    """The jobs in order, each validated. Raises SubmitInvalid, with the place of the first that is wrong."""
    if isinstance(jobs, str | Mapping):
        raise SubmitInvalid([("jobs", "one job where many are expected (would be right: a list of jobs)")])
    drafter = Drafter(configuration)
    for number, job in enumerate(jobs):
        whole = {"prompt": job} if isinstance(job, str) else job
        if not isinstance(whole, Mapping):
            what = f"a {type(job).__name__} (would be right: a prompt, or a mapping with prompt or messages)"
            raise SubmitInvalid([(f"jobs[{number}]", what)])
        if target is not None and whole.get("target") is None:
            whole = {**whole, "target": target}
        try:
            yield drafter.draft(whole)
        except SubmitInvalid as exc:
            raise exc.within(f"jobs[{number}]") from exc


def submits(drafts: Sequence[NewJob]) -> Iterator[tuple[int, Verb[list[bool] | Refusal]]]:
    """The calls, each with the number of jobs that were sent before it.

    Raises IdempotencyConflict, before the first of them, when two of the jobs have one id and are not the same.
    """
    _check_ids(drafts)
    for sent in range(0, len(drafts), MOST_JOBS_A_CALL):
        yield sent, submit(drafts[sent : sent + MOST_JOBS_A_CALL])


def accepted(reply: list[bool] | Refusal, job_ids: Sequence[str], sent: int) -> list[bool]:
    """Of each whether it is new. Raises QueueFull, QueueDraining or IdempotencyConflict when they were not."""
    if isinstance(reply, Full):
        raise QueueFull(reply, job_ids, job_ids[:sent])
    if isinstance(reply, Draining):
        raise QueueDraining(reply.queue, job_ids, job_ids[:sent])
    if isinstance(reply, OtherJob):
        raise IdempotencyConflict(reply.id, job_ids, job_ids[:sent])
    return reply


def _check_ids(drafts: Sequence[NewJob]) -> None:
    if len(drafts) == len({draft.id for draft in drafts}):
        return
    first: dict[str, NewJob] = {}
    for draft in drafts:
        if _asked(first.setdefault(draft.id, draft)) != _asked(draft):
            raise IdempotencyConflict(draft.id, [each.id for each in drafts])


def _asked(draft: NewJob) -> tuple[object, ...]:
    """What has to be the same for one id to mean one job, as for `submit.lua`."""
    return draft.target, draft.node, draft.options, draft.request
