"""Stock Celery's side: one worker with the threads pool or an asyncio pool, and a batching producer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from .arena import Arena
from .echelon_side import MODELS
from .process import Worker
from .side import PROMPT, Side, Work
from .stock_app import QUEUE, make_app

#: Celery's threads pool, and the asyncio pool of `echelon_workers.pool` under Celery's own consumer.
POOLS = ("threads", "asyncio")
_FIRST_DB = 1


class StockSide(Side):
    """Results kept in Redis, events on, `acks_late`; gossip and mingle off."""

    def __init__(self, arena: Arena, configs: Path, pool: str, models: Sequence[str] = MODELS) -> None:
        super().__init__(arena, configs, f"stock Celery ({pool} pool)", _FIRST_DB + POOLS.index(pool))
        self.pool = pool
        self.models = models
        self.app = make_app(arena.url(self.db))
        self._redis = arena.client(self.db)
        self._task = "bench.nap"

    def reset(self) -> None:
        """An empty database."""
        self._redis.flushdb()

    def start(self, work: Work, slots: int) -> Worker:
        """As `Side.start`; it serves when it has answered its first job."""
        self.reset()
        self._task = "bench.call" if work.nap_s is None else "bench.nap"
        custom = {"CELERY_CUSTOM_WORKER_POOL": "echelon_workers.pool:TaskPool"} if self.pool == "asyncio" else {}
        environment = {
            **work.environment,
            **custom,
            "BENCH_STOCK_URL": self.arena.url(self.db),
            "BENCH_CONFIGS": str(self.configs),
        }
        pool = "custom" if custom else "threads"
        arguments = ["-A", "bench.stock_app", "worker", "-P", pool, "-c", str(slots), "-l", "WARNING", "-E"]
        worker = self._launch("stock", [*arguments, "--without-gossip", "--without-mingle"], environment)
        self.warm(1)
        return worker

    def submit(self, jobs: int) -> list[str]:
        """As `Side.submit`, through kombu's batching producer."""
        ids = []
        batching: Any = self.app.producer_pool.acquire()
        with batching as producer, producer.batch():
            for number in range(jobs):
                ids.append(self._send(number, producer=producer))
        return ids

    def submit_one(self) -> str:
        """As `Side.submit_one`."""
        return self._send(0)

    def _send(self, number: int, **how: Any) -> str:
        id = str(uuid4())
        kwargs = {"prompt": PROMPT, "instance": self.models[number % len(self.models)]}
        self.app.tasks[self._task].apply_async(kwargs=kwargs, task_id=id, **how)
        return id

    def left(self) -> int:
        """As `Side.left`: waiting, or delivered and not acknowledged."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.llen(QUEUE)
        pipe.hlen("unacked")
        return sum(map(int, pipe.execute()))

    def answered(self, ids: Sequence[str]) -> int:
        """As `Side.answered`."""
        found = 0
        for first in range(0, len(ids), 1000):
            found += int(self._redis.exists(*[f"celery-task-meta-{id}" for id in ids[first : first + 1000]]))
        return found
