"""Every arrival, in columns: about 100 bytes each, the oldest dropped beyond a bound."""

import time
from array import array
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from .script import FaultKind, Operation, Provider

_SEGMENT_ROWS = 65_536
# Columns of whole numbers by array type code: q signed 64 bit, I 32, H 16, B 8.
_COLUMNS = {
    "time_ns": "q", "monotonic_ns": "q", "done_ns": "q", "provider": "B", "operation": "B", "model": "I",
    "instance": "I", "key": "I", "attempt": "I", "in_flight": "I", "tokens_in": "I", "tokens_out": "I", "status": "H",
    "fault": "B", "flags": "B",
}  # fmt: skip
# Known beforehand, so that their codes fit one byte.
_FIRST_NAMES = ("", *get_args(Provider), *get_args(Operation), *get_args(FaultKind))
_NAMED = ("provider", "operation", "model", "instance", "key", "fault")
ADMITTED, GONE, STREAMED = 1, 2, 4
_MOST = 2**32 - 1
FIELDS = (
    "number", "time_ns", "monotonic_ns", "done_ns", "provider", "operation", "model", "instance", "key", "job",
    "attempt", "in_flight", "status", "fault", "tokens_in", "tokens_out", "admitted", "streamed", "client_gone",
)  # fmt: skip


class _Segment:
    """A block of rows, filled from the front."""

    __slots__ = ("columns", "job_ends", "jobs", "rows")

    def __init__(self) -> None:
        self.columns = {name: array(code, bytes(array(code).itemsize * _SEGMENT_ROWS))
                        for name, code in _COLUMNS.items()}  # fmt: skip
        self.jobs = bytearray()
        self.job_ends = array("I")
        self.rows = 0


class Arrival:
    """A handle on one row, good for writing its end even after the row was dropped."""

    __slots__ = ("_columns", "_row", "number")

    def __init__(self, number: int, columns: dict[str, Any], row: int) -> None:
        self.number = number
        self._columns = columns
        self._row = row

    def admit(self, tokens_out: int) -> None:
        """The call passed every limit and will have this many tokens."""
        self._columns["flags"][self._row] |= ADMITTED
        self._columns["tokens_out"][self._row] = min(tokens_out, _MOST)

    def finish(self, status: int, flags: int = 0) -> None:
        """The call is over: the status it was answered (0: none), and `GONE`, `STREAMED` or both."""
        self._columns["status"][self._row] = status
        self._columns["flags"][self._row] |= flags
        self._columns["done_ns"][self._row] = time.monotonic_ns()


class ArrivalLog:
    """The log. Rows are numbered from 0 in order of arrival; times never go back from one to the next."""

    def __init__(self, most_rows: int = 5_000_000) -> None:
        self._most_segments = max(2, -(-most_rows // _SEGMENT_ROWS))
        self._names: list[str] = list(_FIRST_NAMES)
        self._codes = {name: code for code, name in enumerate(self._names)}
        self.clear()

    def clear(self) -> None:
        """Forget every row and number from 0 again."""
        self._segments: list[_Segment] = [_Segment()]
        self.dropped = 0

    @property
    def next_number(self) -> int:
        """The number the next arrival will have."""
        return self.dropped + (len(self._segments) - 1) * _SEGMENT_ROWS + self._segments[-1].rows

    def begin(
        self, *, provider: str, operation: str, model: str, instance: str, key: str, job: str, attempt: int,
        in_flight: int, tokens_in: int, fault: str, time_ns: int, monotonic_ns: int,
    ) -> Arrival:  # fmt: skip
        """Log an arrival; its end is written through the handle."""
        segment = self._segments[-1]
        if segment.rows == _SEGMENT_ROWS:
            segment = self._next_segment()
        number = self.next_number
        row, columns = segment.rows, segment.columns
        columns["time_ns"][row] = time_ns
        columns["monotonic_ns"][row] = monotonic_ns
        columns["provider"][row] = self._code(provider)
        columns["operation"][row] = self._code(operation)
        columns["model"][row] = self._code(model)
        columns["instance"][row] = self._code(instance)
        columns["key"][row] = self._code(key)
        columns["attempt"][row] = min(attempt, _MOST)
        columns["in_flight"][row] = in_flight
        columns["tokens_in"][row] = min(tokens_in, _MOST)
        columns["fault"][row] = self._code(fault)
        if job:
            segment.jobs += job.encode("utf-8", "surrogatepass")
        segment.job_ends.append(len(segment.jobs))
        segment.rows += 1
        return Arrival(number, columns, row)

    def _next_segment(self) -> _Segment:
        segment = _Segment()
        self._segments.append(segment)
        if len(self._segments) > self._most_segments:
            del self._segments[0]
            self.dropped += _SEGMENT_ROWS
        return segment

    def _code(self, name: str) -> int:
        code = self._codes.get(name)
        if code is None:
            code = self._codes[name] = len(self._names)
            self._names.append(name)
        return code

    def view(self, since: int = 0) -> "View":
        """The rows there are now, from number `since` on; later arrivals do not show in it."""
        parts = []
        for place, segment in enumerate(self._segments):
            start = self.dropped + place * _SEGMENT_ROWS
            if start + segment.rows > since:
                parts.append((start, range(max(0, since - start), segment.rows), segment))
        return View(parts, self._codes, self._names)


class View:
    """A reading of the log that another thread may use while arrivals go on."""

    def __init__(
        self, parts: list[tuple[int, range, _Segment]], codes: Mapping[str, int], names: list[str]
    ) -> None:  # fmt: skip
        self._parts = parts
        self._codes = codes
        self._names = names

    def rows(self, where: Mapping[str, str]) -> Iterator[list[Any]]:
        """The rows that match `where` (names, and `status`), as values in the order of `FIELDS`."""
        for start, rows, segment in self._parts:
            for row in self._matching(rows, segment, where):
                yield self._row(start, segment, row)

    def column(self, name: str, where: Mapping[str, str], flags: int = 0) -> "array[int]":
        """One column of the rows that match `where` and have all of `flags`."""
        found = array(_COLUMNS[name])
        for _, rows, segment in self._parts:
            values, has = segment.columns[name], segment.columns["flags"]
            if where or flags:
                found.extend(values[row] for row in self._matching(rows, segment, where) if has[row] & flags == flags)
            else:
                found += values[rows.start : rows.stop]
        return found

    def _matching(self, rows: range, segment: _Segment, where: Mapping[str, str]) -> Iterator[int]:
        # A name never seen gets a code that no row has.
        pairs = [(segment.columns[name], int(value) if name == "status" else self._codes.get(value, -1))
                 for name, value in where.items()]  # fmt: skip
        for row in rows:
            if all(column[row] == code for column, code in pairs):
                yield row

    def _row(self, start: int, segment: _Segment, row: int) -> list[Any]:
        value: dict[str, Any] = {name: column[row] for name, column in segment.columns.items()}
        for name in _NAMED:
            value[name] = self._names[value[name]] or None
        from_byte = segment.job_ends[row - 1] if row else 0
        job = segment.jobs[from_byte : segment.job_ends[row]].decode("utf-8", "surrogatepass")
        flags = value["flags"]
        value |= {
            "number": start + row,
            "job": job or None,
            "done_ns": value["done_ns"] or None,
            "status": value["status"] or None,
            "admitted": bool(flags & ADMITTED),
            "streamed": bool(flags & STREAMED),
            "client_gone": bool(flags & GONE),
        }
        return [value[name] for name in FIELDS]
