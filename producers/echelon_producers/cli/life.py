"""The life of a job for people: where it is, and every attempt, with what was decided then."""

import textwrap
from collections.abc import Iterator
from typing import Any

from echelon_workers.ledger.record import JobRecord

from .jobs import failure, moment, waits_for

_INDENT = 11


def life(record: JobRecord, columns: int) -> Iterator[str]:
    """The lines, none longer than so many columns unless a name is."""
    yield f"job {record.id}"
    for name, value in _facts(record):
        yield from _row(name, value, columns)
    again = {redrive["after"]: redrive for redrive in record.redrives}
    number, why = 0, f"sent to {record.target or record.home}"
    for place, entry in enumerate(record.trail):
        if place in again:
            number, why = 0, "sent again"
            yield from _sent_again(again[place], columns)
        spends = bool(entry.get("instance")) and entry.get("decision") != "wait"
        number += spends
        yield ""
        yield from _attempt(entry, f"attempt {number}" if spends else "no attempt", why, columns)
        why = _why_next(entry)
    if len(record.trail) in again:
        yield from _sent_again(again[len(record.trail)], columns)


def _facts(record: JobRecord) -> Iterator[tuple[str, str]]:
    yield "state", record.state
    moved = record.home and record.home != record.queue
    yield "queue", f"{record.queue}, sent to {record.home}" if moved else record.queue
    yield "target", f"{record.target} under node {record.node}" if record.node else record.target
    yield "priority", str(record.priority) if record.priority else ""
    yield "submitted", moment(record.created_ms)
    yield "deadline", moment(record.deadline_ms) if record.deadline_ms and not record.has_ended else ""
    yield "running", f"{record.instance} since {moment(record.started_ms)}" if record.state == "running" else ""
    since = f" since {moment(record.waits_since_ms)}" if record.waits_since_ms else ""
    yield "waits", f"{waits_for(record).removeprefix('waits ')}{since}" if record.waits_for else ""
    if record.ended_ms:
        lasted = _seconds(record.ended_ms - record.created_ms)
        yield "ended", f"{moment(record.ended_ms)}, {lasted} after it was submitted"
    if record.answer is not None:
        usage = record.answer.usage
        tokens = f"{usage.input_tokens:,} + {usage.output_tokens:,} tokens"
        yield "answer", f"{tokens} by {record.answer.instance}, {record.answer.finish_reason}"
    yield "error", failure(record.error)
    yield "because", str((record.error or {}).get("because", ""))


def _attempt(entry: dict[str, Any], which: str, why: str, columns: int) -> Iterator[str]:
    yield f"{which}  {entry.get('queue', '?')}  {entry.get('instance') or 'no instance'}"
    error = entry.get("error")
    rows = {
        "why": why,
        "started": f"{moment(entry.get('started_ms', 0))}, took {_seconds(entry.get('took_ms', 0))}",
        "outcome": failure(error) if error else str(entry.get("outcome", "")),
        "tokens": _tokens(entry),
        "then": _then(entry),
    }
    for name, value in rows.items():
        yield from _row(name, value, columns)
    for skipped in entry.get("skipped", ()):
        passed = " ".join(filter(None, (skipped.get("queue"), skipped.get("instance"))))
        yield from _row("not", f"{passed}: {skipped.get('why', '')}".removeprefix(": "), columns)


def _tokens(entry: dict[str, Any]) -> str:
    usage, cost = entry.get("usage") or {}, entry.get("cost_usd")
    tokens = f"{usage.get('input_tokens', 0):,} + {usage.get('output_tokens', 0):,}"
    if tokens == "0 + 0" and not cost:
        return ""
    return f"{tokens}, {cost} USD" if cost else tokens


def _then(entry: dict[str, Any]) -> str:
    """The decision, in words."""
    delay = f" after {_seconds(entry['delay_ms'])}" if entry.get("delay_ms") else ""
    decided = {
        "answer": "answered",
        "retry": f"again in {entry.get('queue', 'its queue')}{delay}",
        "wait": "waits for an instance; no attempt is spent",
        "move": f"on to {entry.get('to', 'another queue')}{delay}",
        "bury": "dead",
    }
    told = decided.get(str(entry.get("decision")), str(entry.get("decision", "")))
    because = entry.get("because")
    return f"{told} ({because})" if because and entry.get("decision") in ("retry", "move") else told


def _why_next(entry: dict[str, Any]) -> str:
    """Why the next attempt was made where it was: what was decided after this one."""
    if entry.get("decision") == "wait":
        return "the instance before wanted no calls"
    return str(entry.get("because") or "tried again")


def _sent_again(redrive: dict[str, Any], columns: int) -> Iterator[str]:
    yield ""
    reason = failure(redrive.get("reason"))
    was = f"it was {redrive.get('state', 'dead')}" + (f": {reason}" if reason else "")
    yield from _row("again", f"{moment(redrive.get('at_ms', 0))}, sent again; {was}", columns)


def _row(name: str, value: str, columns: int) -> Iterator[str]:
    """A name and a value, which goes on below itself; nothing where there is no value."""
    if value:
        indent = " " * (_INDENT + 2)
        width = max(columns, _INDENT + 30)
        yield from textwrap.wrap(value, width, initial_indent=f"  {name:<{_INDENT}}", subsequent_indent=indent)


def _seconds(ms: int) -> str:
    return f"{ms:,} ms" if ms < 1000 else f"{ms / 1000:,.1f} s"
