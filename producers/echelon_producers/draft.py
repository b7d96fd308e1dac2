"""From what a producer says to a job that submit accepts: the target resolved, everything validated."""

import re
from collections.abc import Mapping
from os import urandom
from typing import Any

from echelon_configs import Configuration, Resolved, UnknownTarget
from echelon_workers.ledger.job import JobRequest, RequestInvalid, parse_request
from echelon_workers.ledger.needs import NeverFits, Room, Rooms
from echelon_workers.ledger.options import Options, OptionsInvalid, fallbacks_stated
from echelon_workers.ledger.verbs import NewJob

from .errors import SubmitInvalid

#: A prompt of several megabytes is an upload, not a job.
MOST_REQUEST_BYTES = 8 * 1024 * 1024
LONGEST_DEADLINE_S = 30 * 86_400
#: What a job is told beside its request.
OPTIONS = frozenset({"id", "target", "node", "priority", "deadline_s", "fallback_groups"})
_MAY_BE_EMPTY = ("metadata", "tools")
#: As for the ids that foreign Celery clients choose (echelon_workers/adoption.py).
_ID = re.compile(r"[A-Za-z0-9._:-]{1,200}")
_LONGEST_NAME = 300


class Drafter:
    """Makes jobs under one configuration."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._default_deadline_ms = int(configuration.defaults.deadline_s * 1000)
        self._rooms = Rooms(configuration)
        self._known: dict[tuple[object, object], tuple[Resolved, Room]] = {}

    def draft(self, job: Mapping[str, Any]) -> NewJob:
        """Make a job of a mapping with `target`, the options `id`, `node`, `priority` (0-9, higher first), `deadline_s`
        and `fallback_groups` (targets to go to, in order, in place of those configured), and the fields of the request.
        An option that is None is one left out. Raises SubmitInvalid."""
        resolved, room = self._resolved(job.get("target"), job.get("node"))
        request = _request(job)
        text = _written(request)
        try:
            usual, worst, max_tokens = room.needs(request)
        except NeverFits as exc:
            raise _wrong("request", str(exc)) from exc
        return NewJob(
            id=_id(job.get("id")),
            queue=resolved.queue,
            target=resolved.target,
            node=resolved.node.name if resolved.node else "",
            priority=_priority(job.get("priority")),
            deadline_ms=_deadline_ms(job.get("deadline_s"), self._default_deadline_ms),
            request=text,
            options=_options(self._configuration, job.get("fallback_groups")),
            input_tokens=usual,
            worst_input_tokens=worst,
            max_tokens=max_tokens,
        )

    def _resolved(self, target: object, node: object) -> tuple[Resolved, Room]:
        for where, name in (("target", target), ("node", node)):
            if name is not None and not (isinstance(name, str) and len(name) <= _LONGEST_NAME):
                raise _wrong(where, "not a name (would be right: a string such as 'fast_group.echelon1')")
        if (known := self._known.get((target, node))) is None:
            resolved = _resolve(self._configuration, target, node)  # type: ignore[arg-type]
            known = self._known[target, node] = resolved, self._rooms.of(resolved)
        return known


def _resolve(configuration: Configuration, target: str | None, node: str | None) -> Resolved:
    if target is None and node is None:
        what = "missing (would be right: 'group.echelon', 'group', 'pool.NAME', 'node.NAME' or 'model.NAME')"
        raise _wrong("target", what)
    try:
        return configuration.resolve(f"node.{node}" if target is None else target, node)
    except UnknownTarget as exc:
        where = "node" if exc.target == f"node.{node}" else "target"
        raise SubmitInvalid([(where, str(exc))], "unknown_target") from exc


def _request(job: Mapping[str, Any]) -> JobRequest:
    fields = {name: value for name, value in job.items() if name not in OPTIONS}
    for name in _MAY_BE_EMPTY:
        if name in fields and fields[name] in ({}, [], ()):
            del fields[name]  # as if left out
    try:
        request = parse_request(fields)
    except RequestInvalid as exc:
        raise _invalid(exc) from exc
    if request.metadata:
        # The same job is written in the same way. (In a JSON schema the order means something: models answer in it.)
        return request.model_copy(update={"metadata": dict(sorted(request.metadata.items()))})
    return request


def _written(request: JobRequest) -> bytes:
    try:
        text = request.to_json().encode()
    except RequestInvalid as exc:
        raise _invalid(exc) from exc
    if len(text) > MOST_REQUEST_BYTES:
        raise _wrong("request", f"{len(text)} bytes (would be right: at most {MOST_REQUEST_BYTES})")
    return text


def _id(id: object) -> str:
    if id is None:
        return new_id()
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise _wrong("id", "not usable (would be right: a string of 1 to 200 of A-Z a-z 0-9 . _ : -)")
    return id


def new_id() -> str:
    """A random UUID (version 4), put together as text: by way of a UUID object it would cost three times as much."""
    digits = urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def _priority(priority: object) -> int:
    if priority is None:
        return 0
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= 9:
        raise _wrong("priority", "not a whole number from 0 to 9 (9 goes first)")
    return priority


def _deadline_ms(deadline_s: object, default_ms: int) -> int:
    if deadline_s is None:
        return default_ms
    is_number = isinstance(deadline_s, int | float) and not isinstance(deadline_s, bool)
    if not is_number or not 0 < deadline_s <= LONGEST_DEADLINE_S:  # type: ignore[operator]
        raise _wrong("deadline_s", "not a number of seconds above 0, up to 30 days (2592000)")
    return max(1, int(deadline_s * 1000))  # type: ignore[operator]


def _options(configuration: Configuration, fallback_groups: object) -> str:
    if fallback_groups is None:
        return ""
    try:
        return Options(fallback_groups=fallbacks_stated(configuration, fallback_groups)).to_json()
    except UnknownTarget as exc:
        raise SubmitInvalid([("fallback_groups", str(exc))], "unknown_target") from exc
    except OptionsInvalid as exc:
        raise _wrong("fallback_groups", str(exc)) from exc


def _invalid(exc: RequestInvalid) -> SubmitInvalid:
    # Each line is "field: what is wrong".
    parts = [line.partition(": ") for line in exc.problems]
    return SubmitInvalid([(where, what) for where, _, what in parts])


def _wrong(where: str, what: str) -> SubmitInvalid:
    return SubmitInvalid([(where, what)])
