"""The whole cluster at one moment: its queues, its workers and its server, read in one call."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from decimal import Decimal, InvalidOperation
from typing import Any

from echelon_configs import Configuration

from .client import AsyncLedger, Ledger
from .instances import FIELDS, InstanceStatus, instance_status
from .plan import limits_of, waiting_places
from .record import read_object
from .scripts import script
from .verbs import Verb


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many jobs are where now (`waiting`, `delayed`, `running`), and what has happened since the beginning."""

    waiting: int = 0
    delayed: int = 0
    running: int = 0
    submitted: int = 0
    answered: int = 0
    dead: int = 0
    expired: int = 0
    cancelled: int = 0
    attempts: int = 0
    retries: int = 0
    #: answers of a provider that said: not now (429); they spend no attempt
    limited: int = 0
    #: attempts after which the job went on in another queue
    moved: int = 0
    #: jobs that had ended without an answer and were sent again
    redriven: int = 0
    #: leases that lapsed: their workers died or hung, and calls made on them may still have run at the provider
    lapsed: int = 0
    #: ends that came after the lease was lost, and were refused
    late: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    #: a decimal number, as in an answer
    cost_usd: str = "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatus:
    """One queue. `waiting_by_priority` has the priorities that have jobs waiting; `served_by` counts live workers.

    `held_by`: the scope whose limit holds its jobs back at this moment (`echelon:...`, `model:...`), if one does, and
    `held_since_ms` since when none has started. `draining`: it takes no new jobs. `dropped`: it is not in this revision
    any more, and its jobs wait until they are moved.
    """

    name: str
    kind: str
    counts: Counts
    waiting_by_priority: dict[int, int] = field(default_factory=dict)
    served_by: int = 0
    paused: bool = False
    held_by: str = ""
    held_since_ms: int = 0
    draining: bool = False
    dropped: bool = False

    def to_json(self) -> dict[str, Any]:
        """One flat JSON object."""
        shown = {"name": self.name, "kind": self.kind, **asdict(self.counts)}
        by_priority = {str(priority): waiting for priority, waiting in self.waiting_by_priority.items()}
        more = {"served_by": self.served_by, "paused": self.paused, "held_by": self.held_by}
        more |= {"held_since_ms": self.held_since_ms, "draining": self.draining, "dropped": self.dropped}
        return {**shown, "waiting_by_priority": by_priority, **more}


