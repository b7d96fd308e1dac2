"""Publishes the scores that queues go by, in one worker of the fleet: whichever was first to say so, while it lives."""

import asyncio
import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from celery.utils.log import get_logger
from redis.exceptions import RedisError

from echelon_configs import Configuration, Queue

from .ledger.instances import InstanceStatus
from .ledger.rotation import primitive_of
from .ledger.scores import publish_scores, read_standings
from .schedulers import SchedulerUnusable, Standing, scheduler_named

if TYPE_CHECKING:
    from .runtime import Runtime

logger = get_logger(__name__)

#: The worker that publishes does so this often, or while nothing changes only that often; the others ask whether it is
#: gone.
EVERY_S, IDLE_S, OTHERS_S = 2.0, 5.0, 10.0
#: Without a word for so long it is taken to be gone; scores hold longer than a change of hands takes.
HOLDS_MS, VALID_MS = 12_000, 30_000


class Scoring:
    """One worker's part in it."""

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime
        self._published: dict[str, dict[str, float]] = {}
        self._again_at = 0.0
        self._unusable: set[str] = set()

    async def run(self) -> None:
        """Publish, or see that somebody does, until cancelled."""
        while True:
            wait_s = OTHERS_S
            try:
                if scored := scored_queues(self._runtime.configuration):
                    wait_s = await self._refresh(scored)
            except (RedisError, OSError) as exc:
                logger.debug("scores could not be published, and are as they were: %r", exc)
            await asyncio.sleep(wait_s)

    async def _refresh(self, scored: Mapping[str, Queue]) -> float:
        """Publish if it is this worker that does. Returns for how many seconds there is nothing to do."""
        ledger, worker = self._runtime.ledger, self._runtime.name
        names = sorted({member.instance for queue in scored.values() for member in queue.members})
        statuses = await ledger.run(read_standings(worker, names, holds_ms=HOLDS_MS))
        if statuses is None:
            return OTHERS_S
        scores = {name: self._of(queue, statuses) for name, queue in scored.items()}
        if scores == self._published and time.monotonic() < self._again_at:
            return IDLE_S
        await ledger.run(publish_scores(worker, scores, valid_ms=VALID_MS))
        self._published, self._again_at = scores, time.monotonic() + VALID_MS / 2000
        return EVERY_S

    def _of(self, queue: Queue, statuses: Mapping[str, InstanceStatus]) -> dict[str, float]:
        """No scores at all where the scheduler cannot be used: then the weights hold."""
        instances = dict.fromkeys(member.instance for member in queue.members)
        standings = [self._standing(statuses[name]) for name in instances]
        try:
            scores = scheduler_named(queue.rotation).scores(standings)
            return {name: _checked(scores[name]) for name in instances}
        except Exception as exc:  # whatever it is: the code may be a user's own
            if queue.rotation not in self._unusable:
                self._unusable.add(queue.rotation)
                said = str(exc) if isinstance(exc, SchedulerUnusable) else f"{type(exc).__name__}: {exc}"
                logger.error("the weights hold for %s, because its rotation went wrong: %s", queue.name, said)
            return {}

    def _standing(self, status: InstanceStatus) -> Standing:
        return Standing(
            instance=status.name,
            weight=self._runtime.configuration.instances[status.name].weight,
            success_rate=1.0 if status.success_rate is None else status.success_rate,
            latency_ms=status.latency_ms,
            in_use=status.in_use,
            concurrency=status.concurrency,
        )


def scored_queues(configuration: Configuration) -> dict[str, Queue]:
    """The queues whose instances take turns by scores; one alone has every turn."""
    return {
        name: queue
        for name, queue in configuration.queues.items()
        if primitive_of(queue.rotation) == "score" and len(queue.members) > 1
    }


def _checked(score: float) -> float:
    if not (math.isfinite(score) and score >= 0):
        raise ValueError(f"a score of {score!r} (would be right: a number from 0 on)")
    return float(score)
