"""The two sides of a crash: fleets that get jobs evenly while one worker after the other is killed."""

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

from echelon_configs import load
from echelon_producers.simulator.process import SimulatorProcess

from .arena import Arena
from .crash_app import make_crash_app
from .echelon_side import MODELS, QUEUE, TARGET
from .fleet import Fleet
from .process import Worker
from .side import PROMPT, launched_environment
from .stock_app import QUEUE as STOCK_QUEUE

_SERVES_WITHIN_S = 90.0
_ENDS = ("answered", "dead", "cancelled", "expired")


@dataclass(frozen=True, slots=True)
class Kill:
    """When (ns of the wall clock) a worker was killed, and the jobs that it held."""

    at_ns: int
    held: Sequence[str]


class CrashSide(ABC):
    """Several workers; one is killed now and then, and another started in its place."""

    title: str
    simulator: SimulatorProcess
    #: those that were started, oldest first
    workers: list[Worker]

    @abstractmethod
    def launch(self) -> None:
        """Start one more worker."""

    @abstractmethod
    def serves(self, worker: Worker) -> bool:
        """Whether it takes jobs already."""

    @abstractmethod
    def submit(self, first: int, many: int) -> list[str]:
        """Put so many jobs into the queue; `first` is the number of the first."""

    @abstractmethod
    def left(self) -> int:
        """Jobs that wait or run, as far as this side knows."""

    @abstractmethod
    def ends(self, ids: Sequence[str]) -> Mapping[str, int]:
        """How many of these jobs have ended each way."""

    def reasons(self, ids: Sequence[str]) -> Mapping[str, int]:
        """Of the dead among these jobs, how many died of each cause."""
        return {}

    @abstractmethod
    def held_by(self, worker: Worker, killed_ns: int) -> list[str]:
        """The jobs that a killed worker had in its hand."""

    def start(self, workers: int) -> None:
        """Start them all; returns when they serve."""
        for _ in range(workers):
            self.launch()
        end = time.monotonic() + _SERVES_WITHIN_S
        while not all(self.serves(worker) for worker in self.workers):
            for worker in self.workers:
                worker.check()
            if time.monotonic() > end:
                raise RuntimeError(f"{self.title}: the workers do not serve after {_SERVES_WITHIN_S:g} s")
            time.sleep(0.1)

    def kill_one(self, draw: Random) -> Kill | None:
        """SIGKILL one of those that serve, and start another; None where none does."""
        serving = [worker for worker in self.workers if self.serves(worker)]
        if not serving:
            return None
        worker = draw.choice(serving)
        killed_ns = time.time_ns()
        worker.kill()
        held = self.held_by(worker, killed_ns)
        self.workers.remove(worker)
        self.launch()
        return Kill(killed_ns, held)

    def stop(self) -> None:
        """End every worker."""
        for worker in self.workers:
            worker.kill()
        self.workers.clear()


class EchelonCrash(CrashSide):
    """Ours."""

    def __init__(self, arena: Arena, configs: Path, simulator: SimulatorProcess, slots: int) -> None:
        self.title, self.simulator = "Echelon", simulator
        self._fleet = Fleet(arena, 0, load(configs).configuration, simulator.url, slots)
        self.workers = self._fleet.workers
        self._keys, self._redis = self._fleet.ledger.keys, self._fleet.redis
        self._serving: set[int] = set()

    def launch(self) -> None:
        """As `CrashSide.launch`."""
        self._fleet.add()

    def serves(self, worker: Worker) -> bool:
        """As `CrashSide.serves`: it has taken."""
        if worker.pid not in self._serving:
            names: Any = self._redis.zrange(self._keys.of("workers"), 0, -1)
            mine = [name.decode() for name in names if f":{worker.pid}:".encode() in name]
            if any(self._redis.exists(self._keys.of("taker", name)) for name in mine):
                self._serving.add(worker.pid)
        return worker.pid in self._serving

    def submit(self, first: int, many: int) -> list[str]:
        """As `CrashSide.submit`."""
        return self._fleet.client.submit_many([f"{PROMPT} ({first + n})" for n in range(many)], target=TARGET)

    def left(self) -> int:
        """As `CrashSide.left`."""
        totals: Any = self._redis.hmget(self._keys.of("totals", QUEUE), ["submitted", *_ENDS])
        submitted, *ended = (int(value or 0) for value in totals)
        return submitted - sum(ended)

    def ends(self, ids: Sequence[str]) -> dict[str, int]:
        """As `CrashSide.ends`, by the records."""
        found = dict.fromkeys(_ENDS, 0)
        for first in range(0, len(ids), 1000):
            pipe = self._redis.pipeline(transaction=False)
            for id in ids[first : first + 1000]:
                pipe.hget(self._keys.of("job", id), "state")
            for state in pipe.execute():
                if state is not None and state.decode() in found:
                    found[state.decode()] += 1
        return found

    def reasons(self, ids: Sequence[str]) -> dict[str, int]:
        """Of the dead among these jobs, how many died of each cause."""
        found: Counter[str] = Counter()
        for id in ids:
            values: Any = self._redis.hmget(self._keys.of("job", id), ["state", "cause"])
            state, cause = values
            if state == b"dead":
                found[(cause or b"").decode()] += 1
        return dict(found)

    def held_by(self, worker: Worker, killed_ns: int) -> list[str]:
        """As `CrashSide.held_by`, by the leases."""
        ids: Any = self._redis.zrange(self._keys.of("running"), 0, -1)
        pipe = self._redis.pipeline(transaction=False)
        for id in ids:
            pipe.hget(self._keys.of("job", id.decode()), "worker")
        names = pipe.execute()
        pid = f":{worker.pid}:".encode()
        return [id.decode() for id, name in zip(ids, names, strict=True) if name and pid in name]

    def counters(self) -> dict[str, int]:
        """What the ledger believes to be in use: all zero when nothing is."""
        counts: Any = self._redis.hgetall(self._keys.of("counts"))
        found = {name.decode(): int(value) for name, value in counts.items()}
        names: Any = self._redis.smembers(self._keys.of("scopes"))
        for name in sorted(name.decode() for name in names):
            found[f"permits:{name}"] = int(self._redis.hget(self._keys.of("scope", name), "cu") or 0)
        return {**found, "leases": int(self._redis.zcard(self._keys.of("running")))}


