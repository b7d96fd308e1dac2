"""The take loop: in place of Celery's consumer of messages, jobs are taken for exactly the slots that are free.

It lives in the pool's event loop with a connection of its own, for as long as the worker lives. Celery's consumer
around it may lose its broker connection and start again; what is held and what runs is not touched by that.
"""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from celery.utils.log import get_logger
from redis.exceptions import RedisError

from .adoption import Refused, adopt
from .ledger.ending import end_tasks
from .ledger.verbs import Grant, NewJob, refuse, submit, take
from .outcome import celery_failure

if TYPE_CHECKING:
    from .runtime import Runtime

logger = get_logger(__name__)

MOST_A_TAKE = 100
#: A worker sends about a call a millisecond. So many it has granted and not yet sent under a rate limit, and no more:
#: what is granted is sent within some twenty milliseconds, and what comes back in a clump is spread over the workers.
MOST_URGENT = 16
#: How often an idle worker looks for jobs that nobody announced (a plain Celery client pushes without a word).
SAFETY_POLL_S = 1.0
#: What `_take_once` answers: a full worker waits for a slot, an idle one for work; neither knows when.
FULL_S, IDLE_S = float("-inf"), float("inf")

#: Gives one grant to who runs it, with the moment (`time.monotonic`) at which it was asked for.
Deliver = Callable[[Grant, float], None]


class Taker:
    """Takes jobs of the queues it is told to serve, while there is somebody to deliver them to."""

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime
        self._queues: tuple[tuple[str, str], ...] = ()
        self._deliver: Deliver | None = None
        self._serving = asyncio.Event()
        self._woken = asyncio.Event()
        self._stopping = False
        self._broken: frozenset[str] = frozenset()
        self._turn = 0
        self._sequence = 0
        self._claimed = 0
        self._most = MOST_URGENT
        self._hurried = False

    def serve(self, queues: Sequence[tuple[str, str]], deliver: Deliver) -> None:
        """From now on, take for these queues (each with its instances, comma-separated) and deliver here."""
        self._queues, self._deliver = tuple(queues), deliver
        self._serving.set()
        self._woken.set()

    def pause(self) -> None:
        """Take nothing until `serve` is called again. A take under way is still delivered."""
        self._serving.clear()
        self._woken.set()

    def too_many(self) -> None:
        """A grant lapsed before its call could be made: take fewer at a time. Every further take adds one again."""
        self._most = max(1, self._most // 2)

    def sent_one(self) -> None:
        """A call is on its way: there is room for more that have to be sent at once."""
        if self._hurried and self._runtime.hand.urgent <= self._most // 2:
            self._woken.set()

    def wake(self) -> None:
        """There may be work, or room for it."""
        self._woken.set()

    async def run(self) -> None:
        """Take until cancelled. Redis being away stops the taking, not the loop."""
        pause_s = 0.05
        while not self._stopping:
            await self._serving.wait()
            self._woken.clear()
            if self._stopping:
                return
            try:
                wait_s = await self._take_once()
                pause_s = 0.05
            except (RedisError, OSError) as exc:
                logger.warning("nothing can be taken: %s", exc)
                wait_s, pause_s = pause_s, min(2.0, pause_s * 2)
                await asyncio.sleep(wait_s)
                continue
            except Exception:
                logger.exception("a take went wrong; the next one is tried all the same")
                await asyncio.sleep(1)
                continue
            if wait_s is not None and not self._stopping:
                await self._idle(wait_s)

    async def stop(self, running: "asyncio.Task[None]") -> None:
        """Take no more, for good. A take under way is delivered first, so that nothing is granted and not held."""
        self._stopping = True
        self._queues = ()
        self._serving.set()
        self._woken.set()
        await asyncio.wait([running], timeout=5)
        await end_tasks([running])

    async def _take_once(self) -> float | None:
        """One take. Returns for how long there is nothing to do, or None to go on at once."""
        free = self._runtime.delivery.free
        if free == 0:
            return FULL_S
        want = min(free, MOST_A_TAKE)
        urgent = max(0, self._most - self._runtime.hand.urgent)
        self._most = min(MOST_URGENT, self._most + 1)
        queues = self._rotated()
        verb = take(
            self._runtime.name,
            self._sequence + 1,
            self._claimed,
            queues,
            want=want,
            urgent=urgent,
            fills=want == free,
            terms=self._runtime.terms,
            needs_revision=True,
        )
        asked_at = time.monotonic()
        taken = await self._runtime.ledger.run(verb)
        self._sequence += 1
        self._claimed = self._sequence
        self._runtime.saw_time(taken.now_ms)
        self._runtime.out = taken.out
        self._say_broken(taken.broken)
        self._hand_out(taken.grants, asked_at)
        for raw in taken.raws:
            await self._adopt(raw)
        self._hurried = urgent < self._most or len(taken.grants) >= urgent
        if taken.grants or taken.raws:
            await asyncio.sleep(0)
            return None
        return IDLE_S if taken.next_due_ms is None else taken.next_due_ms / 1000

    def _say_broken(self, broken: frozenset[str]) -> None:
        if broken - self._broken:
            names = ", ".join(sorted(broken))
            logger.error(
                "cannot be served, because somebody wrote to their keys in Redis: %s (its log says what is wrong)",
                names,
            )
        self._broken = broken

    def _rotated(self) -> tuple[tuple[str, str], ...]:
        if not self._queues:
            return ()
        self._turn = (self._turn + 1) % len(self._queues)
        return self._queues[self._turn :] + self._queues[: self._turn]

    def _hand_out(self, grants: list[Grant], asked_at: float) -> None:
        deliver = self._deliver
        if deliver is None:
            raise AssertionError("taken before there was somebody to deliver to")
        for grant in grants:
            deliver(grant, asked_at)

    async def _idle(self, wait_s: float) -> None:
        """Wait to be woken: by a publish, by a slot that got free, by the time, or by what the safety poll found."""
        if wait_s == FULL_S:
            await self._woken.wait()
            return
        due = time.monotonic() + wait_s
        while not await self._woken_within(min(SAFETY_POLL_S, due - time.monotonic())):
            if time.monotonic() >= due or await self._anything_waiting():
                return

    async def _woken_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return False
        return True

    async def _anything_waiting(self) -> bool:
        """One EXISTS over all the lists: an idle worker costs Redis one cheap command a second."""
        keys = self._runtime.ledger.keys
        names = [queue for queue, _ in self._queues] + [self._runtime.terms.inbox]
        lists = [name for queue in names for name in keys.queue_lists(queue)]
        try:
            return bool(await self._runtime.ledger.redis.exists(*lists))
        except (RedisError, OSError):
            return False

    async def _adopt(self, raw: bytes) -> None:
        runtime = self._runtime
        job = adopt(raw, runtime.configuration)
        if isinstance(job, NewJob):
            try:
                await runtime.outbox.send(submit([job], adopted=raw))
            except Exception as exc:
                job = Refused(job.id, job.queue, f"it could not be submitted: {type(exc).__name__}")
        if isinstance(job, Refused):
            await self._refuse(raw, job)

    async def _refuse(self, raw: bytes, refused: Refused) -> None:
        runtime = self._runtime
        logger.error("a message of a foreign producer is buried as job %s: %s", refused.id, refused.why)
        error = json.dumps({"code": "refused", "message": refused.why})
        told = [id for id in (refused.id, refused.sender) if id]
        results = {id: celery_failure(id, refused.why, "ValueError") for id in told}
        queue = refused.queue or runtime.terms.inbox
        await runtime.outbox.send(refuse(raw, refused.id, queue, error, results, runtime.terms))
