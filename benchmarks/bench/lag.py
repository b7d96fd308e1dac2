"""How late an event loop is: sampled inside the measured process, read outside.

Every 10 ms a timer notes how much later than asked it was called. A loop that is held up for 300 ms calls one timer
late, but would have kept 30 of them waiting: these are counted too, each with its own shorter wait (as HdrHistogram
corrects for coordinated omission), so a percentile says how long a thing that becomes due at any moment waits.
"""

import asyncio
import json
import os
from collections import Counter
from pathlib import Path

INTERVAL_S = 0.01
_WRITE_EVERY = 50


class LagSampler:
    """Samples the running loop from now on; twice a second the counts by milliseconds are written to `path`."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._loop = asyncio.get_running_loop()
        self._counts: Counter[int] = Counter()
        self._due = self._loop.time() + INTERVAL_S
        self._since_written = 0
        self._timer = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        now = self._loop.time()
        late = now - self._due
        while late >= 0:
            self._counts[int(late * 1000)] += 1
            late -= INTERVAL_S
        self._since_written += 1
        if self._since_written >= _WRITE_EVERY:
            self._write()
        self._due = now + INTERVAL_S
        self._timer = self._loop.call_at(self._due, self._tick)

    def _write(self) -> None:
        self._since_written = 0
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(self._counts))
        os.replace(part, self._path)

    def stop(self) -> None:
        """Sample no more, and write what there is."""
        self._timer.cancel()
        self._write()


def read_lags(path: Path) -> "Counter[int]":
    """The samples so far: how many were so many milliseconds late."""
    if not path.exists():
        return Counter()
    return Counter({int(ms): count for ms, count in json.loads(path.read_text()).items()})


def percentile_ms(lags: "Counter[int]", share: float) -> int:
    """The lag that this share of the samples did not exceed, in ms, rounded up."""
    wanted, seen = share * sum(lags.values()), 0
    for ms in sorted(lags):
        seen += lags[ms]
        if seen >= wanted:
            return ms + 1
    return 0
