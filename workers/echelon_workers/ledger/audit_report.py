"""What an audit of Redis can find, and what it has found."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """One kind of finding: what it says, and what --fix does about it ('' where it is only told). A `note` is nothing
    wrong: it is left over, or good to know."""

    says: str
    remedy: str
    note: bool = False


#: By their codes, which stay. The Lua scripts `audit*.lua` find them, and docs/job-life.md explains them.
KINDS: dict[str, Kind] = {
    "job-without-place": Kind("jobs without a place", "back to the head of their queues"),
    "place-without-job": Kind("places without a job", "taken out"),
    "misplaced": Kind("jobs in the list of another queue", "back to the head of their own"),
    "copy": Kind("jobs in two places", "one stays"),
    "lease-without-holder": Kind("leases without a holder: no worker reaps them (start one: `echelon worker`)", ""),
    "counter": Kind("counters that differ from what is there", "set right"),
    "state-lost": Kind("jobs whose state is none", "queued again, or ended as their fields say"),
    "record-damaged": Kind("records with fields that cannot be used", "these fields set anew"),
    "record-unreadable": Kind("records that name no queue (look at them: HGETALL; DEL gives them up)", ""),
    "record-wrong-type": Kind("records that are no hashes (DEL gives them up)", ""),
    "kept-for-ever": Kind("ended jobs whose records never expire", "they expire after the retention"),
    "expires-alive": Kind("jobs that have not ended whose records expire", "they are kept"),
    "dead-not-listed": Kind("dead jobs missing in the index of the dead", "listed"),
    "deadline-not-watched": Kind("jobs whose deadline nobody watches", "watched"),
    "parked-not-watched": Kind("parked jobs that nobody looks at", "looked at"),
    "stays-left": Kind("jobs held for longer than any hold", "let go"),
    "waits-left": Kind("jobs said to wait for a node that they do not wait for", "no longer said"),
    "cancel-left": Kind("jobs that wait, and somebody wanted cancelled", "cancelled"),
    "entry-for-ever": Kind("entries of workers that never expire", "they expire"),
    "probe-for-ever": Kind("health probes that nobody ends", "they end"),
    "key-wrong-type": Kind("keys of the wrong type (RENAME or DEL them by hand)", ""),
    "queue-no-list": Kind("queues whose keys are no lists (RENAME or DEL them by hand)", ""),
    "queue-unknown": Kind("queues with jobs that no revision knows (`echelon queue move`)", ""),
    "tombstone": Kind("ids that jobs left deep in lists, which take passes over", "taken out", note=True),
    "dead-gone": Kind("entries of dead jobs whose records are gone", "taken out", note=True),
    "order-for-nothing": Kind("orders for queues that there are not (`echelon queue resume`)", "", note=True),
    "clock-ahead": Kind("the cluster's time is ahead of the server's clock, which was set back", "", note=True),
    "set-aside": Kind("keys that had become something else, set aside for a week", "", note=True),
    "key-unknown": Kind("keys that this version does not know", "", note=True),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: its kind, the job or key, what is wrong with it, and whether it was repaired."""

    code: str
    subject: str
    detail: str
    fixed: bool

    @property
    def kind(self) -> Kind:
        """What its code stands for."""
        return KINDS[self.code]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What one audit found. `jobs`: records that it read; `calls`: scripts that it ran, of which the longest took
    `longest_call_ms` there and back."""

    findings: tuple[Finding, ...]
    fix: bool
    jobs: int
    calls: int
    took_ms: int
    longest_call_ms: float

    @property
    def faults(self) -> tuple[Finding, ...]:
        """What is wrong, repaired or not, without the notes."""
        return tuple(finding for finding in self.findings if not finding.kind.note)

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong, or all of it was repaired."""
        return all(finding.fixed for finding in self.faults)

    def by_code(self) -> dict[str, list[Finding]]:
        """The findings of each kind, in the order of KINDS."""
        found: dict[str, list[Finding]] = {code: [] for code in KINDS}
        for finding in self.findings:
            found[finding.code].append(finding)
        return {code: findings for code, findings in found.items() if findings}

    def to_json(self) -> dict[str, Any]:
        """One JSON object."""
        return {
            "well": self.is_well,
            "fix": self.fix,
            "jobs": self.jobs,
            "calls": self.calls,
            "took_ms": self.took_ms,
            "longest_call_ms": round(self.longest_call_ms, 1),
            "findings": [_to_json(finding) for finding in self.findings],
        }


def read_findings(reply: Iterable[bytes]) -> list[Finding]:
    """As `lua/parts/findings.lua` writes them. What is no text is shown as Python shows bytes."""
    words = [word.decode(errors="backslashreplace") for word in reply]
    rows = zip(words[::4], words[1::4], words[2::4], words[3::4], strict=True)
    return [Finding(code, subject, detail, mended == "1") for code, subject, detail, mended in rows]


def _to_json(finding: Finding) -> dict[str, Any]:
    shown = {"code": finding.code, "subject": finding.subject, "detail": finding.detail}
    return {**shown, "note": finding.kind.note, "fixed": finding.fixed}
