"""Walking along the lists of all queues, to find queued jobs that are in none of them, or in two."""

from dataclasses import dataclass, field
from typing import NamedTuple

from .audit_walk import NOT_MET, PARKED, Chart, Walk, chunks
from .scripts import script
from .verbs import Verb

IDS_A_PAGE = 500
#: Ids before the last that are read again, so that some may leave the list meanwhile.
_OVERLAP = 32
_MISSING_A_CALL, _TWICE_A_CALL, _QUEUES_A_CALL = 500, 10, 100


class _Page(NamedTuple):
    """One reading of a list: from which index, and how long the list was then."""

    queue: str
    number: str
    first: int
    length: int


@dataclass(slots=True)
class Lists:
    """What the walk has met. A place is the number of its page times IDS_A_PAGE, and the index in that page."""

    chart: Chart
    pages: list[_Page] = field(default_factory=list)
    twice: list[tuple[bytes, int, int]] = field(default_factory=list)

    def audit(self) -> Walk[None]:
        """All of it: the lists, those that were not met, and those met twice."""
        lists = yield from self._lists()
        seen = self.chart.seen
        for queue, number in lists:
            yield from self._along(queue, number)
        yield from self._look_for([id for id, place in seen.items() if place == NOT_MET], lists)
        yield from self._part_twins()

    def _lists(self) -> Walk[list[tuple[str, str]]]:
        found: list[tuple[str, str]] = []
        for some in chunks(sorted(self.chart.queues), _QUEUES_A_CALL):
            words = [word.decode() for word in (yield Verb(script("lists"), [*some], list))]
            rows = zip(words[::3], words[1::3], words[2::3], strict=True)
            found += [(queue, number) for queue, kind, number in rows if kind == "list"]
        return found

    def _along(self, queue: str, number: str) -> Walk[None]:
        """One list, page after page. It grows at its left end, where it is begun, so nothing is passed over."""
        first, last, ended = 0, b"", False
        while not ended:
            length, end, ids = yield from self.chart.ask("audit", "list", queue, number, first, IDS_A_PAGE)
            ended = bool(end)
            new = ids.index(last) + 1 if last and last in ids else 0
            self._meet(_Page(queue, number, first, length), ids, new)
            offset, last = next(((i, ids[i]) for i in range(len(ids) - 1, -1, -1) if ids[i]), (len(ids), b""))
            # Behind the last job of the page there may be many that are none.
            passed = offset if offset > 2 * _OVERLAP else len(ids)
            first += max(0, passed - _OVERLAP)

    def _meet(self, page: _Page, ids: list[bytes], new: int) -> None:
        base, seen = len(self.pages) * IDS_A_PAGE, self.chart.seen
        self.pages.append(page)
        for i in range(new, len(ids)):
            id = ids[i]
            if not id:
                continue
            before = seen.get(id, NOT_MET)
            if before == NOT_MET:
                seen[id] = base + i
            else:
                self.twice.append((id, before, base + i))

    def _look_for(self, ids: list[bytes], lists: list[tuple[str, str]]) -> Walk[None]:
        """Look again at those that were not met: most have gone on. Deep in a long list takes another walk."""
        misplaced = {subject for code, subject in self.chart.findings if code == "misplaced"}
        if misplaced and not self.chart.fix:  # that is said already
            ids = [id for id in ids if id.decode(errors="backslashreplace") not in misplaced]
        deep: list[bytes] = []
        for some in chunks(ids, _MISSING_A_CALL):
            (more,) = yield from self.chart.ask("audit_queued", "missing", "", *some)
            deep += more
        if not deep:
            return
        for queue, number in lists:
            yield from self._along_again(queue, number)
        deep = [id for id in deep if self.chart.seen[id] == NOT_MET]
        for some in chunks(deep, _MISSING_A_CALL):
            yield from self.chart.ask("audit_queued", "missing", "1", *some)

    def _along_again(self, queue: str, number: str) -> Walk[None]:
        """Only to meet those that were not met."""
        known, self.twice = self.twice, []
        yield from self._along(queue, number)
        self.twice = known

    def _part_twins(self) -> Walk[None]:
        # From the right: what is taken out shifts what is to the right of it.
        self.twice.sort(key=lambda met: self._index(met[2]), reverse=True)
        for some in chunks(self.twice, _TWICE_A_CALL):
            args: list[str | bytes | int] = []
            for id, one, other in some:
                args += [id, self.pages[other // IDS_A_PAGE].queue, *self._hint(one), *self._hint(other)]
            yield from self.chart.ask("audit_queued", "twice", *args)

    def _index(self, place: int) -> int:
        page = self.pages[place // IDS_A_PAGE]
        return page.first + place % IDS_A_PAGE

    def _hint(self, place: int) -> tuple[str, int, int]:
        if place == PARKED:
            return "parked", 0, 0
        page = self.pages[place // IDS_A_PAGE]
        return page.number, self._index(place), page.length
