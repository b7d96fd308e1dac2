"""Submitting a part of a file: as many jobs at a time as there is room for where they are to wait."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from echelon_producers.sending import accepted
from echelon_workers.ledger.verbs import Full, NewJob, Refusal, Verb, submit

from .tally import Tally

Submit = Callable[[Verb[list[bool] | Refusal]], Awaitable[list[bool] | Refusal]]

#: What is full is asked again no sooner, and no later, whatever it says of itself.
_LEAST_WAIT_S, _LONGEST_WAIT_S = 0.05, 30.0


class Sending:
    """Sends jobs until each is accepted; the tally says what is full meanwhile."""

    def __init__(self, run: Submit, told: Callable[[list[str]], None], tally: Tally) -> None:
        """`told` is called whenever some are, with those of them that had been accepted before."""
        self._tally = tally
        #: those that are not accepted yet
        self.ids: set[str] = set()
        self._run = run
        self._told = told
        #: how many of our jobs have left: then there may be room sooner than was said
        self._left = 0
        self._leaving = asyncio.Event()

    async def send(self, jobs: Sequence[NewJob]) -> None:
        """Submit them all, in order. Raises QueueDraining, IdempotencyConflict; what was accepted before goes on."""
        rest, many = list(jobs), len(jobs)
        while rest:
            some, left = rest[:many], self._left
            reply = await self._run(submit(some))
            if isinstance(reply, Full):
                many = await self._fewer(reply, len(some), left)
                continue
            are_new = accepted(reply, [job.id for job in some], 0)
            del rest[: len(some)]
            many = len(rest)
            self.ids -= {job.id for job in some}
            self._told([job.id for job, is_new in zip(some, are_new, strict=True) if not is_new])

    def one_left(self) -> None:
        """Say that one of the jobs sent before has ended."""
        self._left += 1
        self._leaving.set()

    async def _fewer(self, full: Full, many: int, left: int) -> int:
        """How many to try with next: as many as there is room for, or, when there is none, half of what may wait, so
        that what is full is not waited for until it is empty."""
        room, half = full.limit - full.waiting, max(1, full.limit // 2)
        if 0 < room < many:
            return min(room, half)
        if many > half:
            return half
        seconds = min(full.retry_after_ms / 1000, _LONGEST_WAIT_S)
        where = full.scope.replace(":", " ", 1)
        self._tally.full = f"{where} is full ({full.waiting:,} wait), again in {seconds:.1f} s"
        await self._wait(seconds, left)
        self._tally.full = ""
        return many

    async def _wait(self, seconds: float, left: int) -> None:
        await asyncio.sleep(_LEAST_WAIT_S)
        if self._left == left:
            self._leaving.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._leaving.wait()