class StockCrash(CrashSide):
    """Stock Celery's threads pool, set up as `crash_app` says."""

    def __init__(self, arena: Arena, configs: Path, simulator: SimulatorProcess, slots: int) -> None:
        self.title, self.simulator = "stock Celery", simulator
        self.workers = []
        self._arena, self._configs, self._slots, self._launched = arena, configs, slots, 0
        self._url, self._redis = arena.url(1), arena.client(1)
        self._redis.flushdb()
        self._app = make_crash_app(self._url)

    def launch(self) -> None:
        """As `CrashSide.launch`."""
        self._launched += 1
        name = f"stock-crash-{self._launched}"
        environment = {
            "BENCH_STOCK_URL": self._url,
            "BENCH_CONFIGS": str(self._configs),
            "ECHELON_SIMULATOR_URL": self.simulator.url,
            "BENCH_READY": str(self._arena.folder / name),
        }
        arguments = ["-m", "celery", "-A", "bench.crash_app", "worker", "-P", "threads", "-c", str(self._slots)]
        arguments += ["-l", "WARNING", "-E", "-n", f"{name}@bench", "--without-gossip", "--without-mingle"]
        log = self._arena.folder / f"{name}.log"
        self.workers.append(self._arena.keep(Worker(arguments, launched_environment(environment), log)))

    def serves(self, worker: Worker) -> bool:
        """As `CrashSide.serves`."""
        return worker.log.with_suffix("").exists()

    def submit(self, first: int, many: int) -> list[str]:
        """As `CrashSide.submit`."""
        ids = [str(uuid4()) for _ in range(many)]
        batching: Any = self._app.producer_pool.acquire()
        with batching as producer, producer.batch():
            for number, id in enumerate(ids, first):
                kwargs = {"prompt": f"{PROMPT} ({number})", "instance": MODELS[0]}
                self._app.tasks["bench.call"].apply_async(kwargs=kwargs, task_id=id, producer=producer)
        return ids

    def left(self) -> int:
        """As `CrashSide.left`: waiting, or delivered and not acknowledged."""
        return int(self._redis.llen(STOCK_QUEUE)) + int(self._redis.hlen("unacked"))

    def ends(self, ids: Sequence[str]) -> dict[str, int]:
        """As `CrashSide.ends`, by the results."""
        found = 0
        for first in range(0, len(ids), 1000):
            found += int(self._redis.exists(*[f"celery-task-meta-{id}" for id in ids[first : first + 1000]]))
        return {"answered": found}

    def held_by(self, worker: Worker, killed_ns: int) -> list[str]:
        """As `CrashSide.held_by`: Redis does not say who holds what, so they are the jobs whose calls its death cut."""
        time.sleep(0.05)  # the simulator sees it in its own time
        rows = self.simulator.arrivals(operation="call")
        ahead_ns = rows[-1]["time_ns"] - rows[-1]["monotonic_ns"] if rows else 0
        return [row["job"] for row in rows if row["client_gone"] and row["done_ns"] + ahead_ns >= killed_ns]
