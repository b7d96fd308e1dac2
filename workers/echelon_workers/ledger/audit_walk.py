"""What the parts of an audit share: asking the doctor's scripts, and what was found so far."""

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .audit_report import Finding, read_findings
from .keys import Keys
from .scripts import script
from .verbs import Verb

T = TypeVar("T")
Walk = Generator[Verb[Any], Any, T]


@dataclass(slots=True)
class Chart:
    """One audit under way."""

    keys: Keys
    fix: bool
    retention_ms: int
    findings: dict[tuple[str, str], Finding] = field(default_factory=dict)
    calls: int = 0
    longest_call_ms: float = 0.0
    jobs: int = 0
    #: the queues that were heard of
    queues: set[str] = field(default_factory=set)
    #: queued job -> where its list was read (an index into `audit_lists.Lists`), or one of the two below
    seen: dict[bytes, int] = field(default_factory=dict)
    #: other jobs that were read
    others: set[bytes] = field(default_factory=set)

    def ask(self, verb: str, *args: str | bytes | int, fix: bool | None = None) -> Walk[list[Any]]:
        """Run one of the scripts, note its findings, and return the rest of its reply."""
        mends = self.fix if fix is None else fix
        began = time.monotonic()
        reply: list[Any] = yield Verb(script(verb), ["1" if mends else "", *args], list)
        self.calls += 1
        self.longest_call_ms = max(self.longest_call_ms, (time.monotonic() - began) * 1000)
        for finding in read_findings(reply[0]):
            self.note(finding)
        return reply[1:]

    def note(self, finding: Finding) -> None:
        """A finding; the same twice is one."""
        before = self.findings.get((finding.code, finding.subject))
        if before is None or finding.fixed:
            self.findings[finding.code, finding.subject] = finding


#: Of a queued job: it was not met in any list yet; it is parked, which its record's page has seen.
NOT_MET, PARKED = -1, -2


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items, so many at a time."""
    for first in range(0, len(items), size):
        yield items[first : first + size]
