"""Counting the wishes for an end: Ctrl-C, SIGTERM, a closed terminal."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Within its `with` block these signals do nothing but count; one object is one count. Main thread only."""

    def __init__(self) -> None:
        self.count = 0
        self._any = threading.Event()
        self._before: dict[signal.Signals, Any] = {}

    def wait(self, seconds: float) -> bool:
        """Wait for the first one, at most this long; whether there has been one."""
        return self._any.wait(seconds)

    def __call__(self) -> int:
        """How many there have been."""
        return self.count

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
        self.count += 1
        self._any.set()