@dataclass(frozen=True, slots=True, kw_only=True)
class RateStatus:
    """One rate of a scope. `effective` is what holds at present: less than `limit` while the provider shows less.

    `used`: within the window, or what is missing from a full bucket. A window has `window_ms`, a bucket `refill_per_s`;
    both with the guard that keeps them exact where calls arrive (`limits/meter.py`).
    """

    unit: str
    algorithm: str
    limit: float
    effective: float
    used: float
    window_ms: int | None = None
    refill_per_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeStatus:
    """One scope: its limits and their use. `level` is cluster, group, echelon, model, node or pool.

    `next_free_ms`: in how many milliseconds one more attempt may start, None when one that runs has to end first.
    `rests_ms`: for how long its provider wants no calls. `overrun_tokens`: used beyond what was reserved, in all.
    """

    level: str
    name: str
    concurrency: int | None
    in_use: int
    queue_size: int | None
    waiting: int
    rates: tuple[RateStatus, ...] = ()
    next_free_ms: int | None = 0
    rests_ms: int = 0
    overrun_tokens: int = 0

    def to_json(self) -> dict[str, Any]:
        """One JSON object."""
        return {**asdict(self), "rates": [asdict(rate) for rate in self.rates]}


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """One live worker, as it last spoke of itself. `heartbeat_age_ms`: how long ago that was."""

    name: str
    hostname: str = ""
    host: str = ""
    pid: int = 0
    slots: int = 0
    busy: int = 0
    queues: tuple[str, ...] = ()
    revision: int = 0
    heartbeat_age_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """The Redis or Valkey server. `max_memory_bytes` is 0 where it has no bound."""

    name: str
    version: str
    memory_bytes: int
    max_memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStatus:
    """Everything at one moment. `now_ms` is the cluster's time; `totals` adds all queues up."""

    revision: int
    now_ms: int
    server: ServerStatus
    totals: Counts
    queues: tuple[QueueStatus, ...]
    workers: tuple[WorkerStatus, ...]
    scopes: tuple[ScopeStatus, ...] = ()
    instances: tuple[InstanceStatus, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """One JSON object, the same for the command line and the HTTP API."""
        return {
            "revision": self.revision,
            "now_ms": self.now_ms,
            "server": asdict(self.server),
            "totals": asdict(self.totals),
            "queues": [queue.to_json() for queue in self.queues],
            "scopes": [scope.to_json() for scope in self.scopes],
            "instances": [instance.to_json() for instance in self.instances],
            "workers": [{**asdict(worker), "queues": list(worker.queues)} for worker in self.workers],
        }


def cluster_status(ledger: Ledger, configuration: Configuration, revision_number: int) -> ClusterStatus:
    """Read the cluster's status under the configuration in force; queues and scopes come in its order.

    Raises redis.RedisError when Redis cannot be reached.
    """
    return ledger.run(_status(configuration, revision_number))


async def cluster_status_async(
    ledger: AsyncLedger, configuration: Configuration, revision_number: int
) -> ClusterStatus:
    """As `cluster_status`, in an event loop."""
    return await ledger.run(_status(configuration, revision_number))


def dropped_queues() -> Verb[tuple[QueueStatus, ...]]:
    """The queues of earlier revisions that the one in force does not have, and that still have jobs."""

    def read(reply: list[Any]) -> tuple[QueueStatus, ...]:
        workers = tuple(_workers(reply[2], int(reply[0])))
        names = [name.decode() for name in reply[3]]
        return tuple(
            _queue(name, _kind(name), row, workers, is_dropped=True) for name, row in zip(names, reply[4:], strict=True)
        )

    return Verb(script("status"), [0, ""], read)


def left_behind(queue: QueueStatus) -> str:
    """What there is to say of a queue that is not in force any more and has jobs: which, and what to do."""
    counts, jobs = queue.counts, []
    if waiting := counts.waiting + counts.delayed:
        jobs.append(f"{waiting:,} job{'' if waiting == 1 else 's'} wait{'s' if waiting == 1 else ''}")
    if counts.running:
        jobs.append(f"{counts.running:,} run{'s' if counts.running == 1 else ''}")
    return f"{queue.name} is dropped: {' and '.join(jobs)}; echelon queue move {queue.name} TARGET"


def _status(configuration: Configuration, revision: int) -> Verb[ClusterStatus]:
    known = [(queue.name, queue.kind) for queue in configuration.queues.values()]
    places, scopes = waiting_places(configuration), list(limits_of(configuration))

    def read(reply: list[Any]) -> ClusterStatus:
        now_ms = int(reply[0])
        workers = tuple(sorted(_workers(reply[2], now_ms), key=lambda worker: worker.name))
        queues = [*known, *((name.decode(), _kind(name.decode())) for name in reply[3])]
        rows, scope_rows = reply[4 : 4 + len(queues)], reply[4 + len(queues) :]
        found = tuple(
            _queue(name, kind, row, workers, is_dropped=place >= len(known))
            for place, ((name, kind), row) in enumerate(zip(queues, rows, strict=True))
        )
        return ClusterStatus(
            revision=revision,
            now_ms=now_ms,
            server=_server(reply[1].decode()),
            totals=_added_up([queue.counts for queue in found]),
            queues=found,
            workers=workers,
            scopes=tuple(_scope(name, row, now_ms) for name, row in zip(scopes, scope_rows, strict=True)),
            instances=tuple(
                instance_status(name.removeprefix("model:"), row[-1], now_ms)
                for name, row in zip(scopes, scope_rows, strict=True)
                if name.startswith("model:")
            ),
        )

    args: list[str | bytes | int | float] = [len(known), " ".join(FIELDS), *(name for name, _ in known)]
    for scope in scopes:
        args += (scope, " ".join(places.get(scope, ())))
    return Verb(script("status"), args, read)


def _scope(scope: str, row: list[Any], now_ms: int) -> ScopeStatus:
    concurrency, in_use, queue_size, waiting, free_at, not_before, overrun, meters, _ = row
    level, _, name = scope.partition(":")
    return ScopeStatus(
        level=level,
        name=name,
        concurrency=concurrency or None,
        in_use=in_use,
        queue_size=queue_size or None,
        waiting=waiting,
        rates=tuple(_rate(*(value.decode() for value in meter)) for meter in meters),
        next_free_ms=int(free_at) - now_ms if free_at else None,
        rests_ms=max(0, int(not_before) - now_ms),
        overrun_tokens=overrun,
    )


def _rate(algorithm: str, unit: str, size: str, span: str, effective: str, used: str) -> RateStatus:
    is_bucket = algorithm == "token_bucket"
    return RateStatus(
        unit=unit,
        algorithm=algorithm,
        limit=float(size),
        effective=float(effective),
        used=float(used),
        window_ms=None if is_bucket else int(float(span)),
        refill_per_s=float(span) * 1000 if is_bucket else None,
    )


def _kind(queue: str) -> str:
    """What a queue was that the configuration does not have any more."""
    kind = queue.partition(".")[0]
    return kind if kind in ("pool", "model") else "echelon"


def _queue(
    name: str, kind: str, row: list[Any], workers: Sequence[WorkerStatus], *, is_dropped: bool = False
) -> QueueStatus:
    lengths, parked, running, delayed, totals, paused, held_by, held_since, draining = row
    since = {key.decode(): value.decode() for key, value in zip(totals[::2], totals[1::2], strict=True)}
    # A total this version does not know is another version's business.
    known = {key: _whole(since[key]) for key in _SINCE & since.keys()}
    cost = _plain(_decimal(since.get("cost_usd", "0")))
    return QueueStatus(
        name=name,
        kind=kind,
        counts=Counts(waiting=sum(lengths) + parked, running=running, delayed=delayed, cost_usd=cost, **known),
        waiting_by_priority={priority: waiting for priority, waiting in enumerate(lengths) if waiting},
        served_by=sum(name in worker.queues for worker in workers),
        paused=bool(paused),
        held_by=held_by.decode() if sum(lengths) else "",
        held_since_ms=int(held_since) if sum(lengths) else 0,
        draining=bool(draining),
        dropped=is_dropped,
    )


_SINCE = {each.name for each in fields(Counts)} - {"waiting", "delayed", "running", "cost_usd"}
#: More than this somebody wrote by hand; it would not be exact to the billionth of a dollar.
_MOST_USD = Decimal(10) ** 15
_ABOUT = {each.name for each in fields(WorkerStatus)} - {"name", "queues", "heartbeat_age_ms"}


def _whole(text: str) -> int:
    """A number in Redis; 0 for what somebody damaged."""
    try:
        return int(text)
    except ValueError:
        return 0


def _decimal(text: str) -> Decimal:
    try:
        found = Decimal(text)
    except InvalidOperation:
        return Decimal(0)
    return found if found.is_finite() and abs(found) < _MOST_USD else Decimal(0)


def _workers(reply: list[bytes], now_ms: int) -> Iterator[WorkerStatus]:
    for name, beat, said in zip(reply[::3], reply[1::3], reply[2::3], strict=True):
        about = read_object(said.decode(errors="replace"))
        queues = about.get("queues")
        yield WorkerStatus(
            name=name.decode(),
            queues=tuple(queues) if isinstance(queues, list) else (),
            heartbeat_age_ms=max(0, now_ms - int(float(beat))),
            **{key: about[key] for key in _ABOUT & about.keys()},
        )


def _server(info: str) -> ServerStatus:
    values = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    name = values.get("server_name", "redis")
    return ServerStatus(
        name=name,
        version=values.get(f"{name}_version", values["redis_version"]),
        memory_bytes=int(values.get("used_memory", 0)),
        max_memory_bytes=int(values.get("maxmemory", 0)),
    )


def _added_up(all_counts: Sequence[Counts]) -> Counts:
    numbers = [each.name for each in fields(Counts) if each.name != "cost_usd"]
    sums = {name: sum(getattr(counts, name) for counts in all_counts) for name in numbers}
    cost = sum((Decimal(counts.cost_usd) for counts in all_counts), Decimal(0))
    return Counts(**sums, cost_usd=_plain(cost))


def _plain(cost_usd: Decimal) -> str:
    """A cost to the billionth of a dollar: HINCRBYFLOAT adds in binary and leaves a trace of that behind."""
    rounded = cost_usd.quantize(Decimal("1e-9"))
    return f"{rounded.normalize():f}" if rounded else "0"
