"""A worker with 1,000 calls in flight, and a worker whose connections are cut once a second; beside stock Celery.

What is compared, and how to read it: benchmarks/README.md.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from bench.arena import Arena
from bench.command import Scale, run_benchmark
from bench.cuts import cut_test
from bench.echelon_side import MODELS, EchelonSide, write_configs
from bench.flight import Flight, fly
from bench.results import Goal, Results, Row, progress
from bench.side import Side
from bench.stock_side import POOLS, StockSide

from echelon_producers.simulator.process import SimulatorProcess

FLIGHT_SLOTS = 1_000
FLIGHT_S = "3"
CUT_SLOTS = 200
CUT_S = "1"
#: Above this, less work has to be on the loop, or two processes share a host.
MOST_LAG_MS = 100
_FLIGHT = f"{FLIGHT_SLOTS:,} in flight"


@dataclass
class InFlight:
    """One run of this benchmark."""

    arena: Arena
    results: Results
    scale: Scale

    def __post_init__(self) -> None:
        configs = write_configs(self.arena.folder / "configs", MODELS)
        only_openai = write_configs(self.arena.folder / "one-sdk", MODELS[:1])
        self.ours, self.one_sdk = EchelonSide(self.arena, configs), EchelonSide(self.arena, only_openai)
        self.threads, self.asyncio = (StockSide(self.arena, configs, pool) for pool in POOLS)
        self._flights = 0

    def run(self) -> None:
        """Both parts."""
        self.thousand_calls()
        self.cut_connections()

    def thousand_calls(self) -> None:
        """Three providers at work, events on."""
        progress(f"{FLIGHT_SLOTS:,} calls in flight, each answered after {FLIGHT_S} s, through three providers")
        simulator = self.arena.simulator("--latency", FLIGHT_S)
        jobs = self.scale.of(full=10_000, short=3_000)
        ours = self._fly(self.ours, simulator, jobs)
        stock = [self._fly(self.threads, simulator, jobs)]
        if not self.scale.short:
            stock.append(self._fly(self.asyncio, simulator, jobs))
        beside = min(stock, key=lambda flight: flight.cpu_ms)
        self._flight_rows(ours, beside, "threads" if beside is stock[0] else "asyncio")
        self.results.goals += [
            Goal.at_most("memory with 1,000 calls in flight, MB", ours.rss_mb, 200, beside.rss_mb),
            Goal.at_most("loop lag p99.9 with 1,000 calls in flight, ms", ours.lag_p999, MOST_LAG_MS, beside.lag_p999),
            Goal.at_least("calls in flight at a time", ours.in_flight, FLIGHT_SLOTS, beside.in_flight),
        ]
        if not self.scale.short:
            progress(f"{FLIGHT_SLOTS:,} calls in flight, to one provider")
            one = self._fly(self.one_sdk, simulator, jobs // 2)
            self.results.rows.append(Row(what=f"{_FLIGHT}: memory at one provider", unit="MB", ours=one.rss_mb))

    def _fly(self, side: Side, simulator: SimulatorProcess, jobs: int) -> Flight:
        self._flights += 1
        lag = self.arena.folder / f"lag-{self._flights}.json"
        return fly(side, simulator, lag, slots=FLIGHT_SLOTS, jobs=jobs, warm=60)

    def _flight_rows(self, ours: Flight, stock: Flight, pool: str) -> None:
        def row(what: str, unit: str, of: Callable[[Flight], float]) -> Row:
            return Row(what=f"{_FLIGHT}{what}", unit=unit, ours=of(ours), stock=of(stock), note=f"stock: {pool} pool")

        self.results.rows += [
            row(": memory (RSS)", "MB", lambda flight: flight.rss_mb),
            row(": memory before, idle", "MB", lambda flight: flight.idle_rss_mb),
            row(": loop lag p50", "ms", lambda flight: flight.lag_p50),
            row(": loop lag p99", "ms", lambda flight: flight.lag_p99),
            row(": loop lag p99.9", "ms", lambda flight: flight.lag_p999),
            row(": its own work in that", "ms", lambda flight: flight.own_p999),
            row(": CPU of the worker", "ms/job", lambda flight: flight.cpu_ms),
            row("", "jobs/s", lambda flight: flight.jobs_per_s),
        ]

    def cut_connections(self) -> None:
        """Every client's connection, once a second."""
        progress(f"connections cut once a second, {CUT_SLOTS} calls of {CUT_S} s in flight")
        simulator = self.arena.simulator("--latency", CUT_S)
        seconds, stock_seconds = self.scale.of(full=(60.0, 20.0), short=(15.0, 8.0))
        client = self.arena.client(self.ours.db)
        ours = cut_test(self.ours, simulator, client, slots=CUT_SLOTS, seconds=seconds)
        left = self._counters()
        stock = cut_test(self.threads, simulator, client, slots=CUT_SLOTS, seconds=stock_seconds)
        progress(f"  {ours.jobs:,} jobs in {seconds:g} s beside {stock.jobs:,} in {stock_seconds:g} s")
        self.results.rows += [
            Row(what="cut connections: jobs", unit="", ours=ours.jobs, stock=stock.jobs, note="stock: threads pool"),
            Row(what="cut connections: calls made twice", unit="", ours=ours.duplicates, stock=stock.duplicates),
            Row(what="cut connections: jobs lost", unit="", ours=ours.lost, stock=stock.lost),
            Row(what="cut connections: counters left", unit="", ours=left),
            Row(what="cut connections (ideal: 200)", unit="jobs/s", ours=ours.jobs_per_s, stock=stock.jobs_per_s),
        ]
        self.results.goals += [
            Goal.at_most("cut connections: calls made twice", ours.duplicates, 0, stock.duplicates),
            Goal.at_most("cut connections: jobs lost", ours.lost, 0, stock.lost),
            Goal.at_most("cut connections: counters left", left, 0),
        ]

    def _counters(self) -> int:
        counters = self.ours.counters()
        if any(counters.values()):
            progress(f"  counters: {counters}")
        return sum(abs(value) for value in counters.values())


if __name__ == "__main__":
    sys.exit(run_benchmark("in_flight", __doc__, lambda *run: InFlight(*run).run()))
