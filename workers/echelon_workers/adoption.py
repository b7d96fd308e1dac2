"""Foreign messages: jobs that a plain Celery client sent, which has nothing of ours installed.

Such a message (protocol 2, as kombu writes it to a Redis list) becomes a job through the same submit as any other, or
is buried with its reason, and its sender's `AsyncResult` says so.
"""

import base64
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from echelon_configs import Configuration, UnknownTarget

from .ledger.job import RequestInvalid, parse_request
from .ledger.needs import NeverFits, Rooms
from .ledger.options import Options, OptionsInvalid, fallbacks_stated
from .ledger.verbs import NewJob

#: Options of Celery that would need its own machinery; each with what to do instead.
UNSUPPORTED = {
    "eta": "countdown and eta are not supported (submit the job when it is due)",
    "callbacks": "link is not supported (wait for the answer, then send the next task)",
    "errbacks": "link_error is not supported (read the error from AsyncResult)",
    "chain": "chains are not supported (wait for the answer, then send the next task)",
    "chord": "chords are not supported (collect the answers in the producer)",
}
_ID = re.compile(r"[A-Za-z0-9._:-]{1,200}")
#: A sender whose id is no job's is told under it all the same, up to so many characters, unless they are no text.
_LONGEST_SENDER = 1000
_NO_TEXT = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that cannot become a job, and why. `id` is the sender's, or one of ours when a job cannot have it;
    `sender` is the one under which its sender waits for a result, '' if nobody does."""

    id: str
    queue: str
    why: str
    sender: str = ""


class _Reason(Exception):
    """Why a message is refused."""


def adopt(raw: bytes, configuration: Configuration) -> NewJob | Refused:
    """Read a raw message as a job. Never raises: whatever is wrong with it is the reason of the refusal."""
    id, queue, sender = str(uuid4()), "", ""
    try:
        message = _object(raw, "the message")
        headers = _headers(message)
        sender = _sender(headers)
        id = _id(headers)
        named = (message.get("properties") or {}).get("delivery_info", {}).get("routing_key")
        queue = named if isinstance(named, str) and named in configuration.queues else ""
        return _job(id, message, headers, configuration)
    except _Reason as reason:
        return Refused(id, queue, str(reason), sender)
    except Exception as exc:  # whatever it is: this comes from outside, and the worker has to live
        why = f"the message is not a Celery message of protocol 2 ({type(exc).__name__}: {exc})"
        return Refused(id, queue, why, sender)


def _job(id: str, message: dict[str, Any], headers: dict[str, Any], configuration: Configuration) -> NewJob:
    kwargs = _kwargs(message, headers)
    task, node, own = headers.get("task"), kwargs.pop("node", None), kwargs.pop("fallback_groups", None)
    if not isinstance(task, str):
        raise _Reason("the message names no task (would be right: protocol 2, headers.task)")
    try:
        resolved = configuration.resolve(task, node=node)
        options = Options(fallback_groups=fallbacks_stated(configuration, own))
        request = parse_request(kwargs)
        usual, worst, max_tokens = _rooms(configuration).of(resolved).needs(request)
    except NeverFits as exc:
        raise _Reason(f"request: {exc}") from exc
    except OptionsInvalid as exc:
        raise _Reason(f"fallback_groups: {exc}") from exc
    except (UnknownTarget, RequestInvalid) as exc:
        raise _Reason(str(exc)) from exc
    return NewJob(
        id=id,
        queue=resolved.queue,
        target=task,
        node=resolved.node.name if resolved.node else "",
        request=request.to_json(),
        priority=_priority(message),
        deadline_ms=_deadline_ms(headers, configuration),
        foreign=True,
        options=options.to_json(),
        input_tokens=usual,
        worst_input_tokens=worst,
        max_tokens=max_tokens,
    )


#: Those of the configuration that was last adopted under.
_last: list[Rooms] = []


def _rooms(configuration: Configuration) -> Rooms:
    if not _last or _last[0].configuration is not configuration:
        _last[:] = [Rooms(configuration)]
    return _last[0]


def _headers(message: dict[str, Any]) -> dict[str, Any]:
    headers = message.get("headers")
    return headers if isinstance(headers, dict) else {}


def _id(headers: dict[str, Any]) -> str:
    id = headers.get("id")
    if not is_usable_id(id):
        raise _Reason(f"the task id {id!r:.80} cannot be used (would be right: up to 200 of A-Z a-z 0-9 . _ : -)")
    return str(id)


def _sender(headers: dict[str, Any]) -> str:
    id = headers.get("id")
    return id if isinstance(id, str) and len(id) <= _LONGEST_SENDER and not _NO_TEXT.search(id) else ""


def is_usable_id(id: object) -> bool:
    """Whether a job may have this id."""
    return isinstance(id, str) and _ID.fullmatch(id) is not None


def _kwargs(message: dict[str, Any], headers: dict[str, Any]) -> dict[str, Any]:
    if message.get("content-type") != "application/json":
        raise _Reason(f"the content type is {message.get('content-type')!r} (would be right: task_serializer='json')")
    body = message["body"]
    if (message.get("properties") or {}).get("body_encoding") == "base64":
        body = base64.b64decode(body)
    args, kwargs, embed = json.loads(body)
    options = {**{name: headers.get(name) for name in UNSUPPORTED}, **{k: v for k, v in embed.items() if v}}
    unsupported = [UNSUPPORTED[name] for name in UNSUPPORTED if options.get(name)]
    if args:
        unsupported.append("positional arguments are not understood (would be right: kwargs={'prompt': ...})")
    if unsupported:
        raise _Reason("; ".join(unsupported))
    return dict(kwargs)


def _priority(message: dict[str, Any]) -> int:
    priority = (message.get("properties") or {}).get("priority") or 0
    return min(9, max(0, int(priority)))


def _deadline_ms(headers: dict[str, Any], configuration: Configuration) -> int:
    expires = headers.get("expires")
    if not expires:
        return int(configuration.defaults.deadline_s * 1000)
    at = datetime.fromisoformat(expires)
    left = (at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)
    return int(left.total_seconds() * 1000) or -1


def _object(raw: bytes, what: str) -> dict[str, Any]:
    value = json.loads(raw)
    if not isinstance(value, dict):
        raise _Reason(f"{what} is not a JSON object")
    return value
