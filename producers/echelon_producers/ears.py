"""Hearing that jobs have ended: one subscription connection for all that wait in an event loop."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from echelon_workers.ledger.client import AsyncLedger
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError


class Ears:
    """Subscribes to a job's channel for as long as somebody waits for it."""

    def __init__(self, ledger: AsyncLedger) -> None:
        self._ledger = ledger
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._pubsub: PubSub | None = None
        self._reader: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def on(self, job_id: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set when the job ends. A lost publish leaves it unset: look at the record now and then."""
        channel, event = self._ledger.keys.of("ended", job_id), asyncio.Event()
        self._waiting[channel].add(event)
        try:
            await self._subscribe(channel)
            yield event
        finally:
            self._waiting[channel].discard(event)
            if not self._waiting[channel]:
                del self._waiting[channel]
                await self._unsubscribe(channel)

    async def _subscribe(self, channel: str) -> None:
        if self._pubsub is None:
            self._pubsub = self._ledger.redis.pubsub(ignore_subscribe_messages=True)
        await self._pubsub.subscribe(channel)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.get_running_loop().create_task(self._read(self._pubsub))

    async def _unsubscribe(self, channel: str) -> None:
        if self._pubsub is not None:
            with suppress(RedisError, OSError):
                await self._pubsub.unsubscribe(channel)

    async def _read(self, pubsub: PubSub) -> None:
        while True:
            try:
                message = await pubsub.get_message(timeout=None)  # type: ignore[arg-type]
            except (RedisError, OSError):
                await asyncio.sleep(0.1)
                continue
            except RuntimeError:
                return  # nothing is subscribed any more; the next subscription starts a reader
            if message is not None:
                channel: bytes = message["channel"]
                for event in self._waiting.get(channel.decode(), ()):
                    event.set()

    async def aclose(self) -> None:
        """Stop listening."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        if self._pubsub is not None:
            await self._pubsub.aclose()
