"""What the demo's jobs came to: figures for each queue, from the jobs' own records."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from rich.table import Table

from echelon_workers.ledger.record import JobRecord


@dataclass(slots=True)
class Figures:
    """The jobs of one queue. Times are in milliseconds: from submit to the end, and from submit to the first call."""

    queue: str
    jobs: int = 0
    answered: int = 0
    dead: int = 0
    attempts: int = 0
    fell_back: int = 0
    tokens: int = 0
    cost_usd: Decimal = field(default_factory=Decimal)
    latencies_ms: list[int] = field(default_factory=list)
    waits_ms: list[int] = field(default_factory=list)

    def add(self, record: JobRecord) -> None:
        """Count one job."""
        self.jobs += 1
        self.attempts += sum(bool(entry["instance"]) for entry in record.trail)
        self.fell_back += any(entry["decision"] == "move" for entry in record.trail)
        if record.trail:
            self.waits_ms.append(record.trail[0]["started_ms"] - record.created_ms)
        if record.answer is None:
            self.dead += record.has_ended
            return
        self.answered += 1
        self.latencies_ms.append(record.ended_ms - record.created_ms)
        self.tokens += record.answer.usage.input_tokens + record.answer.usage.output_tokens
        self.cost_usd += Decimal(record.answer.cost_usd or 0)


@dataclass(frozen=True, slots=True)
class Report:
    """All figures. A job is lost when it has no record, or has not ended."""

    submitted: int
    queues: tuple[Figures, ...]
    total: Figures
    #: a line for each job that ended without an answer
    died: tuple[str, ...] = ()

    @property
    def lost(self) -> int:
        """Jobs that were accepted and have not ended."""
        return self.submitted - self.total.answered - self.total.dead

    @property
    def is_clean(self) -> bool:
        """Whether every job is answered."""
        return self.total.answered == self.submitted

    def last_line(self) -> str:
        """The whole in one line."""
        total = self.total
        return f"demo: {self.submitted} jobs, {total.answered} answered, {total.dead} dead, {self.lost} lost"


def report_of(records: Iterable[JobRecord], submitted: int, order: Sequence[str]) -> Report:
    """The report on so many jobs, its queues in this order; `records` are those that could be found."""
    queues: dict[str, Figures] = {}
    total, died = Figures("all"), []
    for record in records:
        queues.setdefault(record.home, Figures(record.home)).add(record)
        total.add(record)
        if record.has_ended and record.answer is None:
            why = (record.error or {}).get("because") or record.error
            died.append(f"{record.state}: {record.id} of {record.home}: {why}")
    known = [queues.pop(name) for name in order if name in queues]
    return Report(submitted, (*known, *queues.values()), total, tuple(died))


def percentile(values: Sequence[int], percent: float) -> int:
    """The smallest value that is not below `percent` percent of them (nearest rank); 0 of none."""
    if not values:
        return 0
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def table_of(report: Report) -> Table:
    """The report for people."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 0, 0, 1))
    table.add_column("queue", no_wrap=True)
    for name in ("jobs", "answered", "fell back", "p50 s", "p99 s", "wait s", "tokens", "USD"):
        table.add_column(name, justify="right", no_wrap=True)
    for figures in report.queues:
        table.add_row(*_row(figures))
    table.add_row(*_row(report.total), style="bold")
    return table


def _row(figures: Figures) -> tuple[str, ...]:
    times = (
        percentile(figures.latencies_ms, 50),
        percentile(figures.latencies_ms, 99),
        percentile(figures.waits_ms, 50),
    )
    return (
        figures.queue,
        f"{figures.jobs:,}",
        f"{figures.answered:,}",
        f"{figures.fell_back:,}",
        *(f"{time_ms / 1000:.2f}" for time_ms in times),
        f"{figures.tokens:,}",
        f"{figures.cost_usd:.4f}",
    )
