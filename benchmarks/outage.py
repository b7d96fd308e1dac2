"""A provider is down for a while: who notices, what it costs, when its jobs are home again; beside stock Celery.

Jobs come evenly to an echelon of two instances of provider A, above an echelon of provider B. A closes every connection
for a part of the run. The breaker: 5 failures in a row open it, for 2 s, twice as long each time that a probe fails, up
to 16 s; 1 probe while half open. Health checks are off (`health_check_interval: 0`), so only jobs probe, and every call
that the simulator counts is a job's. Ours tries A's other instance before it goes to B (`max_retries: 1`). Stock
Celery: the same feed, `autoretry_for`, and `retry_kwargs` with the queue of B at once.

The second part is about probes alone: eight workers, one instance that fails slowly, 2 probes while half open, and jobs
enough that more would go if they might. In both parts the failed calls to an instance fall into stretches with pauses
of nearly `recovery_time` or longer between them: the first opens the breaker, each later one is a half-open phase.
"""

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.arena import Arena
from bench.command import Scale, run_benchmark
from bench.detour import (
    AWAY,
    HOME,
    Breaker,
    DetourFleet,
    Road,
    Row,
    bursts,
    configure,
    feed,
    until_answered,
    warm,
)
from bench.echelon_side import write_configs
from bench.lawful import percentile
from bench.results import Goal, Results, progress
from bench.results import Row as Figure
from bench.stock_detour import StockDetour

from echelon_producers.simulator.process import SimulatorProcess

