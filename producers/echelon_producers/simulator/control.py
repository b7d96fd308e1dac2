"""The simulator's own paths under `/_sim/`: counts, arrivals, windows, the script."""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from aiohttp import web

from .arrivals import ADMITTED, FIELDS, View
from .script import ScriptError, parse_script
from .simulation import Simulation
from .windows import Peak, busiest, most_at_once

_FILTERS = ("model", "instance", "provider", "key", "operation", "fault", "status")
_SLICE = 5_000


class _ControlError(Exception):
    """What is wrong with a control request, one line each."""


@dataclass(frozen=True, slots=True)
class _Asked:
    simulation: Simulation
    request: web.BaseRequest


async def control(simulation: Simulation, request: web.BaseRequest) -> web.StreamResponse:
    """Answer one request under `/_sim/`."""
    name = request.path.removeprefix("/_sim/").strip("/")
    found = _CONTROLS.get((request.method, name))
    if found is None:
        known = ", ".join(f"{method} /_sim/{path}" for method, path in _CONTROLS)
        status = 405 if any(path == name for _, path in _CONTROLS) else 404
        return _json({"error": f"there is no {request.method} {request.path}", "known": known}, status)
    try:
        return await found(_Asked(simulation, request))
    except _ControlError as wrong:
        return _json({"error": str(wrong), "problems": str(wrong).splitlines()}, 400)


def _json(value: Any, status: int = 200) -> web.Response:
    return web.json_response(value, status=status)


async def _ready(asked: _Asked) -> web.StreamResponse:
    uptime_s = (time.monotonic_ns() - asked.simulation.started_ns) / 1e9
    return _json({"ready": True, "pid": os.getpid(), "uptime_s": uptime_s, "cpu_s": time.process_time()})


async def _counts(asked: _Asked) -> web.StreamResponse:
    log = asked.simulation.log
    return _json({"next": log.next_number, "dropped": log.dropped, **asked.simulation.tallies.to_json()})


async def _arrivals(asked: _Asked) -> web.StreamResponse:
    where = _filters(asked.request, "since", "limit", "format")
    since, limit = _number(asked.request, "since", 0), _number(asked.request, "limit", 5_000_000)
    rows = islice(asked.simulation.log.view(int(since)).rows(where), int(limit))
    form = asked.request.query.get("format", "json")
    if form not in ("json", "ndjson"):
        raise _ControlError(f"format: {form!r} is neither json nor ndjson")
    response = web.StreamResponse()
    response.content_type = "application/json" if form == "json" else "application/x-ndjson"
    await response.prepare(asked.request)
    for piece in _rows_as_json(asked.simulation, rows) if form == "json" else _rows_as_lines(rows):
        await response.write(piece)
        # Calls go on while a long log is read.
        await asyncio.sleep(0)
    return response


def _rows_as_json(simulation: Simulation, rows: Iterator[list[Any]]) -> Iterator[bytes]:
    upcoming, dropped = simulation.log.next_number, simulation.log.dropped
    yield b'{"dropped": %d, "next": %d, "rows": [' % (dropped, upcoming)
    comma = b""
    while some := list(islice(rows, _SLICE)):
        yield comma + json.dumps([dict(zip(FIELDS, row, strict=True)) for row in some])[1:-1].encode()
        comma = b", "
    yield b"]}"


def _rows_as_lines(rows: Iterator[list[Any]]) -> Iterator[bytes]:
    yield json.dumps(FIELDS).encode() + b"\n"
    while some := list(islice(rows, _SLICE)):
        yield b"".join(json.dumps(row, separators=(",", ":")).encode() + b"\n" for row in some)


async def _windows(asked: _Asked) -> web.StreamResponse:
    where = {"operation": "call", **_filters(asked.request, "since", "seconds")}
    seconds = _number(asked.request, "seconds", 60)
    if seconds <= 0:
        raise _ControlError("seconds: must be above 0")
    view = asked.simulation.log.view(int(_number(asked.request, "since", 0)))
    # In a thread: a million rows take about a second, and calls must go on.
    return _json(await asyncio.to_thread(_peaks, view, where, seconds))


def _peaks(view: View, where: dict[str, str], seconds: float) -> dict[str, Any]:
    window_ns = round(seconds * 1e9)
    arrived = view.column("monotonic_ns", where)
    admitted = view.column("monotonic_ns", where, ADMITTED)
    columns = (view.column("tokens_in", where, ADMITTED), view.column("tokens_out", where, ADMITTED))
    tokens = [a + b for a, b in zip(*columns, strict=True)]
    now_ns = time.monotonic_ns()
    ends = [done or now_ns for done in view.column("done_ns", where)]
    return {
        "seconds": seconds,
        "arrivals": _peak(busiest(arrived, window_ns), len(arrived)),
        "admitted": _peak(busiest(admitted, window_ns), len(admitted)),
        "tokens": _peak(busiest(admitted, window_ns, tokens), sum(tokens)),
        "in_flight": _peak(most_at_once(zip(arrived, ends, strict=True)), sum(end == now_ns for end in ends)),
    }


def _peak(peak: Peak, total: int) -> dict[str, Any]:
    return {"max": peak.value, "at_monotonic_ns": peak.at_ns, "total": total}


async def _reset(asked: _Asked) -> web.StreamResponse:
    asked.simulation.reset()
    return _json({"reset": True})


async def _get_script(asked: _Asked) -> web.StreamResponse:
    return _json(asked.simulation.script.to_json())


async def _post_script(asked: _Asked) -> web.StreamResponse:
    try:
        script = parse_script(json.loads(await asked.request.read()))
    except ScriptError as invalid:
        raise _ControlError(str(invalid)) from None
    except (ValueError, RecursionError) as wrong:
        raise _ControlError(f"the body is not JSON: {wrong}") from None
    asked.simulation.load(script)
    return _json({"loaded": True})


async def _delete_script(asked: _Asked) -> web.StreamResponse:
    asked.simulation.load_first()
    return _json({"loaded": True})


def _filters(request: web.BaseRequest, *others: str) -> dict[str, str]:
    unknown = [name for name in request.query if name not in _FILTERS and name not in others]
    if unknown:
        raise _ControlError(f"unknown parameter {', '.join(unknown)} (known: {', '.join((*others, *_FILTERS))})")
    where = {name: value for name, value in request.query.items() if name in _FILTERS}
    if not where.get("status", "0").isascii() or not where.get("status", "0").isdigit():
        raise _ControlError("status: must be a whole number, 0 for calls that got no answer")
    return where


def _number(request: web.BaseRequest, name: str, default: float) -> float:
    try:
        value = float(request.query.get(name, default))
    except ValueError:
        raise _ControlError(f"{name}: {request.query[name]!r} is not a number") from None
    if not 0 <= value < 2**63:
        raise _ControlError(f"{name}: must be 0 or more")
    return value


_CONTROLS: dict[tuple[str, str], Callable[[_Asked], Awaitable[web.StreamResponse]]] = {
    ("GET", "ready"): _ready,
    ("GET", "counts"): _counts,
    ("GET", "arrivals"): _arrivals,
    ("GET", "windows"): _windows,
    ("POST", "reset"): _reset,
    ("GET", "script"): _get_script,
    ("POST", "script"): _post_script,
    ("DELETE", "script"): _delete_script,
}
