"""The verbs of the ledger as plain values: which script, with which arguments, and how to read its reply.

Building a call and reading a reply is the same for a thread, for an event loop and for a pipeline; only running it
differs (`client.py`). Every verb may be repeated: redis-py repeats calls by itself when a connection breaks.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from .job import Health
from .scripts import Script, script

T = TypeVar("T")

#: A script call is bounded: longer work loops outside, so that no script holds Redis for long.
MOST_JOBS_A_CALL = 500

#: Each may have to be looked for in its queue.
MOST_CANCELS_A_CALL = 100

#: How many values take's reply has for each grant.
GRANT_FIELDS = 15

#: The queue that a plain Celery client sends to when it names none (Celery's `task_default_queue`).
INBOX = "celery"

#: `return` to the head of its queue; `unused` likewise, and no call was made on it, so that it spends nothing.
Ending = Literal["return", "unused", "bury", "cancel"]
#: What redrive says of a job: it is queued again; or why it is not (`lua/redrive.lua`).
Redriven = Literal["done", "not ended", "answered", "unknown", "no job", "no queue"]
#: What cancel says of a job: that it is cancelled, that its worker stops it, or the state in which it has ended.
Cancelled = Literal["cancelled", "stopping", "answered", "dead", "expired", "unknown"]
#: `hold`: every instance of its queue is out and there is nowhere to go, so the job stays the first where it is.
Decision = Literal["answer", "retry", "wait", "move", "hold", "bury", "expire"]


@dataclass(frozen=True, slots=True)
class Verb(Generic[T]):
    """One call of one script."""

    script: Script
    args: list[str | bytes | int | float]
    read: Callable[[Any], T]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job as submit writes it. `request` and `options` are JSON that Redis never looks into.

    What token limits reserve: `input_tokens` as estimated, `worst_input_tokens` that no tokenizer exceeds, and
    `max_tokens` of its answer as the job or its node states it (0: its echelon's hold).
    """

    id: str
    queue: str
    request: str | bytes
    target: str
    node: str = ""
    priority: int = 0
    deadline_ms: int = 0
    foreign: bool = False
    options: str = ""
    input_tokens: int = 0
    worst_input_tokens: int = 0
    max_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Full:
    """More would wait in a scope than may. `retry_after_ms`: when there will be room, as its queues go at present."""

    scope: str
    limit: int
    waiting: int
    retry_after_ms: int


@dataclass(frozen=True, slots=True)
class Draining:
    """This queue takes no new jobs."""

    queue: str


@dataclass(frozen=True, slots=True)
class OtherJob:
    """This id is that of another job: another target or another request."""

    id: str


#: Why nothing of a submit was accepted.
Refusal = Full | Draining | OtherJob


