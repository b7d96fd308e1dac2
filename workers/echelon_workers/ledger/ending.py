"""Ending what runs in an event loop, in bounded time. It is here because redis-py makes it necessary."""

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any

logger = logging.getLogger(__name__)

_ROUNDS, _ROUND_S = 50, 0.1


async def end_tasks(tasks: Iterable["asyncio.Task[None]"]) -> None:
    """Cancel tasks until they have ended.

    Once is not always enough: redis-py awaits through `asyncio.wait_for`, which in Python 3.11 forgets a cancellation
    that comes at the moment its own wait is over (python/cpython#86296).
    """
    waiting = {task for task in tasks if not task.done()}
    for _ in range(_ROUNDS):
        if not waiting:
            return
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=_ROUND_S)
    logger.error("these would not end: %s", waiting)


async def close_within(seconds: float, what: str, closing: Coroutine[Any, Any, None]) -> None:
    """Give something that closes a bounded time: the process ends anyway."""
    try:
        async with asyncio.timeout(seconds):
            await closing
    except TimeoutError:
        logger.warning("%s did not close within %g s", what, seconds)
