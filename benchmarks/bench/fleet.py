"""Several worker processes of ours on one queue configuration: started, killed and added while they work."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from echelon_configs import Configuration
from echelon_producers import Client
from echelon_workers.ledger import revisions
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger

from .arena import Arena
from .counting import Killed
from .process import Worker
from .side import launched_environment

_SERVES_WITHIN_S = 60.0


@dataclass(eq=False)
class Fleet:
    """Workers over one database of the arena's server, all serving every queue of the configuration."""

    arena: Arena
    db: int
    configuration: Configuration
    simulator_url: str
    slots: int
    workers: list[Worker] = field(default_factory=list, init=False)
    _launched: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.address = Address(self.arena.url(self.db))
        self.ledger = Ledger(self.address)
        self.client = Client(self.address.url)
        self.redis = self.arena.client(self.db)
        self.redis.flushdb()
        revisions.publish(self.ledger, self.configuration)

    def start(self, clocks: Sequence[bool]) -> None:
        """One worker for each clock (True: a wrong one); returns when all of them serve."""
        started = [self._launch(wrong) for wrong in clocks]
        for worker in started:
            self._wait(worker)

    def add(self) -> Worker:
        """One more worker; it serves when it has loaded."""
        return self._launch(False)

    def kill(self, worker: Worker) -> Killed:
        """SIGKILL. Returns what it held."""
        worker.kill()
        at_ns = time.monotonic_ns()
        self.workers.remove(worker)
        held: dict[str, list[tuple[str, int]]] = {}
        ids: Any = self.redis.zrange(self.ledger.keys.of("running"), 0, -1)
        for id in ids:
            name, instance, granted_ms = self._record(id.decode(), "worker", "instance", "started")
            if f":{worker.pid}:".encode() in name:
                held.setdefault(instance.decode(), []).append((id.decode(), int(granted_ms)))
        return Killed(at_ns, held)

    def shares(self, ids: Sequence[str]) -> dict[int, int]:
        """How many of these jobs each worker (by its pid) has answered."""
        found: dict[int, int] = {}
        for id in ids:
            state, worker = self._record(id, "state", "worker")
            if state == b"answered":
                pid = int(worker.split(b":")[-2])
                found[pid] = found.get(pid, 0) + 1
        return found

    def waiting(self, queue: str) -> int:
        """Jobs in a queue's lists."""
        return sum(int(self.redis.llen(name)) for name in self.ledger.keys.queue_lists(queue))

    def stop(self) -> None:
        """End every worker. The jobs left in the queues are not worth waiting for."""
        for worker in self.workers:
            worker.kill()
        self.workers.clear()

    def _record(self, id: str, *fields: str) -> list[bytes]:
        values: Any = self.redis.hmget(self.ledger.keys.of("job", id), fields)
        return [value or b"" for value in values]

    def _launch(self, wrong_clock: bool) -> Worker:
        self._launched += 1
        environment = {"ECHELON_REDIS_URL": self.address.url, "ECHELON_SIMULATOR_URL": self.simulator_url}
        program = ["-m", "bench.wrong_clock" if wrong_clock else "celery", "-A", "echelon_workers.app", "worker"]
        name = f"fleet-{self.db}-{self._launched}"
        arguments = [*program, "-c", str(self.slots), "-l", "WARNING", "-n", f"{name}@bench"]
        log = self.arena.folder / f"{name}.log"
        worker = self.arena.keep(Worker(arguments, launched_environment(environment), log))
        self.workers.append(worker)
        return worker

    def _wait(self, worker: Worker) -> None:
        end = time.monotonic() + _SERVES_WITHIN_S
        while not self._serves(worker.pid):
            worker.check()
            if time.monotonic() > end:
                said = worker.log.read_text(errors="replace")[-3000:]
                raise RuntimeError(f"the worker does not serve after {_SERVES_WITHIN_S:g} s:\n{said}")
            time.sleep(0.05)

    def _serves(self, pid: int) -> bool:
        names: Any = self.redis.zrange(self.ledger.keys.of("workers"), 0, -1)
        mine = [name.decode() for name in names if f":{pid}:".encode() in name]
        return any(self.redis.exists(self.ledger.keys.of("taker", name)) for name in mine)
