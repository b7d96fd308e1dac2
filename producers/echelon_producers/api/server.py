"""Serving the API with uvicorn."""

import asyncio
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

#: A stopping server lets requests under way end for this long; those that wait for answers end at once.
STOP_WITHIN_S = 5


class ListenFailed(OSError):
    """The address cannot be had; the message says which and why."""


class Server(uvicorn.Server):
    """uvicorn's server, which tells where it listens, and ends without error when a signal stops it."""

    def __init__(self, api: FastAPI) -> None:
        config = uvicorn.Config(
            api,
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=STOP_WITHIN_S,
        )
        super().__init__(config)
        self._closing: asyncio.Event = api.state.closing
        self._listening = ""

    def listen(self, host: str, port: int) -> None:
        """Serve at this address (port 0 is any that is free) until a signal; prints `api: URL` when it listens.

        Raises ListenFailed.
        """
        bound = _bind(host, port)
        shown = f"[{host}]" if ":" in host else host
        self._listening = f"http://{shown}:{bound.getsockname()[1]}"
        self.run(sockets=[bound])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's."""
        await super().startup(sockets)
        print(f"api: {self._listening}", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's."""
        self._closing.set()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        """A signal stops the server, and a second one at once. uvicorn would raise it again afterwards."""
        self.force_exit = self.should_exit
        self.should_exit = True


def _bind(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as exc:
        raise ListenFailed(f"cannot listen on {host}:{port}: {exc.strerror or exc}") from exc
