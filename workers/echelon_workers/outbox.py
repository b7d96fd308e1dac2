"""What the worker has to tell the ledger: ends of attempts and of grants, many in one round trip.

Hundreds of coroutines that each called Redis would exhaust its connections. They leave their verb here and one
flusher sends what has gathered over one connection. While Redis is away outcomes wait here and are delivered when it
is back: verbs may be repeated, so a batch whose reply was lost is sent again whole.
"""

import asyncio
from typing import Any, TypeVar

from celery.utils.log import get_logger
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError
from redis.exceptions import TimeoutError as RedisTimeoutError

from .ledger.client import AsyncLedger
from .ledger.verbs import Verb

T = TypeVar("T")
logger = get_logger(__name__)

MOST_A_ROUND_TRIP = 200
#: Ends that Celery is told of in one turn of the loop: each takes it 0.2 ms.
MOST_A_TURN = 20
#: These pass: the server is away, starting, failing over or full. Anything else is a fault of the call.
PASSING = (RedisConnectionError, RedisTimeoutError, ReadOnlyError, OutOfMemoryError, OSError)


class Outbox:
    """One flusher over one connection."""

    def __init__(self, ledger: AsyncLedger) -> None:
        self._ledger = ledger
        self._waiting: list[tuple[Verb[Any], asyncio.Future[Any]]] = []
        self._due = asyncio.Event()

    async def send(self, verb: Verb[T]) -> T:
        """Run a verb with the next batch; waits for as long as Redis is away.

        Raises redis.RedisError when Redis refuses this very call.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((verb, future))
        self._due.set()
        return await future

    async def run(self) -> None:
        """Send what gathers, until cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()
            while self._waiting:
                batch, self._waiting = self._waiting[:MOST_A_ROUND_TRIP], self._waiting[MOST_A_ROUND_TRIP:]
                await self._deliver(batch)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._ledger.aclose()

    async def _deliver(self, batch: list[tuple[Verb[Any], "asyncio.Future[Any]"]]) -> None:
        pause_s = 0.01
        while batch:
            results = await self._attempt([verb for verb, _ in batch])
            again = []
            for place, ((verb, future), result) in enumerate(zip(batch, results, strict=True), 1):
                if isinstance(result, PASSING):
                    again.append((verb, future))
                elif not future.done():
                    _resolve(future, result)
                if place % MOST_A_TURN == 0:
                    await asyncio.sleep(0)
            if again:
                await asyncio.sleep(pause_s)
                pause_s = min(1.0, pause_s * 2)
            batch = again

    async def _attempt(self, verbs: list[Verb[Any]]) -> list[Any]:
        try:
            return await self._ledger.run_many(verbs)
        except PASSING as exc:
            logger.warning("Redis is away, %d outcomes wait: %s", len(verbs), exc)
            return [exc] * len(verbs)
        except Exception as exc:  # one verb cannot be sent: it fails alone, its neighbours go
            if len(verbs) == 1:
                return [exc]
            return [(await self._attempt([verb]))[0] for verb in verbs]


def _resolve(future: "asyncio.Future[Any]", result: Any) -> None:
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
