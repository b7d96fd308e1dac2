"""The event loop that a worker's jobs run in, and the garbage collector that would hold it up."""

import asyncio
import gc

#: Objects, and collections of the next younger kind, between two collections. With Python's own (700, 10, 10) a worker
#: with a thousand calls in flight walks over all that they hold, for a tenth of a second, every second or two.
COLLECT_AFTER = (5_000, 10, 20)


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where there is one (it halves the cost of a call), else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def collect_less() -> None:
    """Let the collector pass over what is loaded by now, for good, and come less often. Only the first time counts."""
    if gc.get_freeze_count() == 0:
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)
