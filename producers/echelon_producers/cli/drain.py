"""Waiting until queues that drain are empty, and showing how far they are."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.table import Table

from echelon_producers.client import Client
from echelon_workers.ledger.status import QueueStatus, left_behind

from .failures import warn
from .status import queue_state

_LOOK_EVERY_S = 0.5
#: Where there is no terminal: a line when something has changed, at most so often, and one a minute when nothing has.
_LINE_EVERY_S, _QUIET_LINE_S = 5.0, 60.0


@dataclass(frozen=True, slots=True)
class Draining:
    """A queue that drains, at one moment: what there is to do, and what holds it up."""

    name: str
    waiting: int
    running: int
    delayed: int
    state: str
    #: why nothing starts there, for a person who can change it
    stuck: str

    @property
    def is_empty(self) -> bool:
        """Whether all its jobs are done."""
        return not (self.waiting or self.running or self.delayed)

    def to_json(self) -> dict[str, str | int]:
        """One JSON object."""
        counted = {"waiting": self.waiting, "running": self.running, "delayed": self.delayed}
        return {"name": self.name, **counted, "stuck": self.stuck}


class Drain:
    """Watches queues drain."""

    def __init__(self, client: Client, queues: Sequence[str]) -> None:
        self._client = client
        self._queues = tuple(dict.fromkeys(queues))
        self._told: set[str] = set()
        self._line, self._line_at = "", 0.0

    def look(self) -> list[Draining]:
        """The queues at this moment; what is stuck is told when it begins to be."""
        status = self._client.cluster_status()
        known = {queue.name: queue for queue in status.queues}
        found = [_draining(name, known.get(name), status.now_ms) for name in self._queues]
        now_stuck = {queue.stuck for queue in found if queue.stuck}
        for why in sorted(now_stuck - self._told):
            warn(why)
        self._told = now_stuck
        return found

    def wait(self, timeout_s: float | None) -> list[Draining]:
        """Show how far they are until they are empty or the time is over. After Ctrl-C it says that they drain on."""
        try:
            return self._wait(None if timeout_s is None else time.monotonic() + timeout_s)
        except KeyboardInterrupt:
            names = " ".join(self._queues)
            warn(f"they go on draining: {names} (to accept new jobs again: echelon queue resume {names})")
            raise

    def _wait(self, end: float | None) -> list[Draining]:
        console = Console(stderr=True, highlight=False)
        if not console.is_terminal:
            return self._watch(end, self._print)
        with Live(console=console, auto_refresh=False, transient=True) as live:
            return self._watch(end, lambda found: live.update(_table(found), refresh=True))

    def _watch(self, end: float | None, show: Callable[[list[Draining]], None]) -> list[Draining]:
        while True:
            found = self.look()
            left = _LOOK_EVERY_S if end is None else end - time.monotonic()
            if left <= 0 or all(queue.is_empty for queue in found):
                return found
            show(found)
            time.sleep(min(_LOOK_EVERY_S, left))

    def _print(self, found: list[Draining]) -> None:
        line = "; ".join(f"{queue.name}: {numbers(queue)}" for queue in found if not queue.is_empty)
        since = time.monotonic() - self._line_at
        if not self._line or since >= (_LINE_EVERY_S if line != self._line else _QUIET_LINE_S):
            warn(f"draining: {line}")
            self._line, self._line_at = line, time.monotonic()


def numbers(queue: Draining) -> str:
    """How far it is, in a line."""
    counted = f"{queue.waiting:,} waiting, {queue.running:,} running, {queue.delayed:,} delayed"
    return f"{counted} ({queue.state})" if queue.state else counted


def stuck(queue: QueueStatus) -> str:
    """Why no job that a queue has will start until somebody does something, and what; empty if that is not so."""
    if not (queue.counts.waiting or queue.counts.delayed):
        return ""
    if queue.paused:
        return f"{queue.name} is paused, so its jobs do not start (would be right: echelon queue resume {queue.name})"
    if not queue.served_by:
        return f"no worker serves {queue.name}, so its jobs do not start (would be right: echelon worker {queue.name})"
    return ""


def _draining(name: str, queue: QueueStatus | None, now_ms: int) -> Draining:
    if queue is None:  # it was dropped, and has no jobs
        return Draining(name, 0, 0, 0, "dropped", "")
    counts, state = queue.counts, queue_state(queue, now_ms).removeprefix("draining").removeprefix(", ")
    if queue.dropped:
        return Draining(name, counts.waiting, counts.running, counts.delayed, state, left_behind(queue))
    return Draining(name, counts.waiting, counts.running, counts.delayed, state, stuck(queue))


def _table(found: list[Draining]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 0, 0, 1))
    table.add_column("draining", no_wrap=True)
    for name in ("waiting", "running", "delayed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for queue in found:
        table.add_row(queue.name, f"{queue.waiting:,}", f"{queue.running:,}", f"{queue.delayed:,}", queue.state)
    return table
