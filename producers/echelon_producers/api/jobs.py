"""`/v1/jobs`: submit one job or many, read a job, wait for answers, list jobs, cancel them, send them again."""

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from echelon_producers.client import AsyncClient
from echelon_producers.draft import new_id
from echelon_producers.errors import EchelonError, SubmitInvalid, UnknownJob
from echelon_workers.ledger.record import JobRecord
from echelon_workers.ledger.verbs import Redriven

from .body import read_json, refuse_other_sites
from .documented import CANCEL, LIST, READ, REDRIVE, SUBMIT
from .prefer import wait_s
from .refusals import Refused
from .replies import JsonReply
from .waiting import redis_in_time, wait_for_end

MOST_JOBS = 10_000
#: How many a list has, and the most it may have.
LISTED, MOST_LISTED = 100, 1000

#: Why a job was not sent again.
_CONFLICTS: dict[Redriven, tuple[str, str]] = {
    "not ended": ("not_ended", "it has not ended"),
    "answered": ("answered", "it is answered"),
    "no job": ("not_a_job", "it is a message that never became a job (would be right: submit it anew)"),
    "no queue": ("no_queue", "the queue it was sent to is not in the configuration (would be right: submit it anew)"),
}

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(refuse_other_sites)])


@router.post("", summary="Submit one job or many", **SUBMIT)
async def submit(request: Request) -> Response:
    """Accept a job, or all of many. `Prefer: wait=N` holds the reply until they have ended, for N seconds at most."""
    body = await read_json(request)
    if not isinstance(body, dict):
        what = 'not an object (would be right: one job, or {"jobs": [...]})'
        raise Refused(400, "not_an_object", what, "body")
    key = _idempotency_key(request)
    if "jobs" in body:
        return await _submit_many(request, _jobs(body, key), body.get("target"))
    return await _submit_one(request, _with_id(body, key, "id"))


@router.get("", summary="List jobs", **LIST)
async def listed(request: Request) -> Response:
    """Jobs that are queued, delayed, running or dead, the newest first."""
    given = request.query_params
    if unknown := sorted(given.keys() - {"state", "queue", "limit"}):
        what = f"{unknown[0]}: unknown (would be right: state, queue or limit)"
        raise Refused(422, "invalid_query", what, unknown[0])
    limit = given.get("limit", str(LISTED))
    if not (limit.isascii() and limit.isdigit() and 0 < int(limit[:9]) <= MOST_LISTED):
        what = f"limit: not a whole number from 1 to {MOST_LISTED}"
        raise Refused(422, "invalid_query", what, "limit")
    async with redis_in_time():
        found = await _client(request).jobs(given.get("state"), queue=given.get("queue"), limit=int(limit))
    return JsonReply({"jobs": [record.to_json() for record in found]})


@router.post("/{job_id}/cancel", summary="Cancel a job", **CANCEL)
async def cancel(request: Request, job_id: str) -> Response:
    """One that waits is cancelled at once; of one that runs, the call is closed. One that has ended stays as it is."""
    async with redis_in_time():
        outcome = await _client(request).cancel(job_id)
    return JsonReply({"id": job_id, "outcome": outcome})


@router.post("/{job_id}/redrive", summary="Send a job that died again", **REDRIVE)
async def redrive(request: Request, job_id: str) -> Response:
    """A job that is dead, expired or cancelled goes back to the queue that it was sent to, as if it were new."""
    async with redis_in_time():
        said = (await _client(request).redrive([job_id]))[job_id]
    if said == "unknown":
        raise UnknownJob(f"no job {job_id} (it was never submitted here, or its retention is over)")
    if said != "done":
        code, why = _CONFLICTS[said]
        raise Refused(409, code, f"job {job_id} is not sent again: {why}", "path")
    return _one(request, {"id": job_id, "state": "queued"}, False, None)


@router.get("/{job_id}", summary="Read a job", **READ)
async def read(request: Request, job_id: str) -> Response:
    """The whole job. With `Prefer: wait=N`, as soon as it has ended, or after N seconds: then the status is 202."""
    client, seconds = _client(request), _wait_s(request)
    async with redis_in_time():
        record = await client.status(job_id)
    if seconds is None:
        return JsonReply(record.to_json())
    if not record.has_ended:
        await wait_for_end(request, client, [job_id], seconds)
        async with redis_in_time():
            record = await client.status(job_id)
    return _one(request, record.to_json(), record.has_ended, seconds)