A, B = ("openai-one", "openai-two"), "anthropic-away"
WORKERS, SLOTS = 4, 32
BREAKER = Breaker(failure_threshold=5, recovery_time=2, half_open_requests=1)
CALL_S = 0.3
HOME_WITHIN_S = BREAKER.recovery_time * 2 + 5
#: The part about probes: how many workers, how long a failing call takes, and for how long jobs come, 30 a second.
PROBERS, SICK_S, PROBING_S, PROBING_PER_S = 8, 0.5, 10.0, 30
PROBED = Breaker(failure_threshold=5, recovery_time=1, half_open_requests=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Seconds, from the first job on."""

    jobs: int
    seconds: float
    down_s: float
    up_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one side came to. `before` and `during`: of the jobs submitted then, ms from submit to the end of the call
    that answered. `home_after_s`: the length of the run, if no call came home."""

    unanswered: int
    calls: int
    wasted: int
    in_flight: int
    phases: Sequence[Sequence[int]]
    before: Sequence[float]
    during: Sequence[float]
    home_after_s: float

    @property
    def probes(self) -> Sequence[int]:
        """Of each half-open phase, of each instance, until the provider was back."""
        return [count for phases in self.phases for count in phases[1:]]

    def added(self, share: float) -> float:
        """How much later the jobs of the outage were answered, at this percentile."""
        return percentile(self.during, share) - percentile(self.before, share)


@dataclass
class Outage:
    """One run of this benchmark."""

    arena: Arena
    results: Results
    scale: Scale

    def run(self) -> None:
        """Ours, stock Celery's, and probes."""
        self._plan = self.scale.of(
            full=Plan(jobs=2_000, seconds=40, down_s=5, up_s=25), short=Plan(jobs=400, seconds=15, down_s=3, up_s=8)
        )
        plan = self._plan
        progress(f"{plan.jobs:,} jobs in {plan.seconds:g} s, the provider down from {plan.down_s:g} s to {plan.up_s:g}")
        ours, stock = self.ours(), self.stock()
        self._report(ours, stock)
        self._goals(ours, stock)
        self.probes()

    def ours(self) -> Found:
        """Echelon's run."""
        configuration = configure(self.arena.folder / "outage", A, B, BREAKER, max_retries=1)
        simulator = self.arena.simulator()
        fleet = DetourFleet(self.arena, 0, configuration, simulator.url, SLOTS)
        fleet.serve([f"{HOME},{AWAY}"] * WORKERS)
        found = self._measure(fleet, simulator)
        fleet.stop()
        return found

    def stock(self) -> Found:
        """Stock Celery's."""
        configs = write_configs(self.arena.folder / "stock", [*A, B])
        simulator = self.arena.simulator()
        fleet = StockDetour(self.arena, 1, configs, A[0], simulator.url, "")
        fleet.serve([f"{HOME},{AWAY}"] * WORKERS, A, B, SLOTS)
        found = self._measure(fleet, simulator)
        fleet.stop()
        return found

    def _measure(self, road: Road, simulator: SimulatorProcess) -> Found:
        plan = self._plan
        answering = {"models": {"*": {"latency_s": CALL_S}}}
        simulator.load(answering)
        warm(road)
        outage = {"kind": "outage", "provider": "openai", "from_s": plan.down_s, "to_s": plan.up_s}
        simulator.load({**answering, "faults": [outage]})
        began_ns = time.monotonic_ns()
        submitted = feed(road.submit, plan.jobs, plan.seconds)
        unanswered = until_answered(road, list(submitted))
        rows = [row for row in simulator.arrivals(operation="call") if row["job"] in submitted]
        return self._count(rows, submitted, began_ns, unanswered)

    def _count(self, rows: Sequence[Row], submitted: Mapping[str, int], began_ns: int, unanswered: int) -> Found:
        plan = self._plan
        down_ns, up_ns = (began_ns + round(at_s * 1e9) for at_s in (plan.down_s, plan.up_s))
        at_home = [row for row in rows if row["provider"] == "openai"]
        answered_ns = {row["job"]: row["done_ns"] for row in rows if row["status"] == 200}
        took = [(at, (answered_ns[job] - at) / 1e6) for job, at in submitted.items() if job in answered_ns]
        home_ns = [row["monotonic_ns"] for row in at_home if row["monotonic_ns"] >= up_ns and not row["fault"]]
        return Found(
            unanswered=max(unanswered, len(submitted) - len(answered_ns)),
            calls=len(rows),
            wasted=sum(bool(row["fault"]) for row in at_home),
            in_flight=sum(row["monotonic_ns"] < down_ns <= row["done_ns"] for row in at_home),
            phases=_phases(at_home, A, BREAKER),
            before=[ms for at, ms in took if at < down_ns],
            during=[ms for at, ms in took if down_ns <= at < up_ns],
            home_after_s=(min(home_ns) - up_ns) / 1e9 if home_ns else plan.seconds,
        )

    def _report(self, ours: Found, stock: Found) -> None:
        opening = [phases[0] for phases in ours.phases if phases]
        progress(f"  calls until each breaker opened: {opening}; of each half-open phase: {ours.probes}")

        def row(what: str, unit: str, of: Iterable[float], note: str = "") -> Figure:
            value, beside = of
            return Figure(what=what, unit=unit, ours=value, stock=beside, note=note)

        self.results.rows += [
            row("jobs lost or dead", "", (ours.unanswered, stock.unanswered), f"of {self._plan.jobs:,}"),
            row("calls wasted on the dead provider", "", (ours.wasted, stock.wasted)),
            row("of all calls", "%", (100 * ours.wasted / ours.calls, 100 * stock.wasted / stock.calls)),
            row("calls in flight when it went down", "", (ours.in_flight, stock.in_flight)),
            Figure(what="calls until the breakers opened", unit="", ours=sum(opening)),
            Figure(what="probes until it was back", unit="", ours=sum(ours.probes)),
            row("submit to answer before it, p50", "ms", (percentile(side.before, 0.5) for side in (ours, stock))),
            row("submit to answer before it, p99", "ms", (percentile(side.before, 0.99) for side in (ours, stock))),
            row("added in the outage, p50", "ms", (ours.added(0.5), stock.added(0.5))),
            row("added in the outage, p99", "ms", (ours.added(0.99), stock.added(0.99))),
            row("from recovery to a call at home", "s", (ours.home_after_s, stock.home_after_s)),
        ]

    def _goals(self, ours: Found, stock: Found) -> None:
        thresholds, probes = BREAKER.failure_threshold * len(A), sum(ours.probes)
        allowed = thresholds + ours.in_flight + probes
        progress(f"  {ours.wasted} wasted; {thresholds} to open, {ours.in_flight} in flight, {probes} probes")
        self.results.goals += [
            Goal.at_most("jobs lost or dead", ours.unanswered, 0, stock.unanswered),
            Goal.at_most("calls wasted: at most thresholds + in flight + probes", ours.wasted, allowed, stock.wasted),
            Goal.at_most("from recovery to a call at home, s", ours.home_after_s, HOME_WITHIN_S, stock.home_after_s),
            *_exactly(f"{WORKERS} workers", ours.probes, BREAKER),
        ]

    def probes(self) -> None:
        """Eight workers, and a provider that stays down."""
        progress(f"probes: {PROBERS} workers, {PROBED.half_open_requests} probes while half open, {PROBING_S:g} s")
        configuration = configure(self.arena.folder / "probes", A[:1], B, PROBED, max_retries=0)
        simulator = self.arena.simulator()
        fleet = DetourFleet(self.arena, 2, configuration, simulator.url, SLOTS)
        fleet.serve([f"{HOME},{AWAY}"] * PROBERS)
        warm(fleet)
        simulator.load({"faults": [{"kind": "outage", "provider": "openai", "delay_s": SICK_S}]})
        submitted = feed(fleet.submit, round(PROBING_S * PROBING_PER_S), PROBING_S)
        left = until_answered(fleet, list(submitted))
        rows = [row for row in simulator.arrivals(operation="call") if row["job"] in submitted]
        ((opening, *probes),) = _phases(rows, A[:1], PROBED)
        progress(f"  calls until the breaker opened: {opening}; of each half-open phase: {probes}")
        self.results.rows.append(Figure(what=f"half-open phases, {PROBERS} workers", unit="", ours=len(probes)))
        self.results.goals += [
            *_exactly(f"{PROBERS} workers", probes, PROBED),
            Goal.at_most(f"jobs lost or dead, {PROBERS} workers", left, 0),
        ]
        fleet.stop()


def _phases(rows: Sequence[Row], instances: Sequence[str], breaker: Breaker) -> list[list[int]]:
    """Of each instance: failed calls until its breaker opened, and then in each half-open phase."""
    return [
        bursts(
            [row["monotonic_ns"] for row in rows if row["instance"] == name and row["fault"]],
            breaker.recovery_time * 0.9,
        )
        for name in instances
    ]


def _exactly(where: str, probes: Sequence[int], breaker: Breaker) -> list[Goal]:
    configured = breaker.half_open_requests
    return [
        Goal.at_least(f"probes in a half-open phase, fewest, {where}", min(probes, default=0), configured),
        Goal.at_most(f"probes in a half-open phase, most, {where}", max(probes, default=0), configured),
    ]


if __name__ == "__main__":
    sys.exit(run_benchmark("outage", __doc__, lambda *run: Outage(*run).run()))