@dataclass(frozen=True, slots=True)
class Grant:
    """One job that take handed to this worker, with the lease that proves it.

    `home` is the echelon (or the model's queue) whose settings and limits hold for the instance. A grant with
    `use_within_ms` is good for so long from when it was asked for: a call made later might arrive out of its window.
    """

    id: str
    queue: str
    lease: str
    instance: str
    home: str
    request: bytes
    node: str
    target: str
    deadline_ms: int
    created_ms: int
    attempts: int
    foreign: bool
    options: str
    trail: str
    use_within_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """The reply of one take. `next_due_ms`: when to ask again, from now; `broken`: queues that are no lists;
    `out`: instances whose breaker is open."""

    now_ms: int
    next_due_ms: int | None
    raws: list[bytes] = field(default_factory=list)
    grants: list[Grant] = field(default_factory=list)
    broken: frozenset[str] = frozenset()
    out: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Renewed:
    """The reply of one heartbeat. `revision`: number and digest of the configuration in force, '' without one;
    `has_more`: there is more to reap; `lost`: leases that are another's by now, each as job id and lease; `unwanted`:
    those whose jobs are to be cancelled."""

    revision: str
    has_more: bool
    lost: list[tuple[str, str]]
    unwanted: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Relocated:
    """What one relocate came to: how many jobs it moved, how many are left, and behind how many of the delayed to go
    on (None: all were looked at); `is_known`: whether there is such a target."""

    moved: int
    left: int
    is_known: bool = True
    behind: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """How one attempt ended, and what is to become of its job.

    `counted_tokens`: what counts against its limits; None when nobody knows, and what it reserved stays reserved.
    `stated`: what the provider said of its own limits (`quotas.Stated`). `health` feeds the breaker of the instance;
    after a failure of which `out_ms` is not 0 the instance is out for so long whatever its breaker says, or with -1
    until the configuration is loaded anew. A `move` names its queue, the strategy that chose it, and what the fleet's
    history keeps of it (JSON); `code` is the outcome's.
    """

    id: str
    lease: str
    decision: Decision
    payload: str
    entry: str
    delay_ms: int = 0
    avoid: str = ""
    retention_ms: int
    foreign_result: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: str = "0"
    counted_tokens: int | None = None
    stated: str = ""
    health: Health = ""
    out_ms: int = 0
    code: str = ""
    move_to: str = ""
    strategy: str = ""
    history: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """A granted job that ends in Celery without an outcome of its own."""

    id: str
    lease: str
    ending: Ending
    reason: str = ""
    foreign_result: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The terms on which a worker holds jobs; the same for all its calls."""

    lease_ms: int = 10_000
    adopting_ms: int = 30_000
    poison: int = 5
    retention_ms: int = 86_400_000
    inbox: str = INBOX


def submit(jobs: Sequence[NewJob], *, adopted: bytes = b"") -> Verb[list[bool] | Refusal]:
    """Accept new jobs, at most 500, all or none.

    The reply says of each whether it is new (True) or was known already; or why none of them was accepted.
    """
    if len(jobs) > MOST_JOBS_A_CALL:
        raise ValueError(f"{len(jobs)} jobs in one call (would be right: at most {MOST_JOBS_A_CALL})")
    args: list[str | bytes | int | float] = [adopted, 10]
    for job in jobs:
        args += (job.id, job.queue, job.priority, job.deadline_ms, job.target, job.node, "1" if job.foreign else "")
        args += (f"{job.input_tokens} {job.worst_input_tokens} {job.max_tokens}", job.options, job.request)
    return Verb(script("submit"), args, _read_submitted)


def _read_submitted(reply: list[bytes]) -> list[bool] | Refusal:
    if reply and reply[0] == b"full":
        return Full(reply[1].decode(), *(int(number) for number in reply[2:5]))
    if reply and reply[0] == b"draining":
        return Draining(reply[1].decode())
    if reply and reply[0] == b"other":
        return OtherJob(reply[1].decode())
    return [answer == b"new" for answer in reply]


def take(
    worker: str,
    sequence: int,
    claimed: int,
    queues: Sequence[tuple[str, str]],
    *,
    want: int,
    fills: bool,
    terms: Terms,
    urgent: int | None = None,
    needs_revision: bool = False,
) -> Verb[Taken]:
    """Start up to `want` jobs of these queues (each with its instances, comma-separated), in this order.

    At most `urgent` of them (all, without a number) under a rate: those have to be used at once. With
    `needs_revision` none starts while no configuration is in force.
    """
    args: list[str | bytes | int | float] = [worker, sequence, claimed, want, want if urgent is None else urgent]
    args += ("1" if fills else "", terms.lease_ms, terms.adopting_ms, terms.poison, terms.retention_ms, terms.inbox)
    args.append("1" if needs_revision else "")
    for queue in queues:
        args += queue
    return Verb(script("take"), args, _read_taken)


def _read_taken(reply: list[Any]) -> Taken:
    now, due, broken, out, raws = int(reply[0]), reply[1], reply[2], reply[3], int(reply[4])
    first = 5 + raws
    grants = [_read_grant(reply[i : i + GRANT_FIELDS]) for i in range(first, len(reply), GRANT_FIELDS)]
    names = frozenset(broken.decode().split())
    return Taken(now, int(due) if due else None, list(reply[5:first]), grants, names, frozenset(out.decode().split()))


def _read_grant(f: list[bytes]) -> Grant:
    # What somebody wrote into a record is for its own attempt to find; the other grants of this reply hold.
    texts = [value.decode(errors="replace") for value in f]
    return Grant(
        id=texts[0],
        queue=texts[1],
        lease=texts[2],
        instance=texts[3],
        home=texts[4],
        request=f[5],
        node=texts[6],
        target=texts[7],
        deadline_ms=int(f[8]),
        created_ms=int(f[9]),
        attempts=int(f[10]),
        foreign=f[11] == b"1",
        options=texts[12],
        trail=texts[13],
        use_within_ms=int(f[14]) if f[14] else None,
    )


def finish(end: Finish) -> Verb[bool]:
    """End an attempt. The reply is False when the lease was lost before: the answer came too late."""
    args: list[str | bytes | int | float] = [end.id, end.lease, end.decision, end.payload, end.entry, end.delay_ms]
    args += (end.avoid, end.retention_ms, end.foreign_result, end.input_tokens, end.output_tokens, end.cost_usd)
    args += ("" if end.counted_tokens is None else end.counted_tokens, end.stated, end.health, end.out_ms, end.code)
    args += (end.move_to, end.strategy, end.history)
    return Verb(script("finish"), args, lambda reply: reply == b"done")


def settle(endings: Sequence[Settlement], terms: Terms) -> Verb[list[bool]]:
    """End granted jobs that had no attempt of their own to end, at most 500; as `finish`, False means too late."""
    args: list[str | bytes | int | float] = [terms.retention_ms]
    for end in endings:
        args += (end.id, end.lease, end.ending, end.reason, end.foreign_result)
    return Verb(script("settle"), args, lambda reply: [answer == b"done" for answer in reply])


def renew(
    worker: str,
    about: str,
    about_ms: int,
    leases: Sequence[tuple[str, str]],
    terms: Terms,
    instances: Sequence[str] = (),
) -> Verb[Renewed]:
    """One heartbeat of a worker that has keys for these instances. The calls of lost leases are to be stopped."""
    args: list[str | bytes | int | float] = [worker, terms.lease_ms, terms.poison, terms.retention_ms, about, about_ms]
    args += (terms.inbox, ",".join(instances))
    for lease in leases:
        args += lease
    return Verb(script("renew"), args, _read_renewed)


def _read_renewed(reply: list[bytes]) -> Renewed:
    end = 3 + 2 * int(reply[2])
    return Renewed(reply[0].decode(), bool(reply[1]), _read_pairs(reply[3:end]), _read_pairs(reply[end:]))


def readmit(instances: Sequence[str]) -> Verb[int]:
    """Let instances back in that are out because their key was refused: there may be another one now."""
    return Verb(script("steer"), ["readmit", *(f"model:{instance}" for instance in instances)], int)


#: What can be ordered of a queue.
Order = Literal["pause", "drain", "resume"]


def steer(order: Order, queues: Sequence[str]) -> Verb[int]:
    """Pause queues, drain them, or let them go on. The reply says how many of them that changed."""
    return Verb(script("steer"), [order, *queues], int)


def cancel(
    ids: Sequence[str], reason: str, *, retention_ms: int = 86_400_000, remember_ms: int = 0
) -> Verb[list[Cancelled]]:
    """Cancel jobs, at most 100. `reason` is JSON; an id that is not known is remembered for `remember_ms`."""
    if len(ids) > MOST_CANCELS_A_CALL:
        raise ValueError(f"{len(ids)} jobs in one call (would be right: at most {MOST_CANCELS_A_CALL})")
    args: list[str | bytes | int | float] = [retention_ms, reason, remember_ms, *ids]
    return Verb(script("cancel"), args, lambda reply: [answer.decode() for answer in reply])


def relocate(source: str, target: str, *, behind: int = 0, most: int = MOST_JOBS_A_CALL) -> Verb["Relocated"]:
    """Move jobs that wait in one queue, or are delayed, to another, in their order; so many are looked at, of the
    delayed behind the first `behind`."""
    return Verb(script("relocate"), [source, target, most, behind], _read_relocated)


def _read_relocated(reply: list[bytes]) -> "Relocated":
    if reply[0] == b"no queue":
        return Relocated(0, 0, False)
    return Relocated(int(reply[0]), int(reply[1]), behind=int(reply[2]) if reply[2] else None)


def redrive(ids: Sequence[str], *, token: str = "") -> Verb[list[Redriven]]:
    """Send jobs that are dead, expired or cancelled again, at most 500. The same token is the same call."""
    if len(ids) > MOST_JOBS_A_CALL:
        raise ValueError(f"{len(ids)} jobs in one call (would be right: at most {MOST_JOBS_A_CALL})")
    args: list[str | bytes | int | float] = [token or secrets.token_hex(8), *ids]
    return Verb(script("redrive"), args, lambda reply: [answer.decode() for answer in reply])


def _read_pairs(reply: list[bytes]) -> list[tuple[str, str]]:
    return [(id.decode(), lease.decode()) for id, lease in zip(reply[::2], reply[1::2], strict=True)]


def refuse(raw: bytes, id: str, queue: str, error: str, results: dict[str, str], terms: Terms) -> Verb[bool]:
    """Bury a foreign message that cannot become a job, with Celery's result for each id under which it is awaited."""
    args: list[str | bytes | int | float] = [raw, id, queue, error, terms.retention_ms]
    args += (word for result in results.items() for word in result)
    return Verb(script("refuse"), args, lambda reply: reply == b"done")
