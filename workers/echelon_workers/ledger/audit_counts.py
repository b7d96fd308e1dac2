"""Counters held against what is there: in one step where that is bounded, else by what must have been there once."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from .audit_walk import Chart, Walk, chunks

#: So many jobs that wait or are delayed are counted anew in one step.
MOST_AT_ONCE = 5000
#: Shorter than this, jobs that ended may be forgotten before an audit has read them.
_LONG_RETENTION_MS = 600_000


@dataclass(slots=True)
class Counts:
    """How many jobs each counter should have had when the audit began.

    A record says when it last changed. One that has not changed since the beginning was then what it is now (`sure`);
    one that has, and was there, may have been anything (`maybe`). So each counter is right if it was no less than the
    sure ones and no more than both together, and what it is beyond that is wrong whatever goes on meanwhile.
    """

    said: dict[str, int] = field(default_factory=dict)
    sure: Counter[str] = field(default_factory=Counter)
    maybe: Counter[str] = field(default_factory=Counter)
    changed: int = 0

    def read(self, reply: list[bytes]) -> None:
        """What the counters said at the beginning."""
        words = [word.decode(errors="backslashreplace") for word in reply]
        for name, value in zip(words[::2], words[1::2], strict=True):
            if value.lstrip("-").isdigit():
                self.said[name] = int(value)

    def add(self, state: str, queue: str, node: str, when: str, many: int) -> None:
        """Jobs of one kind that a page has read."""
        waits, delayed = f"waiting:node:{node}", f"delayed:{queue}"
        if when == "maybe":
            self.changed += many
            self.maybe[waits] += many
        elif when == "old" and state == "queued" and node:
            self.sure[waits] += many
        elif when == "old" and state == "delayed":
            self.sure[delayed] += many

    def too_high(self, kind: str) -> dict[str, int]:
        """By how much each counter of a kind is too high for sure; below 0: too low."""
        wrong: dict[str, int] = {}
        for name in {*self.said, *self.sure}:
            if not name.startswith(f"{kind}:"):
                continue
            said, sure = self.said.get(name, 0), self.sure[name]
            # A job may have moved between queues while it was delayed.
            most = sure + (self.maybe[name] if kind == "waiting" else self.changed)
            if said < sure or said > most:
                wrong[name] = said - (sure if said < sure else most)
        return wrong

    def audit(self, chart: Chart, scopes: list[str], parked: list[str]) -> Walk[None]:
        """Count anew, and set right."""
        places = [word for queue in sorted(chart.queues) for word in ("list", queue)]
        places += [word for place in parked for word in ("parked", place)]
        told: list[Any] = yield from chart.ask("audit_counts", "recount", MOST_AT_ONCE, len(scopes), *scopes, *places)
        if chart.retention_ms < _LONG_RETENTION_MS:
            return
        for kind, counted in zip(("delayed", "waiting"), told, strict=True):
            if counted:
                continue
            wrong = [word for pair in self.too_high(kind).items() for word in pair]
            for some in chunks(wrong, 200):
                yield from chart.ask("audit_counts", "shift", *some)
