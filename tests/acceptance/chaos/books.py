"""The ledger when all is over: every job has one end, and nothing is held, counted or waiting any more."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import redis

from echelon_workers.ledger.keys import Keys

ENDS = ("answered", "cancelled", "dead", "expired")

_PLACES = ("running", "delayed", "parks", "adopting", "probing", "deadlines")
#: How long past its deadline a call may be started: the clocks of a worker and of Redis differ by so much.
_LATE_MS = 250


@dataclass(frozen=True, slots=True)
class Job:
    """A job's record as it is in Redis, and the lines of its trail."""

    id: str
    fields: Mapping[str, str]
    trail: list[dict[str, Any]]

    @property
    def state(self) -> str:
        """Empty when there is no record."""
        return self.fields.get("state", "")


def read_jobs(client: "redis.Redis", keys: Keys, ids: Iterable[str]) -> dict[str, Job]:
    """The records of these jobs."""
    found = {}
    for id in ids:
        fields = _hash(client, keys.of("job", id))
        found[id] = Job(id, fields, [json.loads(line) for line in fields.get("trail", "").splitlines()])
    return found


def not_ended(client: "redis.Redis", keys: Keys, ids: list[str]) -> list[str]:
    """Those that are still on their way."""
    pipe = client.pipeline(transaction=False)
    for id in ids:
        pipe.hget(keys.of("job", id), "state")
    states = pipe.execute()
    return [id for id, state in zip(ids, states, strict=True) if (state or b"").decode() not in ENDS]


def wrong_jobs(jobs: Mapping[str, Job], cancels: Mapping[str, str]) -> list[str]:
    """Jobs whose end is not as it should be."""
    return [f"{id}: {what} ({job.fields})" for id, job in jobs.items() for what in _wrong(job, cancels.get(id))]


def _wrong(job: Job, cancel: str | None) -> Iterator[str]:
    fields, answered = job.fields, job.state == "answered"
    if not fields:
        yield "accepted, and there is no record of it"
    elif job.state not in ENDS:
        yield f"it is {job.state}"
    if answered != ("answer" in fields):
        yield "answered without an answer, or an answer without that end"
    if answered and f"Job {job.id}:" not in json.loads(fields["answer"])["text"]:
        yield "the answer is another job's"
    if answered and fields.get("settled") != fields.get("lease"):
        yield "the answer came on a lease that was not the last"
    if answered and sum(line.get("outcome") == "answered" for line in job.trail if "attempt" in line) != 1:
        yield "not one attempt of its trail answered it"
    if not answered and fields and not fields.get("error"):
        yield "an end without a reason"
    if cancel in ENDS and job.state != cancel:
        yield f"its cancel was answered {cancel}, and it is {job.state}"
    if cancel == "unknown":
        yield "its cancel did not know it"
    deadline_ms = int(fields.get("deadline", 0))
    if deadline_ms and any(line["started_ms"] > deadline_ms + _LATE_MS for line in job.trail if "attempt" in line):
        yield "a call was started past its deadline"


def more_calls_than_grants(jobs: Mapping[str, Job], calls: Mapping[str, int]) -> list[str]:
    """A lease is good for one call."""
    return [
        f"{id}: {many} calls, {job.fields.get('lease', 0)} grants ({job.fields})"
        for id, job in jobs.items()
        if (many := calls.get(id, 0)) > int(job.fields.get("lease", 0))
    ]


def leftovers(client: "redis.Redis", keys: Keys) -> list[str]:
    """Whatever the ledger still holds or counts."""
    found = [f"{name} has {many}" for name in _PLACES if (many := client.zcard(keys.of(name)))]
    for kind in ("parked:", "tokens:"):
        for key in client.scan_iter(f"{keys.own}{kind}*"):
            if kind == "parked:":
                found.append(f"{key.decode()} has {client.zcard(key)}")
    for name, value in _hash(client, keys.of("counts")).items():
        if value != "0":
            found.append(f"counts says {name} {value}")
    for key in client.scan_iter(f"{keys.own}scope:*"):
        held = {name: value for name, value in _hash(client, key.decode()).items() if name in ("cu", "bp")}
        found += [f"{key.decode()} has {name} {value}" for name, value in held.items() if int(value)]
    for key in client.scan_iter("*", _type="list"):
        name = key.decode()
        if not name.startswith((f"{keys.own}log:", f"{keys.own}history")):
            found.append(f"list {name} has {client.llen(key)}")
    return found


def wrong_totals(client: "redis.Redis", keys: Keys, jobs: Mapping[str, Job]) -> list[str]:
    """Where the totals are not those of the records: a job that was counted twice has ended twice."""
    counted: Counter[str] = Counter()
    for key in client.scan_iter(f"{keys.own}totals:*"):
        totals = _hash(client, key.decode())
        counted.update({name: int(totals.get(name, 0)) for name in ("submitted", *ENDS)})
    there = Counter(job.state for job in jobs.values())
    there["submitted"] = len(jobs)
    names = ("submitted", *ENDS)
    return [f"{counted[name]} {name} by the totals, {there[name]} by the records" for name in names
            if counted[name] != there[name]]  # fmt: skip


def _hash(client: "redis.Redis", key: str) -> dict[str, str]:
    values: Any = client.hgetall(key)
    return {name.decode(): value.decode() for name, value in values.items()}
