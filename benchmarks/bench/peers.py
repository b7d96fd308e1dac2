"""What others make of one limit that four workers share, with work always waiting: counted at their far side too."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from echelon_producers.simulator.process import SimulatorProcess

from .arena import Arena
from .echelon_side import MODELS, write_configs
from .lawful import Calls, Window
from .limits import MINUTE_S
from .litellm_fleet import VARIABLE, LiteLLMFleet, litellm_python
from .results import progress
from .stock_fleet import StockFleet

WORKERS = 4
_LATENCY = "0.2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """What one of them came to. `share`: of the limit, in the last whole window. None: not measured, and `note` says
    why."""

    title: str
    over: int | None = None
    share: float | None = None
    note: str = ""


@dataclass(eq=False)
class Peers:
    """All of them at the same time, each with a far side and a database of its own: under 60 calls a second in all."""

    arena: Arena
    limit: int
    window_s: float

    def run(self, seconds: float) -> list[Peer]:
        """Start them, let them work for so long, and count."""
        per_minute = round(self.limit * 60 / self.window_s)
        each = [f"{per_minute}/m", f"{per_minute // WORKERS}/m"]
        configs = write_configs(self.arena.folder / "peers", MODELS[:1])
        simulators = [self.arena.simulator("--latency", _LATENCY) for _ in range(3)]
        stock = [
            StockFleet(self.arena, db, configs, MODELS[0], simulator.url, rate)
            for db, rate, simulator in zip((1, 2), each, simulators, strict=False)
        ]
        litellm = self._litellm(simulators[2], per_minute)
        try:
            for fleet in stock:
                fleet.launch(WORKERS)
            for fleet in stock:
                fleet.wait()
                fleet.feed(round(per_minute / 60 * seconds * WORKERS) + 1_000)
            if litellm:
                self._until_called(simulators[2])
            time.sleep(seconds)
            if not all(fleet.waiting() for fleet in stock):
                raise RuntimeError("stock Celery's queue ran empty")
            found = [
                self._count(simulator, f"stock Celery, rate_limit {rate} a worker")
                for simulator, rate in zip(simulators, each, strict=False)
            ]
            router = "LiteLLM router, enforce_model_rate_limits"
            if litellm:
                return [*found, self._count(simulators[2], router)]
            return [*found, Peer(title=router, note=f"not measured: {self._why_not()}")]
        finally:
            for stop in self._stops(stock, litellm):
                stop()

    def _litellm(self, simulator: SimulatorProcess, per_minute: int) -> LiteLLMFleet | None:
        python = litellm_python()
        if python is None or self.window_s != MINUTE_S:
            return None
        fleet = LiteLLMFleet(self.arena, python, self.arena.url(3), simulator.url, per_minute)
        fleet.start(WORKERS)
        return fleet

    def _why_not(self) -> str:
        return "it counts minutes" if self.window_s != MINUTE_S else f"{VARIABLE} names no interpreter"

    @staticmethod
    def _until_called(simulator: SimulatorProcess) -> None:
        end = time.monotonic() + 90
        while not simulator.counts()["arrivals"]:
            if time.monotonic() > end:
                raise RuntimeError("LiteLLM's router made no call within 90 s")
            time.sleep(0.5)

    def _count(self, simulator: SimulatorProcess, title: str) -> Peer:
        times = [row["monotonic_ns"] for row in simulator.arrivals(operation="call")]
        count = len(times)
        calls = Calls(times_ns=times, amounts=[1] * count, ends_ns=times, cut=[False] * count)
        law = Window(limit=self.limit, window_s=self.window_s, held_s=self.window_s)
        last = time.monotonic_ns() - round(self.window_s * 1e9)
        share = sum(at > last for at in times) / self.limit
        peer = Peer(title=title, over=law.over(calls), share=share)
        progress(f"  {title}: {count:,} calls, {peer.over} over, {share:.0%} of the limit in the last window")
        return peer

    @staticmethod
    def _stops(stock: list[StockFleet], litellm: LiteLLMFleet | None) -> list[Callable[[], None]]:
        return [*(fleet.stop for fleet in stock), *([litellm.stop] if litellm else [])]
