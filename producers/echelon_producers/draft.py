"""From what a producer says to a job that submit accepts: the target resolved, everything validated."""

import re
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from echelon_configs import Configuration, Resolved, UnknownTarget
from echelon_workers.ledger.job import RequestInvalid, parse_request
from echelon_workers.ledger.verbs import NewJob

from .errors import SubmitInvalid

#: A prompt of several megabytes is an upload, not a job.
MOST_REQUEST_BYTES = 8 * 1024 * 1024
LONGEST_DEADLINE_S = 30 * 86_400
#: What a job is told beside its request.
OPTIONS = frozenset({"id", "target", "node", "priority", "deadline_s"})
#: As for the ids that foreign Celery clients choose (echelon_workers/adoption.py).
_ID = re.compile(r"[A-Za-z0-9._:-]{1,200}")
_LONGEST_NAME = 300


def draft(configuration: Configuration, job: Mapping[str, Any]) -> NewJob:
    """Make a job of a mapping with `target`, the options `id`, `node`, `priority` (0-9, higher first) and
    `deadline_s`, and the fields of the request. An option that is None is one left out. Raises SubmitInvalid."""
    resolved = _resolved(configuration, job.get("target"), job.get("node"))
    return NewJob(
        id=_id(job.get("id")),
        queue=resolved.queue,
        target=resolved.target,
        node=resolved.node.name if resolved.node else "",
        priority=_priority(job.get("priority")),
        deadline_ms=_deadline_ms(job.get("deadline_s"), configuration),
        request=_request(job),
    )


def _resolved(configuration: Configuration, target: object, node: object) -> Resolved:
    for where, name in (("target", target), ("node", node)):
        if name is not None and not (isinstance(name, str) and len(name) <= _LONGEST_NAME):
            raise _wrong(where, "not a name (would be right: a string such as 'fast_group.echelon1')")
    if target is None and node is None:
        what = "missing (would be right: 'group.echelon', 'group', 'pool.NAME', 'node.NAME' or 'model.NAME')"
        raise _wrong("target", what)
    try:
        return configuration.resolve(f"node.{node}" if target is None else str(target), node)  # type: ignore[arg-type]
    except UnknownTarget as exc:
        where = "node" if exc.target == f"node.{node}" else "target"
        raise SubmitInvalid([(where, str(exc))], "unknown_target") from exc


def _request(job: Mapping[str, Any]) -> bytes:
    try:
        text = parse_request({name: value for name, value in job.items() if name not in OPTIONS}).to_json().encode()
    except RequestInvalid as exc:
        # Each line is "field: what is wrong".
        parts = [line.partition(": ") for line in exc.problems]
        raise SubmitInvalid([(where, what) for where, _, what in parts]) from exc
    if len(text) > MOST_REQUEST_BYTES:
        raise _wrong("request", f"{len(text)} bytes (would be right: at most {MOST_REQUEST_BYTES})")
    return text


def _id(id: object) -> str:
    if id is None:
        return str(uuid4())
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise _wrong("id", "not usable (would be right: a string of 1 to 200 of A-Z a-z 0-9 . _ : -)")
    return id


def _priority(priority: object) -> int:
    if priority is None:
        return 0
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= 9:
        raise _wrong("priority", "not a whole number from 0 to 9 (9 goes first)")
    return priority


def _deadline_ms(deadline_s: object, configuration: Configuration) -> int:
    if deadline_s is None:
        return int(configuration.defaults.deadline_s * 1000)
    is_number = isinstance(deadline_s, int | float) and not isinstance(deadline_s, bool)
    if not is_number or not 0 < deadline_s <= LONGEST_DEADLINE_S:  # type: ignore[operator]
        raise _wrong("deadline_s", "not a number of seconds above 0, up to 30 days (2592000)")
    return max(1, int(deadline_s * 1000))  # type: ignore[operator]


def _wrong(where: str, what: str) -> SubmitInvalid:
    return SubmitInvalid([(where, what)])
