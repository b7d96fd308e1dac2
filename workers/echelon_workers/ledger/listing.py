"""Which jobs are where: queued, delayed, running or dead, the newest first.

What takes many calls is a walk: it yields verbs and is sent their replies, so that it is the same for a thread and for
an event loop (`Ledger.follow`). Every call looks at a bounded number of jobs; while a walk goes on, so do the jobs.
"""

from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

from .record import FIELDS, JobRecord, read_object, read_record, with_wait
from .scripts import script
from .verbs import MOST_JOBS_A_CALL, Redriven, Verb, redrive

T = TypeVar("T")
#: Verbs in turn, each answered with its reply, and in the end a result.
Walk = Generator[Verb[Any], Any, T]

Listed = Literal["queued", "delayed", "running", "dead"]
#: The states whose jobs are found without their ids.
LISTED: tuple[Listed, ...] = ("queued", "delayed", "running", "dead")

#: Jobs that one call looks at, and those that a list looks at in each place.
JOBS_A_CALL = 200
MOST_LOOKED_AT = 20_000


class _Place(NamedTuple):
    """`dead`, `running` or `delayed` (with a queue: only its jobs there); or one `list` of a queue, by its number; or
    those of a queue that are `parked` for a node."""

    kind: str
    queue: str
    of: str = ""


@dataclass(frozen=True, slots=True)
class _Page:
    """What one call has found: it looked at so many jobs, of which `last` was the last; ids with their fields."""

    looked: int
    last: str
    mark: bytes | None
    paused: bool
    rows: list[tuple[str, list[bytes | None]]]

    def records(self) -> list[JobRecord]:
        """The records of those that are still there."""
        found = [read_record(id, values) for id, values in self.rows]
        return [with_wait(record, self.mark, self.paused) for record in found if record is not None]


def list_jobs(states: Collection[Listed], queue: str, queues: Collection[str], limit: int) -> Walk[list[JobRecord]]:
    """At most `limit` jobs in these states, the newest first: the last to die, to start, or to come.

    With a queue only those that are, or died, there; else those that wait are looked for in all of `queues`.
    """
    found: dict[str, JobRecord] = {}
    for state in states:
        if state == "queued":
            places = yield _lists([queue] if queue else list(queues))
        else:
            places = [_Place(state, queue)]
        for place in places:
            # What runs or is delayed is kept by when that ends, so all of it is read.
            enough = MOST_LOOKED_AT if state in ("running", "delayed") else limit
            found |= yield from _find(place, state, enough)
    return sorted(found.values(), key=_newness, reverse=True)[:limit]


def redrive_jobs(ids: Iterable[str]) -> Walk[dict[str, Redriven]]:
    """Send jobs again that ended without an answer; says of each what became of it."""
    chosen, said = list(dict.fromkeys(ids)), dict[str, Redriven]()
    for first in range(0, len(chosen), MOST_JOBS_A_CALL):
        part = chosen[first : first + MOST_JOBS_A_CALL]
        said |= zip(part, (yield redrive(part)), strict=True)
    return said


def redrive_dead(queue: str, code: str) -> Walk[dict[str, Redriven]]:
    """Send the dead again: those that died in this queue, if one is named, and of this code, if one is."""
    ids: dict[str, None] = {}

    def see(page: _Page) -> bool:
        ids.update(dict.fromkeys(id for id, (error,) in page.rows if not code or _code(error) == code))
        return True

    # All are found before the first is sent: one that dies again at once is not sent twice.
    yield from _walk(_Place("dead", queue), ("error",), see, None)
    return (yield from redrive_jobs(ids))


def _find(place: _Place, state: Listed, enough: int) -> Walk[dict[str, JobRecord]]:
    found: dict[str, JobRecord] = {}

    def see(page: _Page) -> bool:
        # A job may have gone on to the next place meanwhile.
        found.update({record.id: record for record in page.records() if record.state == state})
        return len(found) < enough

    yield from _walk(place, FIELDS, see, MOST_LOOKED_AT)
    return found


def _walk(place: _Place, fields: Sequence[str], see: Callable[[_Page], bool], most: int | None) -> Walk[None]:
    """Page after page, until `see` has seen enough."""
    looked, last = 0, ""
    while most is None or looked < most:
        page: _Page = yield _page(place, fields, last, looked)
        looked, last = looked + page.looked, page.last
        if not see(page) or page.looked < JOBS_A_CALL:
            return


def _page(place: _Place, fields: Sequence[str], behind: str, looked: int) -> Verb[_Page]:
    def read(reply: list[Any]) -> _Page:
        rows, width = reply[4:], 1 + len(fields)
        found = [(rows[i].decode(errors="replace"), rows[i + 1 : i + width]) for i in range(0, len(rows), width)]
        return _Page(int(reply[0]), reply[1].decode(errors="replace"), reply[2] or None, bool(reply[3]), found)

    return Verb(script("jobs"), [*place, behind, looked, JOBS_A_CALL, *fields], read)


def _lists(queues: Sequence[str]) -> Verb[list[_Place]]:
    def read(reply: list[bytes]) -> list[_Place]:
        words = [word.decode() for word in reply]
        return [_Place(kind, queue, of) for queue, kind, of in zip(words[::3], words[1::3], words[2::3], strict=True)]

    return Verb(script("lists"), [*queues], read)


def _code(error: bytes | None) -> str:
    return str(read_object(error.decode(errors="replace")).get("code", "")) if error else ""


def _newness(record: JobRecord) -> int:
    if record.state == "dead":
        return record.ended_ms
    return record.started_ms if record.state == "running" else record.waits_from_ms
