"""One worker with a thousand calls in flight: its memory, the lag of its loop, its CPU and its jobs a second."""

import time
from dataclasses import dataclass
from pathlib import Path

from echelon_producers.simulator.process import SimulatorProcess

from .lag import percentile_ms, read_lags
from .results import progress
from .side import Side, Work

_LOOK_EVERY_S = 0.25
#: Between two samples that are written to the file.
_WRITTEN_WITHIN_S = 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """What was measured from the first call to the last answer. Lags in ms, memory in MB."""

    jobs_per_s: float
    cpu_ms: float
    cpu_share: float
    rss_mb: float
    lag_p50: float
    lag_p99: float
    lag_p999: float
    lag_max: float
    in_flight: int


def fly(side: Side, simulator: SimulatorProcess, lag: Path, *, slots: int, jobs: int, warm: int) -> Flight:
    """Submit `jobs` to a worker that has made `warm` calls, and watch it until all are answered.

    The way up to all slots is part of what is measured.
    """
    worker = side.start(Work(simulator_url=simulator.url, lag=lag), slots)
    try:
        side.warm(warm)
        simulator.reset()
        time.sleep(_WRITTEN_WITHIN_S)
        before, cpu_s, began = read_lags(lag), worker.cpu_s(), time.perf_counter()
        ids = side.submit(jobs)
        memory = [worker.rss_mb()]
        while side.left():
            memory.append(worker.rss_mb())
            worker.check()
            time.sleep(_LOOK_EVERY_S)
        wall_s = side.drain(ids) - began
        time.sleep(_WRITTEN_WITHIN_S)
        cpu_s = worker.cpu_s() - cpu_s
        lags = read_lags(lag) - before
    finally:
        side.stop()
    found = Flight(
        jobs_per_s=jobs / wall_s,
        cpu_ms=cpu_s / jobs * 1000,
        cpu_share=cpu_s / wall_s,
        rss_mb=max(memory),
        lag_p50=percentile_ms(lags, 0.5),
        lag_p99=percentile_ms(lags, 0.99),
        lag_p999=percentile_ms(lags, 0.999),
        lag_max=max(lags),
        in_flight=simulator.counts()["max_in_flight"],
    )
    progress(f"  {side.title}: {found}")
    return found
