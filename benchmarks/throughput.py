"""Jobs a second, CPU a job, bulk submit, and what an idle worker costs: ours beside stock Celery, in one run.

Ours with all limits on, at every level and wide enough not to bind; stock Celery with none.
Both sides use one embedded server (a database each, over TCP) and one worker process each, keep every result and send
task events. What is compared, and how to read it: benchmarks/README.md.
"""

import sys
from dataclasses import dataclass

from bench.arena import Arena
from bench.burst import Bursts, alternate, best, cheapest, ratios
from bench.command import Scale, run_benchmark
from bench.echelon_side import MODELS, EchelonSide, write_configs
from bench.idle import StartLatency, commands_per_s, start_latency
from bench.results import Goal, Results, Row, progress
from bench.side import Side, Work
from bench.stock_side import POOLS, StockSide
from bench.submitting import submitting

from echelon_producers.simulator.process import SimulatorProcess

NAP_S = 0.05
NAP_SLOTS = 500
CALL_SLOTS = 100


@dataclass
class Throughput:
    """One run of this benchmark."""

    arena: Arena
    results: Results
    scale: Scale

    def __post_init__(self) -> None:
        configs = write_configs(self.arena.folder / "configs", MODELS[:1])
        self.ours = EchelonSide(self.arena, configs)
        self.stock = [StockSide(self.arena, configs, pool, MODELS[:1]) for pool in POOLS]

    def run(self) -> None:
        """All parts."""
        self.no_op_jobs()
        self.http_calls()
        self.bulk_submit()
        self.idle_worker()

    def no_op_jobs(self) -> None:
        """A job that awaits 50 ms: what is left is the handling."""
        progress(f"no-op jobs: {NAP_SLOTS} slots, {NAP_S * 1000:.0f} ms each")
        jobs, rounds = self.scale.of(full=(4_000, 5), short=(1_500, 2))
        ours, *stock = alternate(
            [self.ours, *self.stock], Work(nap_s=NAP_S), slots=NAP_SLOTS, jobs=jobs, warm=NAP_SLOTS, rounds=rounds
        )
        beside = best(stock)
        faster, cheaper = ratios(ours, beside)
        note = _pool(beside)
        self.results.rows += [
            Row(what="no-op jobs", unit="jobs/s", ours=ours.jobs_per_s, stock=beside.jobs_per_s, note=note),
            Row(what="no-op jobs, CPU of the worker", unit="ms/job", ours=ours.cpu_ms, stock=beside.cpu_ms, note=note),
        ]
        self.results.goals.append(
            Goal.at_least("no-op jobs a second with all limits on, times stock Celery's without", faster, 4.0, 1.0)
        )
        progress(f"  {faster:.2f} x the jobs a second, {cheaper:.2f} x the CPU")

    def http_calls(self) -> None:
        """A call through the provider library to the simulator."""
        progress(f"HTTP calls: {CALL_SLOTS} slots, the simulator answers after 50 ms")
        jobs, rounds = self.scale.of(full=(2_000, 5), short=(500, 2))
        work = Work(simulator_url=self.arena.simulator("--latency", "0.05").url)
        ours, *stock = alternate([self.ours, *self.stock], work, slots=CALL_SLOTS, jobs=jobs, warm=300, rounds=rounds)
        beside = cheapest(stock)
        faster, cheaper = ratios(ours, beside)
        note = _pool(beside)
        self.results.rows += [
            Row(what="HTTP calls, CPU of the worker", unit="ms/job", ours=ours.cpu_ms, stock=beside.cpu_ms, note=note),
            Row(what="HTTP calls", unit="jobs/s", ours=ours.jobs_per_s, stock=beside.jobs_per_s, note=note),
        ]
        self.results.goals.append(Goal.at_most("CPU per HTTP call, times stock Celery's", cheaper, 0.7, 1.0))
        progress(f"  {faster:.2f} x the jobs a second, {cheaper:.2f} x the CPU")

    def bulk_submit(self) -> None:
        """Many jobs from one producer process."""
        progress("bulk submit")
        jobs, stock_jobs, rounds = self.scale.of(full=(100_000, 20_000, 3), short=(20_000, 4_000, 2))
        found = submitting(self.ours, self.stock[0], jobs=jobs, stock_jobs=stock_jobs, rounds=rounds)
        for stock, note in ((found.stock_batch, "in producer.batch()"), (found.stock_singly, "singly")):
            note = f"stock: apply_async {note}"
            self.results.rows.append(Row(what="bulk submit", unit="jobs/s", ours=found.ours, stock=stock, note=note))
        self.results.goals.append(Goal.at_least("bulk submit, jobs/s", found.ours, 20_000, found.stock_batch))

    def idle_worker(self) -> None:
        """Commands to Redis, and how soon a job starts."""
        progress("idle worker")
        seconds, jobs = self.scale.of(full=(20.0, 400), short=(10.0, 100))
        simulator = self.arena.simulator()
        ours_idle, ours_start = self._idle(self.ours, simulator, seconds, jobs)
        stock_idle, stock_start = self._idle(self.stock[0], simulator, seconds, jobs)
        start = "submit to arrival at the provider"
        self.results.rows += [
            Row(what="idle worker, Redis commands", unit="1/s", ours=ours_idle, stock=stock_idle),
            Row(what=f"{start}, p50", unit="ms", ours=ours_start.p50_ms, stock=stock_start.p50_ms),
            Row(what=f"{start}, p99", unit="ms", ours=ours_start.p99_ms, stock=stock_start.p99_ms),
        ]
        self.results.goals.append(Goal.at_most("Redis commands a second of an idle worker", ours_idle, 2.0, stock_idle))

    def _idle(self, side: Side, simulator: SimulatorProcess, seconds: float, jobs: int) -> tuple[float, StartLatency]:
        side.start(Work(simulator_url=simulator.url), CALL_SLOTS)
        try:
            side.warm(20)
            return commands_per_s(self.arena, side.db, seconds), start_latency(side, simulator, jobs)
        finally:
            side.stop()


def _pool(stock: Bursts) -> str:
    side = stock.side
    return f"stock: {side.pool} pool" if isinstance(side, StockSide) else ""


if __name__ == "__main__":
    sys.exit(run_benchmark("throughput", __doc__, lambda *run: Throughput(*run).run()))
