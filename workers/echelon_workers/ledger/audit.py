"""Holding the whole of Redis against the life of a job (docs/job-life.md), while the cluster runs, and mending it.

Everything is read in pages, and each page is judged in the step that reads it: what it finds is so at that moment,
whatever goes on around it. Only whether a queued job is in a list, or in two, takes a walk along whole lists; whoever
was not met, or met twice, is looked at again in one step. An audit is a walk of verbs, for threads and event loops.
"""

import json
import time
from typing import Any

from .audit_counts import Counts
from .audit_keys import EXPIRING_MS, NEEDED, TYPES, audit_types, name_of
from .audit_lists import Lists
from .audit_report import AuditReport, Finding
from .audit_walk import NOT_MET, PARKED, Chart, Walk, chunks
from .client import AsyncLedger, Ledger
from .keys import Keys

KEYS_A_PAGE = 300
_MEMBERS_A_PAGE = 500
#: What is kept for as long as a configuration says nothing else.
_RETENTION_MS = 86_400_000


def audit(ledger: Ledger, fix: bool = False) -> AuditReport:
    """Audit the cluster; with `fix`, repair what is wrong. Raises redis.RedisError when Redis cannot be reached."""
    document: Any = ledger.redis.hget(ledger.keys.of("revision"), "document")
    return ledger.follow(audit_walk(ledger.keys, fix=fix, retention_ms=retention_of(document)))


async def audit_async(ledger: AsyncLedger, fix: bool = False) -> AuditReport:
    """As `audit`, in an event loop."""
    document: Any = await ledger.redis.hget(ledger.keys.of("revision"), "document")
    return await ledger.follow(audit_walk(ledger.keys, fix=fix, retention_ms=retention_of(document)))


def retention_of(document: bytes | None) -> int:
    """For how many ms a published configuration keeps what has ended."""
    try:
        return int(json.loads(document or b"")["defaults"]["retention_s"] * 1000)
    except (ValueError, TypeError, KeyError):
        return _RETENTION_MS


def audit_walk(keys: Keys, *, fix: bool = False, retention_ms: int = _RETENTION_MS) -> Walk[AuditReport]:
    """The whole audit: records first, then the places, then what was suspicious, then the counters."""
    began = time.monotonic()
    chart = Chart(keys, fix, retention_ms)
    beginning = yield from _begin(chart)
    if len(beginning) > 1:  # else a key that all depends on is of the wrong type
        yield from _audit_all(chart, *beginning)
    return AuditReport(
        findings=tuple(chart.findings.values()),
        fix=fix,
        jobs=chart.jobs,
        calls=chart.calls,
        took_ms=int((time.monotonic() - began) * 1000),
        longest_call_ms=chart.longest_call_ms,
    )


def _begin(chart: Chart) -> Walk[list[Any]]:
    return (yield from chart.ask("audit", "begin", *(word for name in NEEDED for word in (name, TYPES[name]))))


def _audit_all(chart: Chart, now: bytes, counts: list[bytes], plans: list[bytes], dropped: list[bytes]) -> Walk[None]:
    before = Counts()
    before.read(counts)
    chart.queues |= {queue.decode(errors="replace") for queue in (*plans, *dropped)}
    chart.queues |= {name.partition(":")[2] for name in before.said if name.startswith(("running:", "delayed:"))}
    found, holders = yield from _audit_records(chart, before, int(now))
    for finding in audit_types(chart.keys, found.items()):
        chart.note(finding)
    named = [name_of(chart.keys, key) for key in found]
    parked = [suffix for name in named if name is not None and name[0] == "parked" for suffix in name[1:]]
    chart.queues |= {place.partition(" ")[0] for place in parked}
    yield from _audit_expiring(chart, list(found))
    yield from Lists(chart).audit()
    yield from _audit_sets(chart, parked)
    scopes = [name[1] for name in named if name is not None and name[0] == "scope"]
    yield from before.audit(chart, scopes, parked)
    if plans:
        yield from _audit_queues(chart, holders)


def _audit_records(chart: Chart, counts: Counts, since: int) -> Walk[tuple[dict[str, str], dict[str, int]]]:
    """All records. Returns the other keys with their types, and how many jobs that wait each queue has."""
    keys: dict[str, str] = {}
    holders: dict[str, int] = {}
    cursor = b"0"
    while True:
        cursor, jobs, groups, others = yield from chart.ask(
            "audit", "records", cursor, KEYS_A_PAGE, since, chart.retention_ms
        )
        chart.jobs += jobs
        words = [word.decode(errors="backslashreplace") for word in others]
        keys.update(zip(words[::2], words[1::2], strict=True))
        for name, ids in zip(groups[::2], groups[1::2], strict=True):
            named = name.decode(errors="backslashreplace")
            state, when, place, queue, node = named.split("\n", 4)
            new = _read_jobs(chart, state, ids, PARKED if place == "parked" else NOT_MET)
            counts.add(state, queue, node, when, new)
            if state != "else":
                chart.queues.add(queue)
                holders[queue] = holders.get(queue, 0) + new
        if cursor == b"0":
            return keys, holders


def _read_jobs(chart: Chart, state: str, ids: list[bytes], place: int) -> int:
    """Note the jobs of a page. Returns how many are new: a page may bring one again."""
    if state == "queued":
        new = [id for id in ids if id not in chart.seen and id not in chart.others]
        chart.seen.update(dict.fromkeys(new, place))
    else:
        new = [id for id in ids if id not in chart.others and id not in chart.seen]
        chart.others.update(new)
    return len(new)


def _audit_sets(chart: Chart, parked: list[str]) -> Walk[None]:
    """Those that are delayed, run, are dead, have a deadline, or are parked."""
    places = [(name, "", "") for name in ("running", "delayed", "dead", "deadlines")]
    places += [("parked", queue, node) for queue, _, node in (place.partition(" ") for place in parked)]
    for name, queue, node in places:
        cursor = b"0"
        while True:
            (cursor,) = yield from chart.ask("audit", "zset", name, queue, node, cursor, _MEMBERS_A_PAGE)
            if cursor == b"0":
                break


def _audit_expiring(chart: Chart, keys: list[str]) -> Walk[None]:
    named = ((key, name_of(chart.keys, key)) for key in keys)
    lasting = [(key, EXPIRING_MS[name[0]]) for key, name in named if name is not None and name[0] in EXPIRING_MS]
    for some in chunks(lasting, 200):
        yield from chart.ask("audit", "expiring", *(word for pair in some for word in pair))


def _audit_queues(chart: Chart, holders: dict[str, int]) -> Walk[None]:
    """Queues that have jobs and that nobody knows, not even a revision that was published meanwhile."""
    beginning = yield from _begin(chart)
    known = {queue.decode(errors="replace") for names in beginning[2:] for queue in names}
    for queue in sorted(holders.keys() - known):
        if holders[queue]:
            chart.note(Finding("queue-unknown", queue, f"{holders[queue]:,} jobs wait", False))
