"""Holding a request until its jobs have ended, its time is over, its caller has gone, or the server stops."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import Request

from echelon_producers.client import AsyncClient
from echelon_producers.errors import Unavailable
from echelon_workers.ledger.ending import end_tasks

#: Redis has this long for all that one request asks of it, waiting for answers apart.
REDIS_S = 10.0


@asynccontextmanager
async def redis_in_time(job_ids: Sequence[str] = ()) -> AsyncIterator[None]:
    """Raises Unavailable when Redis takes too long, or cannot be used: with the ids of the jobs that are submitted."""
    try:
        async with asyncio.timeout(REDIS_S):
            yield
    except TimeoutError as exc:
        what = f"Redis cannot be used: it has not answered within {REDIS_S:g} s (would be right: try again later)"
        raise Unavailable(what, job_ids) from exc
    except Unavailable as exc:
        exc.job_ids = exc.job_ids or tuple(job_ids)
        raise


async def wait_for_end(request: Request, client: AsyncClient, job_ids: Sequence[str], seconds: float) -> None:
    """Return when all jobs have ended, or there is no more reason to wait. The records say which it is."""
    closing: asyncio.Event = request.app.state.closing
    watches = [asyncio.create_task(part) for part in (_ended(client, job_ids, seconds), _gone(request), _set(closing))]
    try:
        await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end_tasks(watches)


async def _ended(client: AsyncClient, job_ids: Sequence[str], seconds: float) -> None:
    # What goes wrong here goes wrong again, and is told, when the records are read.
    await asyncio.gather(*(client.ended(job_id, seconds) for job_id in job_ids), return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _set(event: asyncio.Event) -> None:
    await event.wait()
