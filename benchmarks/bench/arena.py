"""Where a benchmark runs: a folder, a Redis and a simulator of its own, all gone when it ends."""

import os
import signal
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

import redis

from echelon_producers.simulator.process import SimulatorProcess
from echelon_workers.ledger.server import open_server

from .process import Worker, bound_python


class Arena:
    """`with Arena() as arena`: the embedded server on a private port, for both sides (a database for each worker)."""

    def __enter__(self) -> Self:
        signal.signal(signal.SIGTERM, _ended)
        self._stack = ExitStack()
        with ExitStack() as opening:
            self.folder = Path(opening.enter_context(tempfile.TemporaryDirectory(prefix="echelon-bench-")))
            self.port = _free_port()
            environment = {name: value for name, value in os.environ.items() if name != "ECHELON_NAMESPACE"}
            hold = opening.enter_context(open_server(self.folder / "redis", environment=environment, port=self.port))
            self.server = hold.version
            self._stack = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def url(self, db: int) -> str:
        """The server's URL, over TCP for both sides."""
        return f"redis://127.0.0.1:{self.port}/{db}"

    def client(self, db: int) -> "redis.Redis":
        """A connection of the benchmark's own."""
        client = redis.Redis(port=self.port, db=db, client_name="bench")
        self._stack.callback(client.close)
        return client

    def simulator(self, *options: str) -> SimulatorProcess:
        """A simulator of its own, as the far side of HTTP calls."""
        return self._stack.enter_context(SimulatorProcess("--port", "0", *options, python=bound_python()))

    def keep(self, worker: Worker) -> Worker:
        """Kill the worker at the end if nobody has stopped it by then."""
        self._stack.callback(worker.kill)
        return worker


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ended(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
