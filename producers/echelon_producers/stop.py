"""Stopping tasks for sure."""

import asyncio
from collections.abc import Iterable


async def stop(tasks: Iterable["asyncio.Task[None]"]) -> None:
    """Cancel tasks until they are done.

    Once is not always enough: redis-py awaits through `asyncio.wait_for`, which in Python 3.11 forgets a cancellation
    that comes at the moment its own wait is over (python/cpython#86296).
    """
    asked = list(tasks)
    while running := [task for task in asked if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=0.1)
