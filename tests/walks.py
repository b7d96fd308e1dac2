"""A job on its way: attempt after attempt, each decision carried out as the ledger does."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from echelon_configs import Configuration
from echelon_workers.decision import Decision, Job, decide, job_of
from echelon_workers.errors import BY_CODE, AttemptFailed
from echelon_workers.ledger.job import parse_request
from echelon_workers.ledger.options import Options
from echelon_workers.strategies import Attempt

FOREVER = float("inf")


def job(
    configuration: Configuration, target: str, node: str = "", fallbacks: list[str] | None = None, **request: Any
) -> Job:
    """A job where it was sent to."""
    queue = configuration.resolve(target, node or None).queue
    asked = parse_request({"prompt": "hello", **request})
    options = Options(fallback_groups=None if fallbacks is None else tuple(fallbacks)).to_json()
    return job_of(configuration, queue=queue, target=target, node=node, request=asked, options=options)


def failures(codes: str) -> list[AttemptFailed]:
    return [BY_CODE[code]("scripted") for code in codes.split()]


def walk(
    configuration: Configuration,
    start: Job,
    codes: str | Iterable[AttemptFailed] = "server_failed",
    *,
    closed: Collection[str] = (),
    left_ms: float = FOREVER,
) -> list[tuple[str, Decision]]:
    """Where each attempt was (`queue instance`) and what was decided after it; the last failure is repeated.

    The instance of an attempt is the first of its queue that is neither avoided nor closed.
    """
    script = failures(codes) if isinstance(codes, str) else list(codes)
    path: list[tuple[str, Decision]] = []
    trail: tuple[Attempt, ...] = ()
    here, avoid = start, frozenset[str]()
    while True:
        members = dict.fromkeys(member.instance for member in configuration.queues[here.queue].members)
        able = [name for name in members if name not in avoid]
        instance = next((name for name in able if name not in closed), able[0])
        failure = script[min(len(path), len(script) - 1)]
        found = decide(configuration, here, trail, failure, instance=instance, left_ms=left_ms, closed=closed)
        path.append((f"{here.queue} {instance}", found))
        if found.ends or found.verdict == "wait":
            return path
        left_ms -= found.delay.most_ms
        trail = (*trail, Attempt(here.queue, instance, failure.code, failure.retry, found.delay.most_ms > 0))
        here, avoid = replace(here, queue=found.queue), frozenset(found.avoid)


def places(path: list[tuple[str, Decision]]) -> list[str]:
    return [place for place, _ in path]
