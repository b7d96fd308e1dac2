"""Workers are killed one after the other while jobs come: what is lost, what runs twice, how soon it is back in work;
beside stock Celery.

What is compared, and how to read it: benchmarks/README.md.
"""

import sys
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from bench.arena import Arena
from bench.command import Scale, run_benchmark
from bench.crash_app import VISIBILITY_S
from bench.crash_sides import CrashSide, EchelonCrash, Kill, StockCrash
from bench.echelon_side import MODELS, write_configs
from bench.lawful import percentile
from bench.results import Goal, Results, Row, progress

WORKERS, SLOTS = 4, 8
#: On average, and by no clock: kills in step with the leases (10 s) would meet the same jobs again and again.
KILL_EVERY_S, KILL_SPREAD_S = 2.0, 1.0
CALL_S = "0.1"
#: Of jobs that come evenly: with this many a second there are calls in flight at every kill.
PER_S = 100.0
BACK_WITHIN_S = 15.0
SEED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One side. `lost`: jobs that are in no place any more; `late`: those that are in one, and do not move.
    `back_s`: of each job that a killed worker held and that was called again, from the kill to that call."""

    jobs: int
    ends: Mapping[str, int]
    late: int
    kills: int
    held: int
    calls_again: int
    back_s: Sequence[float]
    jobs_per_s: float

    @property
    def lost(self) -> int:
        """Neither ended nor anywhere."""
        return self.jobs - sum(self.ends.values()) - self.late

    @property
    def dead(self) -> int:
        """Ended without an answer: buried as poison, for one."""
        return sum(self.ends.values()) - self.ends["answered"]

    @property
    def never_back(self) -> int:
        """Held by a killed worker, and not called again."""
        return self.held - len(self.back_s)


@dataclass
class Crash:
    """One run of this benchmark."""

    arena: Arena
    results: Results
    scale: Scale

    def run(self) -> None:
        """Ours, then stock Celery's."""
        jobs = self.scale.of(full=10_000, short=2_000)
        stuck_s = self.scale.of(full=120.0, short=25.0)
        progress(f"{jobs:,} jobs, {PER_S:g} a second; of {WORKERS} workers one is killed every {KILL_EVERY_S:g} s")
        configs = write_configs(self.arena.folder / "configs", MODELS[:1])
        ours = EchelonCrash(self.arena, configs, self.arena.simulator("--latency", CALL_S), SLOTS)
        found = self._measure(ours, jobs, stuck_s=25.0)
        counters = ours.counters()
        if any(counters.values()):
            progress(f"  counters: { {name: value for name, value in counters.items() if value} }")
        stock = StockCrash(self.arena, configs, self.arena.simulator("--latency", CALL_S), SLOTS)
        beside = self._measure(stock, jobs, stuck_s=stuck_s)
        self._report(found, beside, sum(map(abs, counters.values())))

    def _measure(self, side: CrashSide, jobs: int, *, stuck_s: float) -> Found:
        side.start(WORKERS)
        began = time.monotonic()
        try:
            ids, kills = _feed_and_kill(side, jobs)
            left = _drain(side, stuck_s)
        finally:
            side.stop()
        rows = side.simulator.arrivals(operation="call")
        calls: dict[str, list[int]] = {}
        for row in rows:
            calls.setdefault(row["job"], []).append(row["time_ns"])
        last_ns = max((row["done_ns"] or 0 for row in rows), default=0)
        held = [(kill.at_ns, job) for kill in kills for job in kill.held]
        found = Found(
            jobs=len(ids),
            ends=side.ends(ids),
            late=left,
            kills=len(kills),
            held=len(held),
            calls_again=len(rows) - len(calls),
            back_s=[back for at_ns, job in held if (back := _back_s(calls.get(job, ()), at_ns)) is not None],
            jobs_per_s=len(ids) / (last_ns / 1e9 - began),
        )
        progress(f"  {side.title}: {dict(found.ends)}, {found.kills} kills, {found.held} held, {found.lost} lost")
        if found.dead:
            progress(f"  dead: {dict(side.reasons(ids))}")
        return found

    def _report(self, ours: Found, stock: Found, counters: int) -> None:
        def row(what: str, of: str, note: str = "") -> Row:
            return Row(what=what, unit="", ours=getattr(ours, of), stock=getattr(stock, of), note=note)

        def back(what: str, share: float) -> Row:
            mine, beside = percentile(ours.back_s, share), percentile(stock.back_s, share)
            return Row(what=f"from SIGKILL to its job's next call, {what}", unit="s", ours=mine, stock=beside)

        self.results.rows += [
            row("workers killed", "kills", f"stock: threads pool, visibility timeout {VISIBILITY_S} s"),
            row("jobs that they held", "held", "stock: those whose call was cut"),
            row("jobs lost", "lost", f"of {ours.jobs:,}"),
            row("jobs dead (poison)", "dead"),
            row("jobs left lying", "late"),
            row("calls made again", "calls_again"),
            row("held, and never called again", "never_back"),
            back("p50", 0.5),
            back("p99", 0.99),
            back("longest", 1.0),
            Row(what="", unit="jobs/s", ours=ours.jobs_per_s, stock=stock.jobs_per_s, note=f"{PER_S:g} come"),
        ]
        p99 = percentile(ours.back_s, 0.99)
        self.results.goals += [
            Goal.at_most("jobs lost", ours.lost + ours.late, 0, stock.lost + stock.late),
            Goal.at_most(
                "from SIGKILL to its job's next call, p99, s", p99, BACK_WITHIN_S, percentile(stock.back_s, 0.99)
            ),
            Goal.at_most("held by a killed worker, and never called again", ours.never_back, 0, stock.never_back),
            Goal.at_most("counters and leases left", counters, 0),
        ]


def _feed_and_kill(side: CrashSide, jobs: int) -> tuple[list[str], list[Kill]]:
    """Submit evenly; about every two seconds, while jobs come, kill one that serves."""
    draw, ids, kills = Random(SEED), list[str](), list[Kill]()
    began, kill_s = time.monotonic(), KILL_EVERY_S
    while len(ids) < jobs:
        past_s = time.monotonic() - began
        due = min(jobs, int(past_s * PER_S)) - len(ids)
        if due > 0:
            ids += side.submit(len(ids), due)
        if past_s >= kill_s:
            kill_s += KILL_EVERY_S + draw.uniform(-KILL_SPREAD_S, KILL_SPREAD_S)
            if (kill := side.kill_one(draw)) is not None:
                kills.append(kill)
        time.sleep(0.01)
    return ids, kills


def _drain(side: CrashSide, stuck_s: float) -> int:
    """Wait until nothing is left, or nothing has moved for so long; what is left."""
    left, since = side.left(), time.monotonic()
    while left and time.monotonic() - since < stuck_s:
        time.sleep(0.1)
        if (now := side.left()) != left:
            left, since = now, time.monotonic()
    return left


def _back_s(calls_ns: Sequence[int], killed_ns: int) -> float | None:
    place = bisect_left(calls_ns, killed_ns)
    return (calls_ns[place] - killed_ns) / 1e9 if place < len(calls_ns) else None


if __name__ == "__main__":
    sys.exit(run_benchmark("crash", __doc__, lambda *run: Crash(*run).run()))
