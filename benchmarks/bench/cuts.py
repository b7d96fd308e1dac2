"""Connections cut once a second: what is lost, what runs twice, and what the counters say afterwards."""

import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import redis

from echelon_producers.simulator.process import SimulatorProcess

from .results import progress
from .side import Side, Work

EVERY_S = 1.0
#: When nothing has ended for so long, what is left is not going to end.
_STUCK_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CutTest:
    """Counted at the simulator (calls) and in Redis (answers)."""

    jobs: int
    cuts: int
    connections_cut: int
    duplicates: int
    lost: int
    jobs_per_s: float


class Cutter:
    """Cuts every client's connection, of commands and of subscriptions, once a second; its own and the benchmark's
    are spared."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        self._spared = {row["id"] for row in self._clients()}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cutter", daemon=True)
        self.cuts = 0
        self.connections = 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Cut no more."""
        self._ended.set()
        self._thread.join()

    def _clients(self) -> list[dict[str, str]]:
        rows: Any = self._client.client_list()
        return list(rows)

    def _run(self) -> None:
        while not self._ended.wait(EVERY_S):
            self.cuts += 1
            for row in self._clients():
                if row["id"] not in self._spared and row["name"] != "bench":
                    self.connections += self._client.client_kill_filter(_id=row["id"])


def cut_test(side: Side, simulator: SimulatorProcess, client: "redis.Redis", *, slots: int, seconds: float) -> CutTest:
    """Keep `slots` calls of a second each in flight for `seconds` of cuts, then let what is left end in peace."""
    side.left()
    cutter = Cutter(client)
    side.start(Work(simulator_url=simulator.url), slots)
    try:
        side.warm(slots)
        simulator.reset()
        ids = side.submit(int(slots * (seconds + 2)))
        began_ns = time.monotonic_ns()
        cutter.start()
        time.sleep(seconds)
        cutter.stop()
        lasted_ns = time.monotonic_ns() - began_ns
        _drain(side)
        answered = side.answered(ids)
    finally:
        side.stop()
    rows = simulator.arrivals(operation="call")
    calls = Counter(row["job"] for row in rows)
    during = sum(row["done_ns"] is not None and 0 <= row["done_ns"] - began_ns <= lasted_ns for row in rows)
    found = CutTest(
        jobs=len(ids),
        cuts=cutter.cuts,
        connections_cut=cutter.connections,
        duplicates=sum(calls.values()) - len(calls),
        lost=len(ids) - answered,
        jobs_per_s=during / lasted_ns * 1e9,
    )
    progress(f"  {side.title}: {found}")
    return found


def _drain(side: Side) -> None:
    left, since = side.left(), time.monotonic()
    while left and time.monotonic() - since < _STUCK_S:
        time.sleep(0.1)
        if (now := side.left()) != left:
            left, since = now, time.monotonic()
