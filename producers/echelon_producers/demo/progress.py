"""The demo's jobs on their way: a table that lives on a terminal, a line a second elsewhere."""

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from echelon_workers.ledger.status import ClusterStatus, Counts

_LINE_EVERY_S = 1.0


def ended(counts: Counts) -> int:
    """How many jobs have ended."""
    return counts.answered + counts.dead + counts.expired + counts.cancelled


class Progress:
    """Shows a cluster's status again and again."""

    def __init__(self, console: Console, say: Callable[[str], None]) -> None:
        self._say = say
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._began = time.monotonic()
        self._next_line = self._began

    def show(self, status: ClusterStatus) -> None:
        """Show it as it is now."""
        if self._live is not None:
            self._live.update(_table(status), refresh=True)
        elif time.monotonic() >= self._next_line:
            self._next_line += _LINE_EVERY_S
            self._say(self.line(status.totals))

    def line(self, totals: Counts) -> str:
        """The status in one line."""
        seconds = time.monotonic() - self._began
        others = f"{totals.running} running, {totals.waiting + totals.delayed} waiting, {totals.retries} tried again"
        return f"{seconds:5.1f} s: {totals.answered} of {totals.submitted} answered, {others}"

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()


def _table(status: ClusterStatus) -> Table:
    """One row a task group: dozens of queues would scroll away."""
    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("", width=30)
    for name in ("answered", "of", "running", "waiting"):
        table.add_column(name, justify="right")
    groups: dict[str, list[Counts]] = {}
    for queue in status.queues:
        if queue.counts.submitted:
            groups.setdefault(queue.name.partition(".")[0], []).append(queue.counts)
    for name, counts in groups.items():
        table.add_row(name, *_row(counts))
    table.add_row("all", *_row([status.totals]), style="bold")
    return table


def _row(counts: Sequence[Counts]) -> tuple[ProgressBar, str, str, str, str]:
    submitted, done = sum(each.submitted for each in counts), sum(ended(each) for each in counts)
    return (
        ProgressBar(total=max(1, submitted), completed=done, width=30),
        str(sum(each.answered for each in counts)),
        str(submitted),
        str(sum(each.running for each in counts)),
        str(sum(each.waiting + each.delayed for each in counts)),
    )
