"""The HTTP server: which request goes where, start and stop."""

import asyncio
import signal
from collections.abc import Callable
from typing import Any

from aiohttp import web

from .anthropic import Anthropic
from .control import control
from .exchange import Failure
from .gemini import Gemini
from .openai import OpenAI
from .sending import serve
from .simulation import Simulation
from .wire import Wire, compact

_MOST_BODY_BYTES = 64 * 1024 * 1024
_BACKLOG = 4096
_STOP_WITHIN_S = 0.2


class Site:
    """The simulator's server, on one event loop."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        wires: tuple[Wire, ...] = (OpenAI(), Anthropic(), Gemini())
        self._wires: dict[str, Wire] = {wire.name: wire for wire in wires}

    async def start(self, host: str, port: int) -> str:
        """Listen; the URL to reach it by. Raises `OSError` when the address cannot be had."""
        loop = asyncio.get_running_loop()

        def make_request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
            return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=_MOST_BODY_BYTES)

        self._server = web.Server(
            self._answer, request_factory=make_request, handler_cancellation=True, access_log=None, max_line_size=65_536
        )
        self._runner = web.ServerRunner(self._server, shutdown_timeout=_STOP_WITHIN_S)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, backlog=_BACKLOG)
        await site.start()
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{site.port}"

    async def stop(self) -> None:
        """Close every connection, whatever is under way on it, and stop listening."""
        for site in list(self._runner.sites):
            await site.stop()
        for connection in self._server.connections:
            if connection.transport is not None:
                connection.transport.abort()
        # One turn of the loop lets the handlers of those connections end.
        await asyncio.sleep(0)
        await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if path.startswith("/_sim/"):
            return await control(self._simulation, request)
        provider, _, tail = path[1:].partition("/")
        wire = self._wires.get(provider)
        if wire is None:
            known = ", ".join(f"/{name}" for name in self._wires)
            return web.json_response({"error": f"there is no {path} (there are {known} and /_sim)"}, status=404)
        target = wire.target(request.method, f"/{tail}")
        if target is None or target == "method":
            return _nowhere(wire, request, 404 if target is None else 405)
        return await serve(self._simulation, wire, target, request)


def _nowhere(wire: Wire, request: web.BaseRequest, status: int) -> web.Response:
    what = "Unknown request URL" if status == 404 else "Wrong method for"
    failure = Failure(kind="404", message=f"{what}: {request.method} {request.path}.", code="unknown_url")
    _, headers, error = wire.error(failure)
    return web.Response(status=status, body=compact(error), headers={**headers, "content-type": "application/json"})


async def run(simulation: Simulation, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `announce` is told the URL once requests are taken."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    site = Site(simulation)
    announce(await site.start(host, port))
    await stopped.wait()
    await site.stop()
