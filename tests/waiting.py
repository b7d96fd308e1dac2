"""Waiting for something to become true, instead of sleeping and hoping."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

T = TypeVar("T")


def until(
    condition: Callable[[], T], *, timeout_s: float = 15, every_s: float = 0.01, what: str = "the condition"
) -> T:
    """Ask `condition` until its value is true, and return that value. AssertionError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"after {timeout_s:g} s still not: {what} (last value: {value!r})"
        time.sleep(every_s)
    return value


async def until_async(
    condition: Callable[[], T | Awaitable[T]],
    *,
    timeout_s: float = 15,
    every_s: float = 0.01,
    what: str = "the condition",
) -> T:
    """As `until`, leaving the event loop free between two looks; `condition` may be a coroutine function."""
    deadline = time.monotonic() + timeout_s
    while True:
        asked = condition()
        value = cast(T, await asked if inspect.isawaitable(asked) else asked)
        if value:
            return value
        assert time.monotonic() < deadline, f"after {timeout_s:g} s still not: {what} (last value: {value!r})"
        await asyncio.sleep(every_s)
