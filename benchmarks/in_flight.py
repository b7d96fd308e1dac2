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
from bench.stock_side import StockSide

FLIGHT_SLOTS = 1_000
FLIGHT_S = "3"
CUT_SLOTS = 200
CUT_S = "1"
#: Above this, less work has to be on the loop, or two processes share a host.
MOST_LAG_MS = 100


@dataclass
class InFlight:
    """One run of this benchmark."""

    arena: Arena
    results: Results
    scale: Scale

    def __post_init__(self) -> None:
        configs = write_configs(self.arena.folder / "configs", MODELS)
        self.ours = EchelonSide(self.arena, configs)
        self.threads, self.asyncio = (StockSide(self.arena, configs, pool) for pool in ("threads", "asyncio"))

    def run(self) -> None:
        """Both parts."""
        self.thousand_calls()
        self.cut_connections()

    def thousand_calls(self) -> None:
        """Three SDKs at work, events on."""
        progress(f"{FLIGHT_SLOTS:,} calls in flight, each answered after {FLIGHT_S} s, through three SDKs")
        simulator = self.arena.simulator("--latency", FLIGHT_S)
        jobs = self.scale.of(full=10_000, short=3_000)
        sides = self.scale.of(full=[self.ours, self.asyncio, self.threads], short=[self.ours, self.threads])
        flights = []
        for number, side in enumerate(sides):
            lag = self.arena.folder / f"lag-{number}.json"
            flights.append(fly(side, simulator, lag, slots=FLIGHT_SLOTS, jobs=jobs, warm=60))
        ours, *stock = flights
        beside = min(stock, key=lambda flight: flight.cpu_ms)
        note = f"stock: {sides[1 + stock.index(beside)].pool} pool"  # type: ignore[union-attr]
        self._flight_rows(ours, beside, note)
        goals = self.results.goals
        goals.append(Goal.at_most("memory with 1,000 calls in flight, MB", ours.rss_mb, 200, beside.rss_mb))
        goals.append(Goal.at_most("loop lag p99.9, ms", ours.lag_p999, MOST_LAG_MS, beside.lag_p999))
        goals.append(Goal.at_least("calls in flight at a time", ours.in_flight, FLIGHT_SLOTS, beside.in_flight))

    def _flight_rows(self, ours: Flight, stock: Flight, note: str) -> None:
        def row(what: str, unit: str, of: Callable[[Flight], float]) -> Row:
            return Row(what=what, unit=unit, ours=of(ours), stock=of(stock), note=note)

        self.results.rows += [
            row("1,000 in flight: memory (RSS)", "MB", lambda flight: flight.rss_mb),
            row("1,000 in flight: loop lag p50", "ms", lambda flight: flight.lag_p50),
            row("1,000 in flight: loop lag p99", "ms", lambda flight: flight.lag_p99),
            row("1,000 in flight: loop lag p99.9", "ms", lambda flight: flight.lag_p999),
            row("1,000 in flight: loop lag, longest", "ms", lambda flight: flight.lag_max),
            row("1,000 in flight: CPU of the worker", "ms/job", lambda flight: flight.cpu_ms),
            row("1,000 in flight: share of a core", "", lambda flight: flight.cpu_share),
            row("1,000 in flight", "jobs/s", lambda flight: flight.jobs_per_s),
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
        note = f"{ours.cuts} cuts of {ours.jobs:,} jobs; stock: {stock.cuts} cuts of {stock.jobs:,} jobs, threads pool, acks_late"
        ideal = float(CUT_SLOTS)
        self.results.rows += [
            Row(what="cut connections: calls made twice", unit="", ours=ours.duplicates, stock=stock.duplicates, note=note),
            Row(what="cut connections: jobs lost", unit="", ours=ours.lost, stock=stock.lost),
            Row(what="cut connections: counters left", unit="", ours=left),
            Row(what=f"cut connections, of an ideal {ideal:g}", unit="jobs/s", ours=ours.jobs_per_s, stock=stock.jobs_per_s),
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
