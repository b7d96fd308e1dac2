"""How far a run has got, on standard error: a bar for people, a line now and then for logs."""

import asyncio
import time

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from .tally import Tally

_EVERY_S = 0.2
_LINE_EVERY_S = 5.0
_LINES_LEFT_OUT = 12
#: The rate is that of about the last ten seconds.
_RATE_S = 10.0


class Progress:
    """Shows a tally while it grows."""

    def __init__(self, tally: Tally, total: int) -> None:
        self._tally = tally
        self._total = total
        self._seen: list[tuple[float, int]] = []

    async def show(self, console: Console) -> None:
        """Show it until cancelled, at last as it is then."""
        if not console.is_terminal:
            await self._lines(console)
            return
        with Live(self._bar(), console=console, auto_refresh=False) as live:
            try:
                while True:
                    live.update(self._bar(), refresh=True)
                    await asyncio.sleep(_EVERY_S)
            finally:
                live.update(self._bar(), refresh=True)

    async def _lines(self, console: Console) -> None:
        """A line every few seconds; where nothing moves, one a minute."""
        shown, quiet = -1, 0
        while True:
            self._rate()
            await asyncio.sleep(_LINE_EVERY_S)
            quiet = 0 if self._tally.done != shown else quiet + 1
            if quiet % _LINES_LEFT_OUT == 0:
                console.print(f"{self._tally.done:,} of {self._total:,} lines, {self._text()}", highlight=False)
            shown = self._tally.done

    def _bar(self) -> Table:
        done = self._tally.done
        row = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=max(1, self._total), completed=done, width=30)
        row.add_row(bar, f"{done:,} of {self._total:,}", self._text())
        return row

    def _text(self) -> str:
        rate, left = self._rate(), self._total - self._tally.done
        parts = [f"{rate:,.0f} a second", f"{self._tally.under_way:,} under way"]
        if rate and left:
            parts.append(f"{span(left / rate)} left")
        wrong = self._tally.failed + self._tally.bad
        if wrong:
            parts.append(f"{wrong:,} wrong")
        return ", ".join([*parts, self._tally.full] if self._tally.full else parts)

    def _rate(self) -> float:
        """Lines a second; those that were answered before do not count."""
        now, fresh = time.monotonic(), self._tally.done - self._tally.kept
        self._seen.append((now, fresh))
        while now - self._seen[0][0] > _RATE_S:
            del self._seen[0]
        since, before = self._seen[0]
        return (fresh - before) / (now - since) if now - since > _EVERY_S / 2 else 0.0


def span(seconds: float) -> str:
    """A length of time for people: `8 s`, `3:05 min`, `2:10 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"
