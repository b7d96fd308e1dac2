"""The life of a job for people: where it is, and every attempt, with what was decided then."""

import textwrap
from collections.abc import Iterator
from typing import Any

from echelon_workers.ledger.record import JobRecord, whole_number

from .jobs import failure, moment, shown, waits_for

_INDENT = 11
#: Why the attempt after it was made where it was.
_WHY_AFTER = {
    "redrive": "sent again",
    "lapse": "its lease had lapsed",
    "relocate": "an operator moved it there",
}


def life(record: JobRecord, columns: int) -> Iterator[str]:
    """The lines, none longer than so many columns unless a name is."""
    yield f"job {record.id}"
    for name, value in _facts(record):
        yield from _row(name, value, columns)
    number, why = 0, f"sent to {record.target or record.home}"
    for place, entry in enumerate([*record.trail, None]):
        for event in (event for event in record.events if event.get("after") == place):
            yield ""
            yield from _row(*_event(event), columns)
            number, why = (0 if event.get("decision") == "redrive" else number), _WHY_AFTER.get(event["decision"], why)
        if entry is None:
            return
        spends = bool(entry.get("instance")) and entry.get("decision") != "wait"
        number += spends
        yield ""
        yield from _attempt(entry, f"attempt {number}" if spends else "no attempt", why, columns)
        why = _why_next(entry)


def _facts(record: JobRecord) -> Iterator[tuple[str, str]]:
    yield "state", _state(record)
    moved = record.home and record.home != record.queue
    yield "queue", f"{record.queue}, sent to {record.home}" if moved else record.queue
    yield "target", f"{record.target} under node {record.node}" if record.node else record.target
    yield "priority", str(record.priority) if record.priority else ""
    yield "submitted", moment(record.created_ms)
    yield "deadline", moment(record.deadline_ms) if record.deadline_ms and not record.has_ended else ""
    yield "running", f"{record.instance} since {moment(record.started_ms)}" if record.state == "running" else ""
    since = f" since {moment(record.waits_since_ms)}" if record.waits_since_ms else ""
    yield "waits", f"{waits_for(record).removeprefix('waits ')}{since}" if record.waits_for else ""
    if record.ended_ms and record.has_ended:
        lasted = _seconds(record.ended_ms - record.created_ms)
        yield "ended", f"{moment(record.ended_ms)}, {lasted} after it was submitted"
    if record.answer is not None:
        usage = record.answer.usage
        tokens = f"{usage.input_tokens:,} + {usage.output_tokens:,} tokens"
        yield "answer", f"{tokens} by {record.answer.instance}, {record.answer.finish_reason}"
    yield "error", failure(record.error)
    yield "because", shown((record.error or {}).get("because", ""))


def _state(record: JobRecord) -> str:
    """Its state, since when, and why: what its last change of state was for."""
    since = f" since {moment(record.changed_ms)}" if record.changed_ms else ""
    return f"{shown(record.state)}{since}" + (
        f": {shown(record.cause)}" if record.cause not in ("", record.state) else ""
    )


def _attempt(entry: dict[str, Any], which: str, why: str, columns: int) -> Iterator[str]:
    yield f"{which}  {shown(entry.get('queue', '?'))}  {shown(entry.get('instance') or 'no instance')}"
    error = entry.get("error")
    rows = {
        "why": why,
        "started": f"{_when(entry, 'started_ms')}, took {_seconds(whole_number(entry.get('took_ms')))}",
        "outcome": failure(error) if error else shown(entry.get("outcome", "")),
        "tokens": _tokens(entry),
        "then": _then(entry),
    }
    for name, value in rows.items():
        yield from _row(name, value, columns)
    skipped = entry.get("skipped")
    for each in skipped if isinstance(skipped, list) else ():
        if isinstance(each, dict):
            passed = " ".join(shown(each[name]) for name in ("queue", "instance") if each.get(name))
            yield from _row("not", f"{passed}: {shown(each.get('why', ''))}".removeprefix(": "), columns)


def _tokens(entry: dict[str, Any]) -> str:
    usage, cost = entry.get("usage"), entry.get("cost_usd")
    counted = usage if isinstance(usage, dict) else {}
    tokens = " + ".join(f"{whole_number(counted.get(name)):,}" for name in ("input_tokens", "output_tokens"))
    if tokens == "0 + 0" and not cost:
        return ""
    return f"{tokens}, {shown(cost)} USD" if cost else tokens


def _then(entry: dict[str, Any]) -> str:
    """The decision, in words."""
    delay_ms, decision = whole_number(entry.get("delay_ms")), shown(entry.get("decision", ""))
    delay = f" after {_seconds(delay_ms)}" if delay_ms else ""
    decided = {
        "answer": "answered",
        "retry": f"again in {shown(entry.get('queue', 'its queue'))}{delay}",
        "wait": "waits for an instance; no attempt is spent",
        "move": f"on to {shown(entry.get('to', 'another queue'))}{delay}",
        "hold": "stays where it is: every instance is out, and there is nowhere to go",
        "bury": "dead",
        "expire": "expired: its deadline passed while it ran",
        "expired": "expired: its deadline passed while it waited",
        "cancel": "cancelled",
    }
    told, because = decided.get(decision, decision), entry.get("because")
    return f"{told} ({shown(because)})" if because and decision in ("retry", "move") else told


def _why_next(entry: dict[str, Any]) -> str:
    """Why the next attempt was made where it was: what was decided after this one."""
    if entry.get("decision") == "wait":
        return "the instance before wanted no calls"
    return shown(entry.get("because") or "tried again")


def _event(event: dict[str, Any]) -> tuple[str, str]:
    """What befell a job beside its attempts: a name, and what it was."""
    kind, at = event["decision"], _when(event, "at_ms")
    if kind == "redrive":
        reason = failure(event.get("reason"))
        was = f"it was {shown(event.get('state', 'dead'))}" + (f": {reason}" if reason else "")
        return "again", f"{at}, sent again; {was}"
    if kind == "lapse":
        return "lapsed", f"{at}, {_lapse(event)}"
    if kind == "late":
        outcome = shown(event.get("outcome") or "unknown")
        return "late", f"{at}, an end ({outcome}) came after its lease was lost, and was refused"
    if kind == "relocate":
        return "moved", f"{at}, by an operator, from {shown(event.get('from', '?'))} to {shown(event.get('to', '?'))}"
    return "unreadable", shown(event.get("message", ""))


def _lapse(event: dict[str, Any]) -> str:
    """A lease that nobody renewed. Who held it may only have been cut off, and its call may have arrived."""
    told = f"its worker {shown(event.get('worker') or '?')} was not heard of for as long as the lease lasts"
    if not event.get("instance"):
        return told
    began = f", begun {_when(event, 'started_ms')}," if event.get("started_ms") else ""
    return f"{told}: the call to {shown(event['instance'])}{began} may have gone on at the provider"


def _when(entry: dict[str, Any], name: str) -> str:
    return moment(whole_number(entry.get(name)))


def _row(name: str, value: str, columns: int) -> Iterator[str]:
    """A name and a value, which goes on below itself; nothing where there is no value."""
    if value:
        indent = " " * (_INDENT + 2)
        width = max(columns, _INDENT + 30)
        yield from textwrap.wrap(value, width, initial_indent=f"  {name:<{_INDENT}}", subsequent_indent=indent)


def _seconds(ms: int) -> str:
    return f"{ms:,} ms" if ms < 1000 else f"{ms / 1000:,.1f} s"
