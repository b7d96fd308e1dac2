"""What an idle worker does: its commands to Redis, and how soon it starts a job."""

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass

from echelon_producers.simulator.process import SimulatorProcess

from .arena import Arena
from .results import progress
from .side import Side

_SETTLE_S = 4.0
_END = "bench: end of the count"


def commands_per_s(arena: Arena, db: int, seconds: float) -> float:
    """Commands a second that clients send to this database while it is quiet, as MONITOR shows them.

    What scripts call inside is not counted: it costs no round trip.
    """
    time.sleep(_SETTLE_S)
    seen: Counter[str] = Counter()
    client = arena.client(db)
    client.ping()  # what connecting says is not to be counted
    ending = threading.Timer(seconds, client.echo, [_END])
    with arena.client(db).monitor() as monitor:  # type: ignore[no-untyped-call]
        ending.start()
        for told in filter(None, monitor.listen()):
            if _END in told["command"]:
                break
            if told["db"] == db and told["client_type"] != "lua":
                seen[told["command"].split()[0].upper()] += 1
    progress(f"  idle, {seconds:g} s: {dict(seen.most_common())}")
    return sum(seen.values()) / seconds


@dataclass(frozen=True, slots=True)
class StartLatency:
    """From before submit until the call has arrived at the provider, in ms."""

    p50_ms: float
    p99_ms: float


def start_latency(side: Side, simulator: SimulatorProcess, jobs: int) -> StartLatency:
    """Submit jobs to an idle worker, one at a time with a random gap; the simulator says when each call arrived."""
    gaps = random.Random(7)
    simulator.reset()
    submitted: dict[str, int] = {}
    for _ in range(jobs):
        time.sleep(gaps.uniform(0.03, 0.08))
        now = time.time_ns()
        submitted[side.submit_one()] = now
    side.drain(list(submitted))
    arrived = {row["job"]: row["time_ns"] for row in simulator.arrivals(operation="call")}
    waits = sorted((arrived[id] - since) / 1e6 for id, since in submitted.items())
    found = StartLatency(waits[len(waits) // 2], waits[min(len(waits) - 1, int(len(waits) * 0.99))])
    progress(f"  start of a job on an idle worker, {side.title}: p50 {found.p50_ms:.1f} ms, p99 {found.p99_ms:.1f} ms")
    return found
