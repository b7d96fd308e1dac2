"""Bursts of jobs from a full queue: how many a second, and the CPU of the worker for each."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from .results import median, progress
from .side import Side, Work

_SETTLE_S = 0.2


@dataclass(frozen=True, slots=True)
class Burst:
    """One burst: from the moment the worker may start on a full queue until the last job has ended."""

    jobs: int
    wall_s: float
    cpu_s: float

    def __str__(self) -> str:
        return f"{self.jobs_per_s:.0f} jobs/s, {self.cpu_ms:.2f} ms CPU a job"

    @property
    def jobs_per_s(self) -> float:
        """Jobs a second."""
        return self.jobs / self.wall_s

    @property
    def cpu_ms(self) -> float:
        """CPU of the worker process and its children, in ms a job."""
        return self.cpu_s / self.jobs * 1000


@dataclass(slots=True)
class Bursts:
    """The bursts of one side."""

    side: Side
    each: list[Burst]

    @property
    def jobs_per_s(self) -> float:
        """The median of its rounds."""
        return median([burst.jobs_per_s for burst in self.each])

    @property
    def cpu_ms(self) -> float:
        """The median of its rounds."""
        return median([burst.cpu_ms for burst in self.each])


def alternate(sides: Sequence[Side], work: Work, *, slots: int, jobs: int, warm: int, rounds: int) -> list[Bursts]:
    """Start every side's worker, then let them take turns, so that what else the machine does meets them all.

    A worker whose turn it is not is stopped (SIGSTOP).
    """
    found = [Bursts(side, []) for side in sides]
    try:
        for side in sides:
            worker = side.start(work, slots)
            side.warm(warm)
            worker.pause()
        for number in range(rounds):
            for bursts in found:
                burst = run(bursts.side, jobs)
                bursts.each.append(burst)
                progress(f"  round {number + 1}: {bursts.side.title}: {burst}")
    finally:
        for side in sides:
            side.stop()
    return found


def run(side: Side, jobs: int) -> Burst:
    """Fill the queue of a paused worker, let it go, and pause it again when every answer is kept.

    Raises RuntimeError when that takes too long.
    """
    worker = side.worker
    if worker is None:
        raise RuntimeError(f"{side.title} has no worker")
    ids = side.submit(jobs)
    cpu_s, began = worker.cpu_s(), time.perf_counter()
    worker.resume()
    wall_s = side.drain(ids) - began
    time.sleep(_SETTLE_S)
    cpu_s = worker.cpu_s() - cpu_s
    worker.pause()
    return Burst(jobs, wall_s, cpu_s)


def best(candidates: Sequence[Bursts]) -> Bursts:
    """The one with the most jobs a second."""
    return max(candidates, key=lambda bursts: bursts.jobs_per_s)


def cheapest(candidates: Sequence[Bursts]) -> Bursts:
    """The one with the least CPU a job."""
    return min(candidates, key=lambda bursts: bursts.cpu_ms)


def ratios(ours: Bursts, stock: Bursts) -> tuple[float, float]:
    """Jobs a second and CPU a job, ours over stock's: the medians over the rounds, each against its neighbour."""
    pairs = list(zip(ours.each, stock.each, strict=True))
    return median([o.jobs_per_s / s.jobs_per_s for o, s in pairs]), median([o.cpu_ms / s.cpu_ms for o, s in pairs])
