"""Counting the wishes for an end: Ctrl-C, SIGTERM, a closed terminal."""

import signal
import time
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOOK_EVERY_S = 0.05


class Interrupts:
    """Within its `with` block these signals do nothing but count; calling it gives the count. Main thread only."""

    def __init__(self) -> None:
        self._count = 0
        self._before: dict[signal.Signals, Any] = {}

    def wait(self, seconds: float) -> bool:
        """Wait for the first one, at most this long; whether there has been one.

        It looks again and again: a lock that a signal's handler takes may be held by the code it interrupts.
        """
        end = time.monotonic() + seconds
        while not self._count and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_EVERY_S))
        return self._count > 0

    def __call__(self) -> int:
        """How many there have been."""
        return self._count

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the shape of a signal handler
        self._count += 1
