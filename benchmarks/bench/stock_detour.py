"""Stock Celery's way from home to away: `autoretry_for`, and the retry goes to the other queue at once."""

import os
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from celery import Celery

from echelon_workers.errors import AttemptFailed

from .detour import AWAY
from .process import Worker
from .side import launched_environment
from .stock_app import call, make_app
from .stock_fleet import StockFleet

_TASK = "bench.detour"
_MOST_RETRIES = 3


def make_detour_app(url: str) -> Celery:
    """The app, for the worker and for the producer."""
    app = make_app(url)
    elsewhere = {"queue": AWAY, "countdown": 0, "max_retries": _MOST_RETRIES}
    app.task(name=_TASK, bind=True, autoretry_for=(AttemptFailed,), retry_kwargs=elsewhere)(detour)
    return app


def detour(self: Any, prompt: str) -> dict[str, Any]:
    """Call an instance of the queue that it came from; those of one queue by lot."""
    away = self.request.delivery_info["routing_key"] == AWAY
    instances = os.environ["BENCH_AWAY" if away else "BENCH_HOME"].split(",")
    return call(self, prompt, instances[UUID(self.request.id).int % len(instances)])


class StockDetour(StockFleet):
    """Workers with the threads pool, each on queues of its own."""

    def serve(self, queues: Sequence[str], home: Sequence[str], away: str, slots: int) -> None:
        """Start one worker for each entry, on the queues that it names (comma-separated); returns when all are
        ready."""
        self.app = make_detour_app(self.arena.url(self.db))
        environment = {
            "BENCH_DETOUR_URL": self.arena.url(self.db),
            "BENCH_CONFIGS": str(self.configs),
            "BENCH_HOME": ",".join(home),
            "BENCH_AWAY": away,
            "ECHELON_SIMULATOR_URL": self.simulator_url,
        }
        program = ["-m", "celery", "-A", "bench.stock_detour", "worker", "-P", "threads", "-c", str(slots)]
        for number, names in enumerate(queues):
            name = f"stock-detour-{self.db}-{number}"
            arguments = [*program, "--prefetch-multiplier", "1", "-l", "ERROR", "-Q", names, "-n", f"{name}@bench"]
            log = self.arena.folder / f"{name}.log"
            self.workers.append(self.arena.keep(Worker(arguments, launched_environment(environment), log)))
        self.wait()

    def submit(self, queue: str, prompt: str) -> str:
        """As `Road.submit`."""
        id = str(uuid4())
        self.app.tasks[_TASK].apply_async(kwargs={"prompt": prompt}, task_id=id, queue=queue)
        return id

    def answered(self, ids: Sequence[str]) -> int:
        """As `Road.answered`."""
        found: Any = self.redis.mget([f"celery-task-meta-{id}" for id in ids])
        return sum(b'"status": "SUCCESS"' in (value or b"") for value in found)


if "BENCH_DETOUR_URL" in os.environ:
    app = make_detour_app(os.environ["BENCH_DETOUR_URL"])
