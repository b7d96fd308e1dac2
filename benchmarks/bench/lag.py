"""How late an event loop is: sampled inside the measured process, read outside.

Every 10 ms a timer notes how much later than asked it was called. A loop that is held up for 300 ms calls one timer
late, but would have kept 30 of them waiting: these are counted too, each with its own shorter wait (as HdrHistogram
corrects for coordinated omission), so a percentile says how long a thing that becomes due at any moment waits.

Beside the wait, the part of it in which the loop's own thread was computing: the rest is the machine's, or the GIL's.
"""

import asyncio
import json
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

INTERVAL_S = 0.01
_WRITE_EVERY = 50

#: How many samples were so many milliseconds late.
Counts = Counter[int]


@dataclass(slots=True)
class Lags:
    """The samples so far: the whole wait, and the loop's own part in it."""

    whole: Counts = field(default_factory=Counter)
    own: Counts = field(default_factory=Counter)

    @classmethod
    def read(cls, path: Path) -> Self:
        """What a sampler has written; nothing when it has not yet."""
        if not path.exists():
            return cls()
        whole, own = json.loads(path.read_text())
        return cls(_counts(whole), _counts(own))

    def since(self, before: "Lags") -> "Lags":
        """What came after `before`."""
        return Lags(self.whole - before.whole, self.own - before.own)

    def note(self, late_s: float, own_s: float) -> None:
        """One timer was so late."""
        _note(self.whole, late_s)
        _note(self.own, min(late_s, own_s))


def percentile_ms(lags: Counts, share: float) -> int:
    """The lag that this share of the samples did not exceed, in ms, rounded up."""
    wanted, seen = share * sum(lags.values()), 0
    for ms in sorted(lags):
        seen += lags[ms]
        if seen >= wanted:
            return ms + 1
    return 0


class LagSampler:
    """Samples the running loop from now on; twice a second what it counted is written to `path`."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._loop = asyncio.get_running_loop()
        self._lags = Lags()
        self._since_written = 0
        self._sleep()

    def _sleep(self) -> None:
        self._cpu_s = time.thread_time()
        self._due = self._loop.time() + INTERVAL_S
        self._timer = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        self._lags.note(self._loop.time() - self._due, time.thread_time() - self._cpu_s)
        self._since_written += 1
        if self._since_written >= _WRITE_EVERY:
            self._write()
        self._sleep()

    def _write(self) -> None:
        self._since_written = 0
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps([self._lags.whole, self._lags.own]))
        os.replace(part, self._path)

    def stop(self) -> None:
        """Sample no more, and write what there is."""
        self._timer.cancel()
        self._write()


def _note(counts: Counts, late_s: float) -> None:
    while late_s >= 0:
        counts[int(late_s * 1000)] += 1
        late_s -= INTERVAL_S


def _counts(written: dict[str, int]) -> Counts:
    return Counter({int(ms): count for ms, count in written.items()})
