"""One of the two sides that are compared: how its worker is started, how jobs get in, and how many have ended."""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .arena import Arena
from .process import Worker

BENCHMARKS = Path(__file__).resolve().parents[1]
#: How long a job may be in no place that one can look at.
_ON_ITS_WAY_S = 15.0
PROMPT = "Summarise in one sentence what the harbour master wrote about the tide."


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What the jobs do: wait `nap_s` in the worker, or call the simulator through the provider library."""

    nap_s: float | None = None
    simulator_url: str = ""
    #: where the worker writes its loop's lag, if that is wanted
    lag: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What the worker is told of it."""
        return {
            "BENCH_NAP_S": "" if self.nap_s is None else str(self.nap_s),
            "BENCH_LAG": str(self.lag or ""),
            "ECHELON_SIMULATOR_URL": self.simulator_url,
        }


@dataclass(eq=False)
class Side(ABC):
    """The jobs of one side, and its worker while one runs."""

    arena: Arena
    configs: Path
    title: str
    db: int
    worker: Worker | None = field(default=None, init=False)

    @abstractmethod
    def reset(self) -> None:
        """Empty this side's database. Its worker must not be running."""

    @abstractmethod
    def start(self, work: Work, slots: int) -> Worker:
        """Empty this side's database, start its one worker and wait until it serves."""

    @abstractmethod
    def submit(self, jobs: int) -> list[str]:
        """Put jobs into the queue as fast as this side can; their ids."""

    @abstractmethod
    def submit_one(self) -> str:
        """Submit one job as a web app would; its id."""

    @abstractmethod
    def left(self) -> int:
        """Jobs that have not ended."""

    @abstractmethod
    def answered(self, ids: Sequence[str]) -> int:
        """How many of these have their answer kept."""

    def stop(self) -> None:
        """Stop the worker."""
        if self.worker is not None:
            self.worker.stop()
            self.worker = None

    def drain(self, ids: Sequence[str], timeout_s: float = 300.0) -> float:
        """Wait until these jobs, the only ones there are, have their answer kept; when that was (`perf_counter`).

        Raises RuntimeError when that takes too long or the worker exits.
        """
        end = time.monotonic() + timeout_s
        emptied = 0.0
        while (now := time.monotonic()) < end:
            self._check_worker()
            if self.left() == 0:
                ended = time.perf_counter()
                # Nothing left may be a job on its way: kombu pops it from the list before it is in `unacked`.
                if self.answered(ids) == len(ids):
                    return ended
                emptied = emptied or now
                end = min(end, emptied + _ON_ITS_WAY_S)
            time.sleep(0.02)
        raise RuntimeError(f"{self.title}: {self.left()} jobs left, {self.answered(ids)} of {len(ids)} answered")

    def _check_worker(self) -> None:
        if self.worker is not None:
            self.worker.check()

    def warm(self, jobs: int) -> None:
        """Run some jobs that are not counted."""
        self.drain(self.submit(jobs))

    def _launch(self, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Worker:
        command = ["-m", "celery", *arguments, "-n", f"{name}@bench"]
        log = self.arena.folder / f"{name}-{self.db}.log"
        self.worker = self.arena.keep(Worker(command, launched_environment(environment), log))
        return self.worker


def launched_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a worker process is started with: nothing of the cluster that this process may be told of, these
    benchmarks' modules, and `environment`."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("ECHELON_", "REDIS_URL"))}
    path = os.pathsep.join([str(BENCHMARKS), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**inherited, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore", **environment}