async def _submit_one(request: Request, job: Mapping[str, Any]) -> Response:
    client, seconds, named = _client(request), _wait_s(request), _named(job)
    async with redis_in_time([str(named["id"])]):
        job_id = await client.submit_job(named)
    accepted = {"id": job_id, "state": "queued"}
    if seconds:
        await wait_for_end(request, client, [job_id], seconds)
    elif job.get("id") is None:
        return _one(request, accepted, False, seconds)
    (record,) = await _records(client, [job_id])
    return _one(request, record.to_json() if record else accepted, bool(record and record.has_ended), seconds)


async def _submit_many(request: Request, jobs: list[Any], target: Any) -> Response:
    client, seconds, named = _client(request), _wait_s(request), [_named(job) for job in jobs]
    async with redis_in_time([str(job["id"]) for job in named if isinstance(job, dict)]):
        job_ids = await client.submit_many(named, target=target)
    if seconds:
        await wait_for_end(request, client, job_ids, seconds)
        records = await _records(client, job_ids)
    else:
        own = [job_id for job_id, job in zip(job_ids, jobs, strict=True) if isinstance(job, dict) and job.get("id")]
        known = dict(zip(own, await _records(client, own), strict=True))
        records = [known.get(job_id) for job_id in job_ids]
    ended = bool(seconds) and all(record and record.has_ended for record in records)
    shown = [_shown(job_id, record, bool(seconds)) for job_id, record in zip(job_ids, records, strict=True)]
    return JsonReply({"jobs": shown}, 200 if ended else 202, _applied(seconds))


def _shown(job_id: str, record: JobRecord | None, whole: bool) -> dict[str, Any]:
    if record is not None and whole:
        return record.to_json()
    return {"id": job_id, "state": record.state if record else "queued"}


async def _records(client: AsyncClient, job_ids: list[str]) -> list[JobRecord | None]:
    """What became of jobs that were accepted. They stay accepted when Redis cannot say it just now: None."""
    try:
        async with redis_in_time():
            found = await asyncio.gather(*(client.status(job_id) for job_id in job_ids), return_exceptions=True)
    except EchelonError:
        return [None] * len(job_ids)
    return [record if isinstance(record, JobRecord) else None for record in found]


def _one(request: Request, job: dict[str, Any], ended: bool, seconds: int | None) -> JsonReply:
    headers = _applied(seconds)
    if not ended:
        headers["Location"] = f"{request.scope.get('root_path', '')}/v1/jobs/{job['id']}"
    return JsonReply(job, 200 if ended else 202, headers)


def _applied(seconds: int | None) -> dict[str, str]:
    return {} if seconds is None else {"Preference-Applied": f"wait={seconds}"}


def _client(request: Request) -> AsyncClient:
    client: AsyncClient = request.app.state.client
    return client


def _wait_s(request: Request) -> int | None:
    return wait_s(request.headers.getlist("prefer"))


def _jobs(body: Mapping[str, Any], key: str | None) -> list[Any]:
    jobs, others = body["jobs"], sorted(body.keys() - {"jobs", "target"})
    if others:
        what = "unknown beside jobs (would be right: in each job; only target may stand here, for jobs without one)"
        raise SubmitInvalid([(others[0], what)])
    if not isinstance(jobs, list) or not 0 < len(jobs) <= MOST_JOBS:
        found = f"{len(jobs)} jobs" if isinstance(jobs, list) else "not a list"
        raise SubmitInvalid([("jobs", f"{found} (would be right: a list of 1 to {MOST_JOBS} jobs)")])
    if key is None:
        return jobs
    whole = [{"prompt": job} if isinstance(job, str) else job for job in jobs]
    return [
        {"id": f"{key}:{number}", **job} if isinstance(job, dict) else job  # an id of its own wins
        for number, job in enumerate(whole)
    ]


def _named(job: Any) -> Any:
    """A job with an id, which its caller is told should Redis not say in time whether it was accepted."""
    whole = {"prompt": job} if isinstance(job, str) else job
    return {**whole, "id": new_id()} if isinstance(whole, Mapping) and whole.get("id") is None else whole


def _with_id(job: dict[str, Any], key: str | None, field: str) -> dict[str, Any]:
    if key is None:
        return job
    if job.get(field) not in (None, key):
        what = "not the same as the header Idempotency-Key (would be right: one of the two)"
        raise SubmitInvalid([(field, what)])
    return {**job, field: key}


def _idempotency_key(request: Request) -> str | None:
    """The header's value, quoted as in the draft standard (draft-ietf-httpapi-idempotency-key-header) or plain."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    return key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key
