"""Many calls that become ready at once, taken a few at a time.

A thousand answers that arrive in the same tenth of a second would be read in one turn of the event loop, and nothing
else (timers, heartbeats, the answers of Redis) would come in between. Here a step of a call waits for its turn when
the loop's present one has lasted long enough.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

TURN_S = 0.004
#: Steps that are let go in one turn, of those that wait; a step takes about 0.3 ms.
STEPS = 8


class Turns:
    """For one event loop. Who comes while nobody waits goes on at once."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._ends = 0.0
        self._under_way = False

    async def mine(self) -> None:
        """Wait until it is this step's turn."""
        if not self._under_way:
            self._under_way = True
            self._begin(asyncio.get_running_loop())
        elif self._waiting or time.perf_counter() > self._ends:
            step = asyncio.get_running_loop().create_future()
            self._waiting.append(step)
            await step

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """A turn of the loop begins now; the next one with its next."""
        self._ends = time.perf_counter() + TURN_S
        loop.call_soon(self._next, loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._waiting:
            self._under_way = False
            return
        for _ in range(min(STEPS, len(self._waiting))):
            step = self._waiting.popleft()
            if not step.done():  # cancelled while it waited
                step.set_result(None)
        self._begin(loop)
