"""The event loop that a worker's jobs run in."""

import asyncio


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where there is one (it halves the cost of a call), else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
