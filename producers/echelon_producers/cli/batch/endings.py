"""Hearing that jobs have ended, of thousands at a time: one subscription to the end of every job of the cluster."""

import asyncio
import logging
from contextlib import suppress

from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from echelon_workers.ledger.address import Address

_SILENCE_S = 1.0
_PAUSE_S = 0.5

logger = logging.getLogger(__name__)


class Endings:
    """The ids of jobs that have ended since they were last asked for.

    What is published while the connection is away is lost: look at the records now and then all the same.
    """

    def __init__(self, address: Address) -> None:
        self._redis = address.async_client(retries=0, connections=2)
        self._prefix = address.keys.of("ended")
        self._ids: set[str] = set()
        self._heard = asyncio.Event()
        #: set once the subscription is in place
        self.listening = asyncio.Event()

    async def wait(self, seconds: float) -> set[str]:
        """The ids heard since the last call; waits for the first one, at most this long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._heard.wait()
        self._heard.clear()
        ids, self._ids = self._ids, set()
        return ids

    def add(self, ids: list[str]) -> None:
        """Say of these jobs that they may have ended."""
        self._ids.update(ids)
        if ids:
            self._heard.set()

    async def listen(self) -> None:
        """Listen until cancelled. Whatever happens to the connection, another takes its place."""
        try:
            while True:
                pubsub = self._redis.pubsub()
                try:
                    await self._hear(pubsub)
                except (RedisError, OSError) as exc:
                    logger.debug("the connection that hears of ended jobs is made anew: %r", exc)
                finally:
                    with suppress(RedisError, OSError):
                        await pubsub.aclose()  # type: ignore[no-untyped-call]
                await asyncio.sleep(_PAUSE_S)
        finally:
            await self._redis.aclose()

    async def _hear(self, pubsub: PubSub) -> None:
        await pubsub.psubscribe(f"{self._prefix}*")
        while True:
            message = await pubsub.get_message(timeout=_SILENCE_S)
            if message is None:
                continue
            if message["type"] == "pmessage":
                self.add([message["channel"].decode().removeprefix(self._prefix)])
            else:
                self.listening.set()
