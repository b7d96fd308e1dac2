"""What the worker has to tell the ledger: ends of attempts and of grants, many in one round trip.

Hundreds of coroutines that each called Redis would exhaust its connections. They leave their verb here and one
flusher sends what has gathered over one connection. While Redis is away outcomes wait here and are delivered when it
is back: verbs may be repeated, so a batch whose reply was lost is sent again whole.
"""

import asyncio
import time
from typing import Any, TypeVar

from celery.utils.log import get_logger
from redis.exceptions import ClusterDownError, OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from .ledger.client import AsyncLedger, NotReplicated
from .ledger.verbs import Verb

T = TypeVar("T")
logger = get_logger(__name__)

MOST_A_ROUND_TRIP = 200
#: Ends that Celery is told of in one turn of the loop: each takes it 0.2 ms.
MOST_A_TURN = 20
#: The pause after a round trip that delivered nothing, which doubles.
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.01, 1.0
#: How often it is said that outcomes wait.
SAID_EVERY_S = 10.0

#: These pass: the server is away, loading its data, a replica that has yet to take over, full, or without its replica.
_PASSING = (
    RedisConnectionError,
    RedisTimeoutError,
    ReadOnlyError,
    ClusterDownError,
    OutOfMemoryError,
    NotReplicated,
    OSError,
)
#: The same, for what redis-py has no class of its own: the disk is full, too few replicas, somebody's script is long.
_PASSING_CODES = ("MISCONF", "NOREPLICAS", "BUSY")


def passes(error: object) -> bool:
    """Whether a call that ended so is to be repeated until it does not. Anything else is a fault of the call."""
    if isinstance(error, _PASSING):
        return True
    return isinstance(error, ResponseError) and str(error).partition(" ")[0] in _PASSING_CODES


class Outbox:
    """One flusher over one connection."""

    def __init__(self, ledger: AsyncLedger) -> None:
        self._ledger = ledger
        #: whether an outcome counts only when a replica has it too (`durability: replicated`)
        self.replicated = False
        self._waiting: list[tuple[Verb[Any], asyncio.Future[Any]]] = []
        self._due = asyncio.Event()
        self._said_at = float("-inf")
        self._is_behind = False

    async def send(self, verb: Verb[T]) -> T:
        """Run a verb with the next batch; waits for as long as Redis is away.

        Raises redis.RedisError when Redis refuses this very call.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((verb, future))
        self._due.set()
        return await future

    async def run(self) -> None:
        """Send what gathers, until cancelled. What Redis cannot take now stands in nobody's way: it goes to the end."""
        pause_s = SHORTEST_PAUSE_S
        while True:
            await self._due.wait()
            self._due.clear()
            while self._waiting:
                batch, self._waiting = self._waiting[:MOST_A_ROUND_TRIP], self._waiting[MOST_A_ROUND_TRIP:]
                left = await self._deliver(batch)
                self._waiting += left
                if len(left) < len(batch):
                    pause_s = SHORTEST_PAUSE_S
                else:
                    await asyncio.sleep(pause_s)
                    pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
            self._say_delivered()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._ledger.aclose()

    async def _deliver(
        self, batch: list[tuple[Verb[Any], "asyncio.Future[Any]"]]
    ) -> list[tuple[Verb[Any], "asyncio.Future[Any]"]]:
        """Send a batch, and return what of it has to be sent again."""
        results = await self._attempt([verb for verb, _ in batch])
        left = []
        for place, ((verb, future), result) in enumerate(zip(batch, results, strict=True), 1):
            if passes(result):
                left.append((verb, future))
            elif not future.done():
                _resolve(future, result)
            if place % MOST_A_TURN == 0:
                await asyncio.sleep(0)
        if left:
            self._say_waiting(len(left), next(result for result in results if passes(result)))
        return left

    async def _attempt(self, verbs: list[Verb[Any]]) -> list[Any]:
        try:
            return await self._ledger.run_many(verbs, replicated=self.replicated)
        except Exception as exc:
            if passes(exc) or len(verbs) == 1:
                return [exc] * len(verbs)
            # One verb cannot be sent: it fails alone, its neighbours go.
            return [(await self._attempt([verb]))[0] for verb in verbs]

    def _say_waiting(self, left: int, why: Any) -> None:
        self._is_behind = True
        if time.monotonic() - self._said_at >= SAID_EVERY_S:
            self._said_at = time.monotonic()
            logger.warning("Redis is away, %d outcomes wait: %s", left + len(self._waiting), why)

    def _say_delivered(self) -> None:
        if self._is_behind:
            logger.warning("Redis is back: all outcomes are delivered")
            self._is_behind, self._said_at = False, float("-inf")


def _resolve(future: "asyncio.Future[Any]", result: Any) -> None:
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
