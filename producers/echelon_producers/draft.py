"""From what a producer says to a job that submit accepts: the target resolved, everything validated."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from echelon_configs import Configuration, UnknownTarget
from echelon_workers.ledger.job import RequestInvalid, parse_request
from echelon_workers.ledger.verbs import NewJob

from .errors import SubmitInvalid

#: A prompt of several megabytes is an upload, not a job.
MOST_REQUEST_BYTES = 8 * 1024 * 1024
_OPTIONS = frozenset({"id", "target", "node", "priority", "deadline_s"})


def draft(configuration: Configuration, job: Mapping[str, Any]) -> NewJob:
    """Make a job of a mapping with `target`, the options `id`, `node`, `priority` (0-9, higher first) and
    `deadline_s`, and the fields of the request. Raises SubmitInvalid."""
    target, node = job.get("target"), job.get("node")
    if target is None:
        if not node:
            raise SubmitInvalid("no target (would be right: target='group.echelon', 'group', 'pool.NAME', 'node.NAME' or 'model.NAME')")
        target = f"node.{node}"
    try:
        resolved = configuration.resolve(target, node)
        request = parse_request({name: value for name, value in job.items() if name not in _OPTIONS})
    except (UnknownTarget, RequestInvalid) as exc:
        raise SubmitInvalid(str(exc)) from exc
    text = request.to_json()
    if len(text) > MOST_REQUEST_BYTES:
        raise SubmitInvalid(f"the request has {len(text)} characters (would be right: at most {MOST_REQUEST_BYTES})")
    return NewJob(
        id=_id(job.get("id")),
        queue=resolved.queue,
        target=target,
        node=resolved.node.name if resolved.node else "",
        priority=_priority(job.get("priority", 0)),
        deadline_ms=_deadline_ms(job.get("deadline_s"), configuration),
        request=text,
    )


def _id(id: object) -> str:
    if id is None:
        return str(uuid4())
    if not isinstance(id, str) or not 0 < len(id) <= 200 or not all(c.isalnum() or c in "-_.:" for c in id):
        raise SubmitInvalid(f"id {id!r:.80}: not usable (would be right: up to 200 letters, digits and - _ . :)")
    return id


def _priority(priority: object) -> int:
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= 9:
        raise SubmitInvalid(f"priority {priority!r:.40}: not a whole number from 0 to 9 (9 goes first)")
    return priority


def _deadline_ms(deadline_s: object, configuration: Configuration) -> int:
    if deadline_s is None:
        return int(configuration.defaults.deadline_s * 1000)
    if isinstance(deadline_s, bool) or not isinstance(deadline_s, int | float) or not 0 < deadline_s <= 30 * 86400:
        raise SubmitInvalid(f"deadline_s {deadline_s!r:.40}: not a number of seconds above 0, up to 30 days")
    return max(1, int(deadline_s * 1000))
