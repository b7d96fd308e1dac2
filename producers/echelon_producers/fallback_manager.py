"""`EnhancedFallbackManager`: jobs with fallbacks of their own, and what the fleet has on record of fallbacks."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from echelon_workers.ledger.fallbacks import QueueUse, StrategyUse
from echelon_workers.ledger.job import Answer
from echelon_workers.ledger.status import Counts

from .borrowed import WithClient
from .client import AsyncClient, Client

#: As the textbooks call the states of a breaker.
_BREAKER = {"unhealthy": "open", "recovering": "half_open"}


class EnhancedFallbackManager(WithClient):
    """Sends jobs that say where they go when they fail, and tells what became of such jobs in the whole fleet.

    The workers carry fallbacks out, each in one step with the end of the attempt before; nothing of it is done here.
    """

    def __init__(
        self,
        task_group_manager: object | None = None,
        polling_pool_manager: object | None = None,
        *,
        client: Client | str | None = None,
    ) -> None:
        """`client`: one to share, the URL of a Redis, or nothing for ECHELON_REDIS_URL, else REDIS_URL. The managers
        may be given, and are not needed: what is in force is read where it is enforced.

        Raises EchelonError when there is no URL.
        """
        self._managers = task_group_manager, polling_pool_manager
        super().__init__(client)
        self._shared: dict[asyncio.AbstractEventLoop, _Shared] = {}

    async def execute_with_fallback(
        self,
        primary_target: str,
        fallback_groups: Sequence[str] | None = None,
        prompt: str | None = None,
        *,
        timeout_s: float | None = None,
        **job: Any,
    ) -> Answer:
        """Submit a job to `primary_target`, wait for its answer, and return it.

        When it fails it goes to `fallback_groups`, in order (an empty list: nowhere; None: as configured). `job` is
        what `AsyncClient.submit` takes beside. Thousands may be awaited at a time.

        Raises as `AsyncClient.submit` and `AsyncClient.result`; JobDied's `.record.trail` has every attempt.
        """
        groups = None if fallback_groups is None else list(fallback_groups)
        async with self._async_client() as client:
            job_id = await client.submit(primary_target, prompt, fallback_groups=groups, **job)
            return await client.result(job_id, timeout_s)

    def get_statistics(self) -> dict[str, Any]:
        """Since the beginning, of the whole fleet: `total_fallbacks`, `success_rate` of the jobs that fell back and
        have ended (None before one has), `lost_ms` in the attempts that had failed, `most_used_strategy` (None: none
        yet); `strategies` by name, and `targets` by queue with what came there and what went.

        Raises NoConfiguration, Unavailable.
        """
        found, queues = self._client.fallbacks(), self._client.cluster_status().queues
        uses = found.strategies
        answered, dead = (sum(getattr(use, end) for use in uses.values()) for end in ("answered", "dead"))
        # Going home again is no strategy.
        chosen = {name: use.moves for name, use in uses.items() if use.moves and name != "home"}
        return {
            "total_fallbacks": sum(use.moves for use in uses.values()),
            "success_rate": _rate(answered, dead),
            "lost_ms": sum(use.lost_ms for use in uses.values()),
            "most_used_strategy": max(chosen, key=chosen.__getitem__, default=None),
            "strategies": {name: _strategy(use) for name, use in uses.items()},
            "targets": {
                queue.name: _target(queue.counts, found.queues.get(queue.name, QueueUse())) for queue in queues
            },
        }

    def get_fallback_history(self, limit: int = 100) -> list[dict[str, Any]]:
        """The fleet's last fallbacks (it keeps 1,000), the newest first: `job`, `at_ms`, `from`, `instance`, `to`,
        `strategy`, `outcome` (of the attempt that failed) and `because`. Raises Unavailable."""
        return self._client.fallbacks().history[: max(0, limit)]

    def get_circuit_breaker_status(self) -> dict[str, dict[str, Any]]:
        """Of each instance its breaker's `state` (closed, open, half_open), `failures` in a row, `open_ms` (for how
        long it is open; None: until the configuration is loaded anew) and `why` (an outcome's code).

        Raises NoConfiguration, Unavailable.
        """
        return {
            instance.name: {
                "state": _BREAKER.get(instance.state, "closed"),
                "failures": instance.failures,
                "open_ms": instance.open_ms,
                "why": instance.why,
            }
            for instance in self._client.cluster_status().instances
        }

    @asynccontextmanager
    async def _async_client(self) -> AsyncIterator[AsyncClient]:
        """One client for all that wait in this event loop, closed with the last of them: a loop may end at any time."""
        loop = asyncio.get_running_loop()
        if (shared := self._shared.get(loop)) is None:
            address = self._client.address
            shared = self._shared[loop] = _Shared(AsyncClient(address.url, namespace=address.namespace))
        shared.users += 1
        try:
            yield shared.client
        finally:
            shared.users -= 1
            if not shared.users:
                del self._shared[loop]
                await shared.client.aclose()


@dataclass(slots=True)
class _Shared:
    client: AsyncClient
    users: int = 0


def _strategy(use: StrategyUse) -> dict[str, Any]:
    ends = {"answered": use.answered, "dead": use.dead, "success_rate": _rate(use.answered, use.dead)}
    return {"used": use.moves, **ends, "lost_ms": use.lost_ms}


def _target(counts: Counts, use: QueueUse) -> dict[str, Any]:
    ends = {"answered": counts.answered, "dead": counts.dead, "success_rate": _rate(counts.answered, counts.dead)}
    return {"submitted": counts.submitted, "came": use.came, "went": counts.moved, **ends, "lost_ms": use.lost_ms}


def _rate(answered: int, dead: int) -> float | None:
    return answered / (answered + dead) if answered + dead else None
