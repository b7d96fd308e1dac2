"""Hearing that jobs have ended: one subscription connection for all that wait in an event loop."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from echelon_workers.ledger.address import Address
from echelon_workers.ledger.ending import end_tasks

#: A connection that says nothing is asked whether it lives; silent for longer than this, it is made anew.
ASK_AFTER_S = 15.0
LONGEST_SILENCE_S = 40.0
PAUSE_S = 0.5

logger = logging.getLogger(__name__)


class Ears:
    """Subscribes to a job's channel for as long as somebody waits for it.

    One task reads the connection and one writes it, so that thousands may wait: those who wait only leave word here.
    """

    def __init__(self, address: Address) -> None:
        self._redis = address.async_client(retries=0, connections=4)
        self._keys = address.keys
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._changed = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None
        self._parts: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def on(self, job_id: str) -> AsyncIterator[asyncio.Event]:
        """An event that says: look at the job's record now. It is set when the subscription is in place (what was
        published before that was not heard) and when the job ends. Clear it before looking."""
        channel, event = self._keys.of("ended", job_id), asyncio.Event()
        if self._waiting[channel]:
            event.set()  # the subscription may be in place already, and is then not confirmed again
        self._waiting[channel].add(event)
        self._changed.set()
        if self._listening is None or self._listening.done():
            self._listening = asyncio.get_running_loop().create_task(self._listen())
        try:
            yield event
        finally:
            self._waiting[channel].discard(event)
            if not self._waiting[channel]:
                del self._waiting[channel]
                self._changed.set()

    async def _listen(self) -> None:
        """Whatever happens to the connection, another takes its place."""
        while True:
            pubsub = self._redis.pubsub()
            try:
                await self._hear(pubsub)
            except (RedisError, OSError) as exc:
                logger.debug("the connection that hears of ended jobs is made anew: %r", exc)
            finally:
                with suppress(RedisError, OSError):
                    await pubsub.aclose()  # type: ignore[no-untyped-call]
            await asyncio.sleep(PAUSE_S)

    async def _hear(self, pubsub: PubSub) -> None:
        await pubsub.connect()  # type: ignore[no-untyped-call]
        self._changed.set()
        self._parts = [asyncio.create_task(part) for part in (self._read(pubsub), self._write(pubsub))]
        try:
            done, _ = await asyncio.wait(self._parts, return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
        finally:
            await end_tasks(self._parts)

    async def _read(self, pubsub: PubSub) -> None:
        while (message := await pubsub.get_message(timeout=LONGEST_SILENCE_S)) is not None:
            if message["type"] in ("message", "subscribe"):
                for event in self._waiting.get(message["channel"].decode(), ()):
                    event.set()

    async def _write(self, pubsub: PubSub) -> None:
        """Keep the connection subscribed to what is waited for, many channels at a time."""
        subscribed: set[str] = set()
        while True:
            await self._word_within(ASK_AFTER_S)
            wanted = set(self._waiting)
            if fresh := wanted - subscribed:
                await pubsub.subscribe(*fresh)
            if gone := subscribed - wanted:
                await pubsub.unsubscribe(*gone)
            if not fresh and not gone:
                await pubsub.ping()
            subscribed = wanted

    async def _word_within(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        self._changed.clear()

    async def aclose(self) -> None:
        """Stop listening."""
        if self._listening is not None:
            await end_tasks([self._listening])
        await end_tasks(self._parts)
        await self._redis.aclose()
