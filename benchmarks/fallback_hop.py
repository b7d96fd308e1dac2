"""How long a job takes from a failed call to its next one in the fallback queue; beside stock Celery.

Every call to the first echelon is answered 503, and its breaker never opens, so every job makes that hop, from a worker
that serves the one queue to a worker that serves the other. What is timed lies between the end of the failed call and
the arrival of the next, both noted by the simulator; there are far fewer jobs than the workers could do. Stock
Celery: `autoretry_for` and `retry_kwargs` with the other queue and no countdown.
"""

import sys
from dataclasses import dataclass

from bench.arena import Arena
from bench.command import Scale, run_benchmark
from bench.detour import (
    AWAY,
    HOME,
    Breaker,
    DetourFleet,
    Road,
    by_job,
    configure,
    feed,
    hops_ms,
    until_answered,
    warm,
)
from bench.echelon_side import write_configs
from bench.lawful import percentile
from bench.results import Goal, Results, Row, progress
from bench.stock_detour import StockDetour

from echelon_producers.simulator.process import SimulatorProcess

FIRST, SECOND = "openai-first", "openai-second"
JOBS_PER_S, SLOTS = 50, 50
NEVER = Breaker(failure_threshold=1_000_000)
SCRIPT = {"models": {"*": {"latency_s": 0.05}}, "faults": [{"kind": "503", "instance": FIRST}]}


@dataclass
class FallbackHop:
    """One run of this benchmark."""

    arena: Arena
    results: Results
    scale: Scale

    def run(self) -> None:
        """Ours, then stock Celery's."""
        self._jobs = self.scale.of(full=1_500, short=300)
        progress(f"{self._jobs:,} jobs, {JOBS_PER_S}/s, each failing once; one worker on each queue")
        ours, stock = self.ours(), self.stock()
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            values = percentile(ours, share), percentile(stock, share)
            self.results.rows.append(Row(what=f"hop {name}", unit="ms", ours=values[0], stock=values[1]))
            most = 10 if name == "p50" else 50
            self.results.goals.append(
                Goal.at_most(f"failed call to the next one's arrival, {name}, ms", values[0], most, values[1])
            )
        self.results.rows.append(Row(what="hops", unit="", ours=len(ours), stock=len(stock)))
        self.results.goals.append(Goal.at_least("jobs that made the hop", len(ours), self._jobs, len(stock)))

    def ours(self) -> list[float]:
        """Echelon's hops."""
        configuration = configure(self.arena.folder / "hop", [FIRST], SECOND, NEVER, max_retries=0)
        simulator = self._simulator()
        fleet = DetourFleet(self.arena, 0, configuration, simulator.url, SLOTS)
        fleet.serve([HOME, AWAY])
        found = self._measure(fleet, simulator)
        fleet.stop()
        return found

    def stock(self) -> list[float]:
        """Stock Celery's."""
        configs = write_configs(self.arena.folder / "stock", [FIRST, SECOND])
        simulator = self._simulator()
        fleet = StockDetour(self.arena, 1, configs, FIRST, simulator.url, "")
        fleet.serve([HOME, AWAY], [FIRST], SECOND, SLOTS)
        found = self._measure(fleet, simulator)
        fleet.stop()
        return found

    def _simulator(self) -> SimulatorProcess:
        simulator = self.arena.simulator()
        simulator.load(SCRIPT)
        return simulator

    def _measure(self, road: Road, simulator: SimulatorProcess) -> list[float]:
        warm(road)
        submitted = feed(road.submit, self._jobs, self._jobs / JOBS_PER_S)
        if left := until_answered(road, list(submitted)):
            raise RuntimeError(f"{left} of {self._jobs} jobs were not answered")
        calls = by_job(simulator.arrivals(operation="call"), submitted)
        if odd := sum([row["instance"] for row in rows] != [FIRST, SECOND] for rows in calls.values()):
            raise RuntimeError(f"{odd} jobs did not go from {FIRST} straight to {SECOND}")
        return list(hops_ms(calls))


if __name__ == "__main__":
    sys.exit(run_benchmark("fallback_hop", __doc__, lambda *run: FallbackHop(*run).run()))
