"""Reading a job's record."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from .job import Answer

State = Literal["queued", "delayed", "running", "answered", "dead", "cancelled", "expired"]

#: The states that a job does not leave by itself.
ENDED: frozenset[str] = frozenset({"answered", "dead", "cancelled", "expired"})

FIELDS = [
    *("state", "queue", "home", "target", "node", "priority", "created", "deadline", "started", "ended"),
    *("attempts", "worker", "instance", "error", "answer", "trail", "waits", "since"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """What is known of one job. Times are milliseconds of the cluster's clock since 1970, 0 where there is none yet.

    `trail` has every attempt there ever was, `attempts` those that count: since it was last sent again.
    """

    id: str
    state: State
    queue: str
    home: str
    target: str
    node: str = ""
    priority: int = 0
    created_ms: int = 0
    deadline_ms: int = 0
    started_ms: int = 0
    ended_ms: int = 0
    attempts: int = 0
    worker: str = ""
    instance: str = ""
    error: dict[str, Any] | None = None
    answer: Answer | None = None
    trail: list[dict[str, Any]] = field(default_factory=list)
    #: the times that it had ended and was sent again: `at_ms`, its `state` then and the `reason` of that, `created_ms`
    #: and `ended_ms` of that life, and how many entries of the trail were before (`after`)
    redrives: list[dict[str, Any]] = field(default_factory=list)
    #: the scope (`echelon:...`, `model:...`) whose limit it waits for, or "paused"
    waits_for: str = ""
    waits_since_ms: int = 0

    @property
    def has_ended(self) -> bool:
        """Whether it is answered, dead, cancelled or expired."""
        return self.state in ENDED

    @property
    def waits_from_ms(self) -> int:
        """When it was submitted, or last sent again."""
        return int(self.redrives[-1]["at_ms"]) if self.redrives else self.created_ms

    def to_json(self) -> dict[str, Any]:
        """One JSON object, the same for the command line and the HTTP API."""
        shown = {name: getattr(self, name) for name in self.__slots__ if name != "answer"}
        shown["answer"] = self.answer.model_dump(mode="json") if self.answer else None
        return shown


def read_record(id: str, values: list[bytes | None]) -> JobRecord | None:
    """Make a record of the values of FIELDS, in that order; None when there is no such job (any more)."""
    found: Mapping[str, str] = {
        name: value.decode() for name, value in zip(FIELDS, values, strict=True) if value is not None
    }
    if "state" not in found:
        return None

    def number(name: str) -> int:
        text = found.get(name) or "0"
        return int(text) if text.lstrip("-").isdigit() else 0

    answer, error = found.get("answer"), found.get("error")
    state: Any = found["state"]
    trail, redrives = _read_trail(found.get("trail", ""))
    return JobRecord(
        id=id,
        state=state,
        queue=found.get("queue", ""),
        home=found.get("home", ""),
        target=found.get("target", ""),
        node=found.get("node", ""),
        priority=number("priority"),
        created_ms=int(redrives[0]["created_ms"]) if redrives else number("created"),
        deadline_ms=number("deadline"),
        started_ms=number("started"),
        ended_ms=number("ended"),
        attempts=number("attempts"),
        worker=found.get("worker", ""),
        instance=found.get("instance", ""),
        error=_read_json(error) if error and not answer else None,
        answer=Answer.model_validate_json(answer) if answer else None,
        trail=trail,
        redrives=redrives,
        waits_for=found.get("waits", "") if state in ("queued", "delayed") else "",
        waits_since_ms=number("since") if state in ("queued", "delayed") else 0,
    )


def _read_json(text: str) -> dict[str, Any]:
    """An object; what somebody damaged is shown as it is."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"code": "unreadable", "message": text[:200]}


def _read_trail(text: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The attempts, and between them the times that the job was sent again (`lua/redrive.lua`)."""
    trail: list[dict[str, Any]] = []
    redrives: list[dict[str, Any]] = []
    for entry in map(_read_json, text.splitlines()):
        if entry.get("decision") != "redrive":
            trail.append(entry)
        else:
            del entry["decision"]
            redrives.append({**entry, "after": len(trail)})
    return trail, redrives


def with_wait(record: JobRecord, mark: bytes | None, paused: bool) -> JobRecord:
    """The record of a queued job with what holds its queue back: `mark` is the queue's entry in `blocked`."""
    if record.state != "queued" or record.waits_for:
        return record
    if paused:
        return replace(record, waits_for="paused")
    if mark is None:
        return record
    _, _, since, scope = (mark.decode().split(" ", 3) + [""] * 4)[:4]
    if not since.isdigit():  # of an earlier version
        return record
    return replace(record, waits_for=scope, waits_since_ms=max(int(since), record.waits_from_ms))
