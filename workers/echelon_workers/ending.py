"""Ending what runs in the loop, in bounded time."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from celery.utils.log import get_logger

logger = get_logger(__name__)


async def end_tasks(tasks: Iterable["asyncio.Task[None]"]) -> None:
    """Cancel tasks until they have ended: redis-py may swallow one cancellation while it connects."""
    waiting = set(tasks)
    for _ in range(10):
        for task in waiting:
            task.cancel()
        if not waiting:
            return
        _, waiting = await asyncio.wait(waiting, timeout=0.5)
    logger.error("these would not end: %s", waiting)


async def close_within(seconds: float, what: str, closing: Coroutine[Any, Any, None]) -> None:
    """Give something that closes a bounded time: the process ends anyway."""
    try:
        async with asyncio.timeout(seconds):
            await closing
    except TimeoutError:
        logger.warning("%s did not close within %g s", what, seconds)
