"""A group whose jobs go from home to away: its configuration, our workers, the feeding, what the far side saw."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from echelon_configs import Configuration, load

from .fleet import Fleet
from .process import Worker
from .side import launched_environment

GROUP = "detour_group"
HOME, AWAY = f"{GROUP}.echelon1", f"{GROUP}.echelon2"
#: Jobs that a worker makes the connections and loads the libraries with, to each queue.
_WARM = 40
_ENDS_WITHIN_S = 60.0
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """As in the YAML."""

    failure_threshold: int
    recovery_time: float = 60
    half_open_requests: int = 1

    def __str__(self) -> str:
        return json.dumps({name: getattr(self, name) for name in self.__slots__})


def configure(directory: Path, home: Sequence[str], away: str, breaker: Breaker, max_retries: int) -> Configuration:
    """Write and load it. Nobody looks after an instance but the jobs: health checks are off."""
    echelon = f"timeout: 30, max_tokens: 64, max_retries: {max_retries}"
    groups = directory / "llms" / "groups"
    groups.mkdir(parents=True)
    (groups / "_task_groups.yaml").write_text(
        f"""\
task_groups:
  {GROUP}:
    echelon1: {{models: [{", ".join(home)}], priority: 1, {echelon}}}
    echelon2: {{models: [{away}], priority: 2, {echelon}}}
    fallback_config: {{strategy: echelon_down, max_attempts: 4, retry_delay: 0.05}}
    circuit_breaker: {breaker}
defaults: {{health_check_interval: 0}}
"""
    )
    return load(directory).configuration


class Road(Protocol):
    """One side: takes jobs, and knows which have their answer."""

    def submit(self, queue: str, prompt: str) -> str:
        """Put one job into HOME or AWAY, as a web app would; its id."""

    def answered(self, ids: Sequence[str]) -> int:
        """How many of these have their answer kept."""


@dataclass(eq=False)
class DetourFleet(Fleet):
    """Workers of ours, each on queues of its own."""

    _queues: str = field(default="", init=False)

    def serve(self, queues: Sequence[str]) -> None:
        """Start one worker for each entry, on the queues that it names (comma-separated); returns when they serve."""
        started = []
        for names in queues:
            self._queues = names
            started.append(self._launch(False))
        for worker in started:
            self._wait(worker)

    def submit(self, queue: str, prompt: str) -> str:
        """As `Road.submit`."""
        return self.client.submit(queue, prompt)

    def answered(self, ids: Sequence[str]) -> int:
        """As `Road.answered`."""
        return sum(self.shares(ids).values())

    def _launch(self, wrong_clock: bool) -> Worker:
        self._launched += 1
        name = f"detour-{self.db}-{self._launched}"
        environment = {"ECHELON_REDIS_URL": self.address.url, "ECHELON_SIMULATOR_URL": self.simulator_url}
        program = ["-m", "celery", "-A", "echelon_workers.app", "worker", "-c", str(self.slots), "-l", "WARNING"]
        log = self.arena.folder / f"{name}.log"
        arguments = [*program, "-Q", self._queues, "-n", f"{name}@bench"]
        worker = self.arena.keep(Worker(arguments, launched_environment(environment), log))
        self.workers.append(worker)
        return worker


def warm(road: Road) -> None:
    """Run some jobs in each queue that are not counted."""
    ids = [road.submit(queue, f"warm {number}") for number in range(_WARM) for queue in (HOME, AWAY)]
    until_answered(road, ids)


def feed(submit: Callable[[str, str], str], jobs: int, seconds: float) -> dict[str, int]:
    """Submit jobs evenly; when each was (`monotonic_ns`), by its id."""
    began, submitted = time.monotonic(), {}
    for number in range(jobs):
        time.sleep(max(0.0, began + number * seconds / jobs - time.monotonic()))
        at_ns = time.monotonic_ns()
        submitted[submit(HOME, f"Which way did job {number} go?")] = at_ns
    return submitted


def until_answered(road: Road, ids: Sequence[str], timeout_s: float = _ENDS_WITHIN_S) -> int:
    """Wait until all have their answer, or for so long; how many have not."""
    end = time.monotonic() + timeout_s
    while (left := len(ids) - road.answered(ids)) and time.monotonic() < end:
        time.sleep(0.25)
    return left


def by_job(rows: Sequence[Row], ids: Mapping[str, object]) -> dict[str, list[Row]]:
    """The calls of these jobs, in order of arrival."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row["job"] in ids:
            found.setdefault(row["job"], []).append(row)
    return found


def hops_ms(calls: Mapping[str, Sequence[Row]]) -> Iterator[float]:
    """From the end of each failed call to the arrival of its job's next one."""
    for rows in calls.values():
        for failed, following in pairwise(rows):
            if failed["fault"]:
                yield (following["monotonic_ns"] - failed["done_ns"]) / 1e6


def bursts(times_ns: Sequence[int], apart_s: float) -> list[int]:
    """How many arrivals there are in each stretch without a pause of `apart_s`."""
    counts: list[int] = []
    last = None
    for at in times_ns:
        if last is None or at - last > apart_s * 1e9:
            counts.append(0)
        counts[-1] += 1
        last = at
    return counts
