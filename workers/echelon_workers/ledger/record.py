"""Reading a job's record."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import ValidationError

from .job import Answer

State = Literal["queued", "delayed", "running", "answered", "dead", "cancelled", "expired"]

#: The states that a job does not leave by itself.
ENDED: frozenset[str] = frozenset({"answered", "dead", "cancelled", "expired"})

FIELDS = [
    *("state", "queue", "home", "target", "node", "priority", "created", "deadline", "started", "ended"),
    *("attempts", "worker", "instance", "error", "answer", "trail", "waits", "since", "cause", "at"),
]

#: The decisions of lines in a trail that are no attempts (`note` in lua/parts/places.lua): it was sent again; its lease
#: lapsed; an end came after that and was refused; it was moved to another queue. And what cannot be read.
EVENTS = ("redrive", "lapse", "late", "relocate", "unreadable")

#: A greater number is no time that there will be, and no count; it would not be exact everywhere.
_GREATEST = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """What is known of one job. Times are milliseconds of the cluster's clock since 1970, 0 where there is none yet.

    It is in its state since `changed_ms`, and `cause` says why, in a few words or by the code of an error. `trail` has
    every attempt there was (the oldest may be left out), `attempts` those that count: since it was last sent again.
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
    #: what befell it beside its attempts: each with its `decision` (of EVENTS), `at_ms`, how many entries of the trail
    #: were before (`after`), and what it says of itself
    events: list[dict[str, Any]] = field(default_factory=list)
    cause: str = ""
    changed_ms: int = 0
    #: the scope (`echelon:...`, `model:...`) whose limit it waits for, or "paused", or "dropped": its queue is
    waits_for: str = ""
    waits_since_ms: int = 0

    @property
    def has_ended(self) -> bool:
        """Whether it is answered, dead, cancelled or expired."""
        return self.state in ENDED

    @property
    def redrives(self) -> list[dict[str, Any]]:
        """The times that it had ended and was sent again: `at_ms`, its `state` then and the `reason` of that,
        `created_ms` and `ended_ms` of that life, and how many entries of the trail were before (`after`)."""
        again = [event for event in self.events if event["decision"] == "redrive"]
        return [{name: value for name, value in event.items() if name != "decision"} for event in again]

    @property
    def waits_from_ms(self) -> int:
        """When it was submitted, or last sent again."""
        redrives = self.redrives
        return whole_number(redrives[-1].get("at_ms")) if redrives else self.created_ms

    def to_json(self) -> dict[str, Any]:
        """One JSON object, the same for the command line and the HTTP API."""
        shown = {name: getattr(self, name) for name in self.__slots__ if name != "answer"}
        shown["redrives"] = self.redrives
        shown["answer"] = self.answer.model_dump(mode="json") if self.answer else None
        return shown


def read_record(id: str, values: list[bytes | None]) -> JobRecord | None:
    """Make a record of the values of FIELDS, in that order; None when there is no such job (any more).

    What somebody damaged is shown as far as it can be read.
    """
    found: Mapping[str, str] = {
        name: value.decode(errors="replace") for name, value in zip(FIELDS, values, strict=True) if value is not None
    }
    if "state" not in found:
        return None
    state: Any = found["state"]
    waits = state in ("queued", "delayed")
    trail, events = _read_trail(found.get("trail", ""))
    first = next((event for event in events if event["decision"] == "redrive"), {"created_ms": found.get("created")})
    answer, error = _read_answer(found.get("answer", ""))
    if answer is None and error is None and found.get("error"):
        error = read_object(found["error"])

    def number(name: str) -> int:
        return whole_number(found.get(name))

    return JobRecord(
        id=id,
        state=state,
        queue=found.get("queue", ""),
        home=found.get("home", ""),
        target=found.get("target", ""),
        node=found.get("node", ""),
        priority=number("priority"),
        created_ms=whole_number(first.get("created_ms")),
        deadline_ms=number("deadline"),
        started_ms=number("started"),
        ended_ms=number("ended"),
        attempts=number("attempts"),
        worker=found.get("worker", ""),
        instance=found.get("instance", ""),
        error=error,
        answer=answer,
        trail=trail,
        events=events,
        cause=found.get("cause", ""),
        changed_ms=number("at"),
        waits_for=found.get("waits", "") if waits else "",
        waits_since_ms=number("since") if waits else 0,
    )


def whole_number(value: object) -> int:
    """A whole number that is or stands in `value`; 0 where there is none, or none that can be."""
    if isinstance(value, float) or not isinstance(value, (int, str)):
        return 0
    try:
        number = int(value)
    except ValueError:
        return 0
    return number if abs(number) < _GREATEST else 0


def read_object(text: str) -> dict[str, Any]:
    """A JSON object; what somebody damaged is shown as it is."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"code": "unreadable", "message": text[:200]}


def _read_answer(text: str) -> tuple[Answer | None, dict[str, Any] | None]:
    """The answer; or that it cannot be read. Neither where there is none."""
    if not text:
        return None, None
    try:
        return Answer.model_validate_json(text), None
    except ValidationError:
        return None, {"code": "unreadable", "message": f"its answer cannot be read: {text[:200]}"}


def _read_trail(text: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The attempts, and between them what befell the job else."""
    trail: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    for line in text.split("\n"):
        if not line:
            continue
        entry = read_object(line)
        if "decision" not in entry and entry.get("code") == "unreadable":
            entry["decision"] = "unreadable"
        if entry.get("decision") in EVENTS:
            events.append({**entry, "after": len(trail)})
        else:
            trail.append(entry)
    return trail, events


def with_wait(record: JobRecord, mark: bytes | None, paused: bool, dropped: bool = False) -> JobRecord:
    """The record of a queued job with what holds its queue back: `mark` is the queue's entry in `blocked`; `dropped`
    is one that the revision in force does not have."""
    if record.state == "queued" and dropped:
        return replace(record, waits_for="dropped", waits_since_ms=0)
    if record.state != "queued" or record.waits_for:
        return record
    if paused:
        return replace(record, waits_for="paused")
    if mark is None:
        return record
    _, _, since, scope = (mark.decode(errors="replace").split(" ", 3) + [""] * 4)[:4]
    if not (since_ms := whole_number(since)):  # of an earlier version
        return record
    return replace(record, waits_for=scope, waits_since_ms=max(since_ms, record.waits_from_ms))
