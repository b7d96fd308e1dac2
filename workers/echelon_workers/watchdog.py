"""The end of a worker that was told to stop and does not, because something in Celery or kombu waits for the broker."""

import os
import threading
import time
from collections.abc import Callable

from celery.utils.log import get_logger
from celery.worker import state

logger = get_logger(__name__)

#: Beyond the grace, as long again within these bounds: for giving jobs back and closing connections.
LEAST_SPARE_S, MOST_SPARE_S = 5.0, 25.0
LOOK_S = 0.25
#: A log that does not take the last message (a full pipe, a lock that is held) does not keep the process.
LAST_MESSAGE_S = 2.0


class Watchdog:
    """A thread that ends the process, with exit code 1, when stopping takes longer than it may."""

    def __init__(self, grace_s: float, stops: Callable[[], bool], held: Callable[[], int]) -> None:
        """`stops`: whether the worker stops without a signal (Celery's `shutdown` command); `held`: jobs it holds."""
        self._grace_s = grace_s
        self._spare_s = min(MOST_SPARE_S, max(LEAST_SPARE_S, grace_s))
        self._stops = stops
        self._held = held

    def start(self) -> None:
        """Watch from now on, until the process ends."""
        threading.Thread(target=self._watch, name="echelon-watchdog", daemon=True).start()

    def _watch(self) -> None:
        self._until(self._is_to_stop, float("inf"))
        told = time.monotonic()
        self._until(_is_to_stop_at_once, told + self._grace_s)
        self._until(lambda: False, time.monotonic() + self._spare_s)
        message = threading.Thread(target=self._say, args=(told,), daemon=True)
        message.start()
        message.join(LAST_MESSAGE_S)
        os._exit(1)

    def _until(self, condition: Callable[[], bool], end: float) -> None:
        pause = threading.Event()
        while not condition() and time.monotonic() < end:
            pause.wait(LOOK_S)

    def _is_to_stop(self) -> bool:
        return _is_set(state.should_stop) or _is_to_stop_at_once() or self._stops()

    def _say(self, told: float) -> None:
        logger.critical(
            "this worker still stops after %.0f s, so it ends as it is: %d jobs held; their leases will lapse",
            time.monotonic() - told,
            self._held(),
        )


def _is_to_stop_at_once() -> bool:
    return _is_set(state.should_terminate)


def _is_set(flag: object) -> bool:
    """Celery's flags are exit codes once they are set: 0 is one."""
    return flag is not None and flag is not False
