"""The worker's heartbeat: it renews the leases of what is held, says what the worker is, and reaps for all."""

import asyncio
import contextlib
import json
import os
import socket
import time
from typing import TYPE_CHECKING

from celery.utils.log import get_logger
from redis.exceptions import RedisError

from .ledger.verbs import renew

if TYPE_CHECKING:
    from .runtime import Runtime

logger = get_logger(__name__)

MOST_A_CALL = 500
#: While Redis is away it is tried this often: when it is back, leases are renewed before they lapse.
AGAIN_S = 1.0


class Heartbeat:
    """Beats three times in the life of a lease."""

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime
        self._due = asyncio.Event()

    def soon(self) -> None:
        """Beat now: there is something new to say."""
        self._due.set()

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            pause_s = self._runtime.settings.lease_s / 3
            try:
                await self._beat()
            except (RedisError, OSError) as exc:
                logger.warning("the heartbeat did not reach Redis: %s", exc)
                pause_s = min(pause_s, AGAIN_S)
            await self._wait(pause_s)

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._due.wait()
        self._due.clear()

    async def _beat(self) -> None:
        runtime = self._runtime
        leases = runtime.hand.leases()
        for first in range(0, max(1, len(leases)), MOST_A_CALL):
            part = leases[first : first + MOST_A_CALL]
            told_ms = int(runtime.settings.lease_s * 2000)
            beat = renew(runtime.name, self._about(), told_ms, part, runtime.terms, runtime.callable)
            asked_at = time.monotonic()
            told = await runtime.ledger.run(beat)
            runtime.hand.renewed(part, asked_at)
            for lost in told.lost:
                self._stop(*lost)
            for unwanted in told.unwanted:  # its publish may have got lost
                if (held := runtime.hand.of(*unwanted)) is not None:
                    held.halt("cancel")
            if told.revision != runtime.mark:  # its publish may have got lost
                runtime.look_for_revision()
            if told.has_more:
                self.soon()

    def _stop(self, id: str, lease: str) -> None:
        held = self._runtime.hand.of(id, lease)
        if held is not None:
            logger.warning("the lease of job %s is lost: its call is stopped", id)
            held.halt("lost")

    def _about(self) -> str:
        runtime = self._runtime
        about = {
            "name": runtime.name,
            "hostname": runtime.hostname,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "slots": runtime.pool.limit,
            "busy": len(runtime.pool.busy),
            "queues": runtime.served,
            "revision": runtime.revision,
        }
        return json.dumps(about, separators=(",", ":"))

    async def forget(self) -> None:
        """The worker ends: it is not to be seen as one that died."""
        ledger, name = self._runtime.ledger, self._runtime.name
        try:
            await ledger.redis.delete(ledger.keys.of("worker", name), ledger.keys.of("taker", name))
            await ledger.redis.zrem(ledger.keys.of("workers"), name)
        except (RedisError, OSError) as exc:
            logger.debug("this worker's entry stays until it expires: %r", exc)
