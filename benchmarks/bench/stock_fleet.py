"""Stock Celery under a `rate_limit`, which holds for each worker by itself: several workers, one queue."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from .arena import Arena
from .process import Worker
from .side import PROMPT, launched_environment
from .stock_app import QUEUE, make_app

_READY_WITHIN_S = 90.0
#: Celery's threads pool, in the size at which it does best under a rate limit.
_THREADS = 8


@dataclass(eq=False)
class StockFleet:
    """Workers with the threads pool, `acks_late`, results kept; `rate_limit` as Celery writes it (600/m)."""

    arena: Arena
    db: int
    configs: Path
    instance: str
    simulator_url: str
    rate_limit: str
    workers: list[Worker] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.app = make_app(self.arena.url(self.db))
        self.redis = self.arena.client(self.db)
        self.redis.flushdb()

    def start(self, workers: int) -> None:
        """Start them; returns when all are ready."""
        self.launch(workers)
        self.wait()

    def launch(self, workers: int) -> None:
        """Start them."""
        environment = {
            "BENCH_STOCK_URL": self.arena.url(self.db),
            "BENCH_STOCK_RATE": self.rate_limit,
            "BENCH_CONFIGS": str(self.configs),
            "ECHELON_SIMULATOR_URL": self.simulator_url,
        }
        program = ["-m", "celery", "-A", "bench.stock_app", "worker", "-P", "threads", "-c", str(_THREADS)]
        for number in range(workers):
            name = f"stock-{self.db}-{number}"
            arguments = [*program, "--prefetch-multiplier", "1", "-l", "WARNING", "-n", f"{name}@bench"]
            log = self.arena.folder / f"{name}.log"
            self.workers.append(self.arena.keep(Worker(arguments, launched_environment(environment), log)))

    def wait(self) -> None:
        """Wait until all are ready."""
        end = time.monotonic() + _READY_WITHIN_S
        while len(self.app.control.ping(timeout=1.0) or ()) < len(self.workers):
            for worker in self.workers:
                worker.check()
            if time.monotonic() > end:
                raise RuntimeError(f"stock Celery's workers are not ready after {_READY_WITHIN_S:g} s")

    def feed(self, jobs: int) -> None:
        """Put jobs into the queue."""
        kwargs = {"prompt": PROMPT, "instance": self.instance}
        batching: Any = self.app.producer_pool.acquire()
        with batching as producer, producer.batch():
            for _ in range(jobs):
                self.app.tasks["bench.call"].apply_async(kwargs=kwargs, task_id=str(uuid4()), producer=producer)

    def waiting(self) -> int:
        """Jobs that no worker has yet."""
        return int(self.redis.llen(QUEUE))

    def stop(self) -> None:
        """End every worker."""
        for worker in self.workers:
            worker.kill()
        self.workers.clear()
