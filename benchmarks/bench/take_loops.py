"""Many take loops, as many workers run them, on queues that are all blocked: what saying no costs, and how soon a freed
permit is used.

The loops are the workers' own (`echelon_workers.taking`), with the wake-up subscription and the connections of a worker
each; only what a worker does with a grant is left out. One more connection finishes jobs at a steady rate.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import AsyncLedger
from echelon_workers.ledger.verbs import Grant
from echelon_workers.taking import Taker
from echelon_workers.wakeup import listen

from .verbs import TERMS, finished

_FREE_SLOTS = 100
_FILLED_WITHIN_S = 30.0


@dataclass(eq=False)
class Blocked:
    """The queues, each with its instances, and how many of its jobs may run: that many do, always."""

    address: Address
    queues: Mapping[str, Sequence[str]]
    running_each: int
    #: of each freed permit that was used, in ms
    delays: list[float] = field(default_factory=list, init=False)
    finishes: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._running: dict[str, deque[Grant]] = {name: deque() for name in self.queues}
        self._freed: dict[str, deque[float]] = {name: deque() for name in self.queues}

    def _started(self, grant: Grant, *_: object) -> None:
        self._running[grant.queue].append(grant)
        if self._freed[grant.queue]:
            self.delays.append((time.perf_counter() - self._freed[grant.queue].popleft()) * 1000)

    def taker(self, number: int) -> tuple[Taker, AsyncLedger]:
        """One worker's take loop, serving every queue."""
        ledger = AsyncLedger(self.address)
        runtime = SimpleNamespace(
            name=f"bench:{number}:loop",
            terms=TERMS,
            ledger=ledger,
            delivery=SimpleNamespace(free=_FREE_SLOTS),
            hand=SimpleNamespace(urgent=0),
            saw_time=lambda _: None,
        )
        taker = Taker(cast(Any, runtime))
        taker.serve([(name, ",".join(instances)) for name, instances in self.queues.items()], self._started)
        return taker, ledger

    async def fill(self) -> None:
        """Wait until as many run as may."""
        end = time.monotonic() + _FILLED_WITHIN_S
        while any(len(running) < self.running_each for running in self._running.values()):
            if time.monotonic() > end:
                raise RuntimeError(f"the take loops have not taken all there is after {_FILLED_WITHIN_S:g} s")
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)

    async def finish_steadily(self, per_s: float, seconds: float) -> None:
        """Finish one job after the other, of one queue after the other."""
        ledger = AsyncLedger(self.address)
        began = time.perf_counter()
        names = list(self.queues)
        sending: set[asyncio.Task[None]] = set()
        while (past_s := time.perf_counter() - began) < seconds:
            for _ in range(int(past_s * per_s) - self.finishes):
                self._finish_one(ledger, names[self.finishes % len(names)], sending)
            await asyncio.sleep(max(0.0, began + (self.finishes + 1) / per_s - time.perf_counter()))
        await asyncio.gather(*sending)
        await asyncio.sleep(1.0)
        await ledger.aclose()

    def _finish_one(self, ledger: AsyncLedger, name: str, sending: "set[asyncio.Task[None]]") -> None:
        self.finishes += 1
        if not self._running[name]:
            return
        grant = self._running[name].popleft()

        async def send() -> None:
            self._freed[name].append(time.perf_counter())
            await ledger.run(finished(grant))

        task = asyncio.get_running_loop().create_task(send())
        sending.add(task)
        task.add_done_callback(sending.discard)

    @property
    def unused(self) -> int:
        """Permits that were freed and not used."""
        return sum(map(len, self._freed.values()))


async def run_loops(blocked: Blocked, loops: int, per_s: float, seconds: float, watch: Any) -> None:
    """Start the loops, let them take all there is, and finish jobs for so long; `watch` is called before and after."""
    takers = [blocked.taker(number) for number in range(loops)]
    tasks = []
    for number, (taker, ledger) in enumerate(takers):
        hear = {ledger.keys.of("wake", f"bench:{number}:loop"): lambda _, woken=taker: woken.wake()}
        tasks += [asyncio.create_task(listen(ledger, hear)), asyncio.create_task(taker.run())]
    try:
        await blocked.fill()
        watch()
        await blocked.finish_steadily(per_s, seconds)
        watch()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _, ledger in takers:
            await ledger.aclose()
