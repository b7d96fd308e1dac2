"""One worker with a thousand calls in flight: its memory, the lag of its loop, its CPU and its jobs a second."""

import time
from dataclasses import dataclass
from pathlib import Path

from echelon_producers.simulator.process import SimulatorProcess

from .lag import Lags, percentile_ms
from .results import progress
from .side import Side, Work

_LOOK_EVERY_S = 0.25
#: What was sampled is in the sampler's file after so long.
_WRITTEN_WITHIN_S = 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """What was measured from the first call to the last answer. Lags in ms, memory in MB.

    `idle_rss_mb`: of the warmed worker with nothing in flight. `own_p999`: as `lag_p999`, but only the time in which
    the loop's thread itself was computing.
    """

    jobs_per_s: float
    cpu_ms: float
    idle_rss_mb: float
    rss_mb: float
    lag_p50: int
    lag_p99: int
    lag_p999: int
    own_p999: int
    in_flight: int

    def __str__(self) -> str:
        return (
            f"{self.rss_mb:.0f} MB (idle {self.idle_rss_mb:.0f}), "
            f"lag p50 {self.lag_p50} p99 {self.lag_p99} p99.9 {self.lag_p999} ms (own work {self.own_p999}), "
            f"{self.cpu_ms:.2f} ms CPU a job, {self.jobs_per_s:.0f} jobs/s, {self.in_flight} in flight"
        )


def fly(side: Side, simulator: SimulatorProcess, lag: Path, *, slots: int, jobs: int, warm: int) -> Flight:
    """Submit `jobs` to a worker that has made `warm` calls, and watch it until all are answered.

    The way up to all slots is part of what is measured.
    """
    worker = side.start(Work(simulator_url=simulator.url, lag=lag), slots)
    try:
        side.warm(warm)
        simulator.reset()
        time.sleep(_WRITTEN_WITHIN_S)
        before, cpu_s, idle_rss_mb = Lags.read(lag), worker.cpu_s(), worker.rss_mb()
        began = time.perf_counter()
        ids = side.submit(jobs)
        memory = [worker.rss_mb()]
        while side.left():
            memory.append(worker.rss_mb())
            worker.check()
            time.sleep(_LOOK_EVERY_S)
        wall_s = side.drain(ids) - began
        time.sleep(_WRITTEN_WITHIN_S)
        cpu_s = worker.cpu_s() - cpu_s
        lags = Lags.read(lag).since(before)
    finally:
        side.stop()
    found = Flight(
        jobs_per_s=jobs / wall_s,
        cpu_ms=cpu_s / jobs * 1000,
        idle_rss_mb=idle_rss_mb,
        rss_mb=max(memory),
        lag_p50=percentile_ms(lags.whole, 0.5),
        lag_p99=percentile_ms(lags.whole, 0.99),
        lag_p999=percentile_ms(lags.whole, 0.999),
        own_p999=percentile_ms(lags.own, 0.999),
        in_flight=simulator.counts()["max_in_flight"],
    )
    progress(f"  {side.title}: {found}")
    return found
