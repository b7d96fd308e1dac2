"""From the simulator's log to what each limit came to."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .lawful import AtOnce, Calls, percentile
from .limits import Load, Scope


@dataclass(frozen=True, slots=True)
class Killed:
    """A worker that was killed, when, and what it held: by instance, each job and when it was granted (ms of the
    server's time)."""

    at_ns: int
    held: Mapping[str, Sequence[tuple[str, int]]]


#: How long after a worker's death its leases may still be held: a lease, and the time until somebody looks.
LEASES_NS = 12_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one limit came to. Delays in ms; the longest ended so many seconds after the first call of all."""

    calls: int
    over: int
    used: float
    late_p50: float
    late_p99: float
    late_most: float
    late_most_at_s: float
    waited: int
    never_arrived: int

    def __str__(self) -> str:
        return (
            f"{self.calls:6,} calls, {self.over} over, {self.used:.2%} used, late p50 {self.late_p50:.1f} "
            f"p99 {self.late_p99:.1f} most {self.late_most:.1f} ms (at {self.late_most_at_s:.1f} s) of {self.waited}, "
            f"{self.never_arrived} never arrived"
        )


def count(
    load: Load,
    rows: Sequence[Mapping[str, Any]],
    ids: Mapping[str, Sequence[str]],
    killed: Sequence[Killed],
    until_ns: int,
) -> Iterator[tuple[Scope, Found]]:
    """Each limit with what it came to. `ids`: the jobs by their target; what came after `until_ns` counts for the calls
    above a limit, and not for its use and its starts."""
    for scope in load.scopes:
        jobs = frozenset(ids[f"node.{scope.node}"]) if scope.node else None
        mine = [row for row in rows if row["instance"] in scope.instances and (jobs is None or row["job"] in jobs)]
        calls = _calls(scope, mine, killed)
        if scope.binds:
            before = [worker for worker in killed if worker.at_ns <= until_ns]
            calls = _calls(scope, [row for row in mine if row["monotonic_ns"] <= until_ns], before)
        law = scope.law
        if isinstance(law, AtOnce) and killed:
            law = replace(law, apart_ns=(killed[0].at_ns, killed[0].at_ns + LEASES_NS))
        delays = law.delays(calls)
        late = [ms for _, ms in delays]
        latest_ns, most = max(delays, key=lambda delay: delay[1], default=(0, 0.0))
        found = Found(
            calls=len(mine),
            over=law.over(_calls(scope, mine, killed)),
            used=law.used(calls),
            late_p50=percentile(late, 0.5),
            late_p99=percentile(late, 0.99),
            late_most=most,
            late_most_at_s=max(0.0, (latest_ns - rows[0]["monotonic_ns"]) / 1e9),
            waited=len(delays),
            never_arrived=len(calls.never_arrived),
        )
        yield scope, found


def _calls(scope: Scope, mine: Sequence[Mapping[str, Any]], killed: Sequence[Killed]) -> Calls:
    now_ns = max((row["done_ns"] or row["monotonic_ns"] for row in mine), default=0)
    return Calls(
        times_ns=[row["monotonic_ns"] for row in mine],
        amounts=[row["tokens_in"] + row["tokens_out"] if scope.tokens else 1 for row in mine],
        ends_ns=[row["done_ns"] or now_ns for row in mine],
        cut=[row["client_gone"] for row in mine],
        never_arrived=sorted(at for worker in killed for at in _never_arrived(scope, mine, worker)),
    )


def _never_arrived(scope: Scope, mine: Sequence[Mapping[str, Any]], killed: Killed) -> Iterator[int]:
    """When permits were granted that the killed worker did not come to use: there is no call of that job since."""
    ahead_ns = mine[0]["time_ns"] - mine[0]["monotonic_ns"] if mine else 0
    last = {row["job"]: row["monotonic_ns"] for row in mine if row["monotonic_ns"] < killed.at_ns}
    for instance in scope.instances:
        for job, granted_ms in killed.held.get(instance, ()):
            granted_ns = granted_ms * 1_000_000 - ahead_ns
            if last.get(job, 0) < granted_ns and not scope.node:
                yield granted_ns
