"""Limits seen from the simulator, against what was in force: each violation is one line.

Times are ns of the monotonic clock of this machine, which the simulator's log shares. Three things are counted apart:

- A worker that was killed or stopped still has its calls at the provider when their leases lapse. From then on they are
  nobody's: the trail says when that was (`lapse`).
- A call whose client went away ends for the client before the simulator hears of it: up to `_GONE_NS`.
- A call may be held up on this machine between its worker and the simulator (two cores, many processes; a SIGSTOP at
  that very moment). One that took longer than `_ON_ITS_WAY_NS` counts when its worker started it, and a window is
  looked at without its last `_NOISE_NS`. What is over the limit then is over it by grants, not by noise.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .books import Job
from .limits import BUCKET_PER_MINUTE, BUCKET_SIZE, INSTANCES, MINUTE_S, NODE, POOL_S, WINDOW_S, Revisions

_MS = 1_000_000
_S = 1_000_000_000
_MINUTE = 60 * _S
_ON_ITS_WAY_NS = 100 * _MS
_NOISE_NS = 100 * _MS
_GONE_NS = 250 * _MS
#: A grant without a rate may be used for as long as its lease is good.
_GRANT_NS = 6 * _S


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it counts: when it came (`at_ns`), when it came by the rules of noise above (`least_ns`), and until
    when it was somebody's."""

    job: str
    instance: str
    at_ns: int
    least_ns: int
    end_ns: int
    tokens: int
    lapsed: bool


def calls_of(rows: Sequence[Mapping[str, Any]], jobs: Mapping[str, Job]) -> list[Call]:
    """The calls in order of arrival."""
    return [_call(row, jobs.get(row["job"])) for row in rows]


def _call(row: Mapping[str, Any], job: Job | None) -> Call:
    at_ns = least_ns = row["monotonic_ns"]
    ahead_ns = row["time_ns"] - at_ns
    end_ns = row["done_ns"] or at_ns + 3600 * _S
    if row["client_gone"]:
        end_ns = max(at_ns, end_ns - _GONE_NS)
    lines = [line for line in (job.trail if job else ()) if line.get("instance") == row["instance"]]
    # The clocks of Redis and of the simulator are the machine's, in ms.
    before = [line for line in lines if line.get("started_ms", 0) * _MS - ahead_ns <= at_ns + 2 * _MS]
    lapsed = False
    if before:
        line = max(before, key=lambda line: line["started_ms"])
        started_ns = line["started_ms"] * _MS - ahead_ns
        if line.get("decision") == "lapse":
            lapsed = True
            end_ns = max(at_ns, min(end_ns, line["at_ms"] * _MS - ahead_ns))
        elif started_ns + line.get("took_ms", 0) * _MS + _S < at_ns:
            started_ns = at_ns  # that one was over by then: this call has left no line
        if at_ns - started_ns > _ON_ITS_WAY_NS:
            least_ns = started_ns
    tokens = row["tokens_in"] + row["tokens_out"] if row["admitted"] else 0
    return Call(row["job"], row["instance"], at_ns, min(at_ns, least_ns), end_ns, tokens, lapsed)


def _of(scope: str, calls: Sequence[Call], targets: Mapping[str, str]) -> list[Call]:
    if scope == "node":
        return [call for call in calls if targets.get(call.job) == NODE]
    # A probe of an instance's health takes permits as a job does, but goes through no pool.
    return [call for call in calls if call.instance in INSTANCES[scope] and (call.job or scope != "pool")]


def violations(calls: Sequence[Call], targets: Mapping[str, str], revisions: Revisions) -> list[str]:
    """Every arrival above a limit."""

    found = []
    for scope in ("group", "echelon", "model", "node"):
        found += _at_once(scope, _of(scope, calls, targets), revisions)
    one: Callable[[Call], int] = lambda call: 1  # noqa: E731
    for scope, window_s in (("window", WINDOW_S), ("pool", POOL_S), ("minute", MINUTE_S)):
        found += _window(scope, _of(scope, calls, targets), window_s, one, revisions)
    found += _window("tokens", _of("tokens", calls, targets), MINUTE_S, lambda call: call.tokens, revisions)
    return found + _bucket(_of("bucket", calls, targets))


def _at_once(scope: str, calls: Sequence[Call], revisions: Revisions) -> list[str]:
    found = []
    ends = sorted(call.end_ns for call in calls)
    for number, call in enumerate(calls):
        there = number + 1 - bisect_right(ends, call.at_ns)
        limit = revisions.most(scope, call.least_ns - _GRANT_NS, call.at_ns)
        if there > limit:
            others = [other for other in calls[: number + 1] if other.end_ns > call.at_ns]
            found.append(f"{scope}: {there} at once, {limit} may, at {_at(call)}: {_named(others)}")
    return found


def _window(
    scope: str, calls: Sequence[Call], window_s: float, amount: Callable[[Call], int], revisions: Revisions
) -> list[str]:
    found = []
    ordered = sorted(calls, key=lambda call: call.least_ns)
    window_ns = round(window_s * _S) - _NOISE_NS
    total = left = 0
    for right, call in enumerate(ordered):
        total += amount(call)
        while ordered[left].least_ns <= call.least_ns - window_ns:
            total -= amount(ordered[left])
            left += 1
        limit = revisions.most(scope, call.least_ns - round(window_s * _S), call.at_ns)
        if total > limit:
            within = ordered[left : right + 1]
            found.append(f"{scope}: {total} in {window_s:g} s, {limit} may, at {_at(call)}: {_named(within[-40:])}")
    return found


def _bucket(calls: Sequence[Call]) -> list[str]:
    """At most the bucket and what flows in, in any stretch (bench/lawful.py has it without noise)."""
    found, least = [], None
    size = BUCKET_SIZE * _MINUTE + BUCKET_PER_MINUTE * _NOISE_NS
    for number, call in enumerate(sorted(calls, key=lambda call: call.least_ns)):
        level = number * _MINUTE - BUCKET_PER_MINUTE * call.least_ns
        least = level if least is None else min(least, level)
        if level + _MINUTE - least > size:
            found.append(f"bucket: {(level + _MINUTE - least) / _MINUTE:.2f} of {BUCKET_SIZE} at {_at(call)}")
    return found


def _at(call: Call) -> str:
    return f"{call.at_ns / _S:.3f} s ({call.job})"


def _named(calls: Sequence[Call]) -> str:
    return ", ".join(
        f"{call.job}@{call.instance} {call.at_ns / _S:.3f}-{call.end_ns / _S:.3f}{'L' if call.lapsed else ''}"
        for call in calls
    )
