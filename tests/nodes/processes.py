"""Processes of this machine, where pytest-celery's nodes expect containers.

A `CeleryTestNode` takes any object that offers what is here; no Docker engine is asked.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from waiting import until

from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.server_binary import find_server_binary

READY_S = 60.0
STOP_S = 60.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    """So that a killed pytest leaves nothing running (Linux)."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class NodeProcess:
    """One process in a session of its own, with the face of a container: `name`, `id`, `status`, `kill`, `restart`."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.name = self.id = name
        self._command = command
        self._environment = {**os.environ, **environment}
        self._log = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; `ready` waits until it is of use."""
        with self._log.open("ab") as out:
            self.process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    @property
    def status(self) -> str:
        """As Docker says it."""
        return "running" if self.process is not None and self.process.poll() is None else "exited"

    def logs(self) -> str:
        """What it has said since it was first started."""
        return self._log.read_text(errors="replace")

    def ready(self) -> bool:
        """Wait until it is of use. AssertionError with its log when it ends before, or takes too long."""
        return until(self._is_ready, timeout_s=READY_S, what=f"{self.name} is ready")

    def _is_ready(self) -> bool:
        assert self.status == "running", f"{self.name} has ended:\n{self.logs()[-4000:]}"
        return self.answers()

    def answers(self) -> bool:
        """Whether it is of use now."""
        raise NotImplementedError

    def kill(self, signal: str | int = "SIGKILL", timeout_s: float = STOP_S) -> None:
        """Send a signal to it and wait for its end. Raises subprocess.TimeoutExpired."""
        assert self.process is not None
        os.killpg(self.process.pid, _number(signal))
        self.process.wait(timeout_s)

    def restart(self, timeout: float = STOP_S) -> None:
        """As Docker does: SIGTERM, SIGKILL after `timeout` seconds, start, wait until it is ready."""
        if self.status == "running":
            try:
                self.kill("SIGTERM", timeout)
            except subprocess.TimeoutExpired:
                self.kill("SIGKILL")
        self.start()
        self.ready()

    def reload(self) -> None:
        """Nothing is cached that could be out of date."""

    def teardown(self) -> None:
        """End it, whatever it does."""
        if self.status == "running":
            self.kill("SIGKILL")


class ServerProcess(NodeProcess):
    """The embedded server's program, on a port of its own, with every write on disk before it is answered."""

    def __init__(self, name: str, port: int, folder: Path) -> None:
        options = {
            "bind": "127.0.0.1",
            "port": str(port),
            "dir": str(folder),
            "daemonize": "no",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        super().__init__(name, [str(find_server_binary().path), *words], folder, {})
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"

    @property
    def celeryconfig(self) -> dict[str, Any]:
        """What pytest-celery makes the app's broker URL of."""
        return {"url": self.url, "host_url": self.url, "hostname": "127.0.0.1", "port": self.port, "vhost": "0"}

    def answers(self) -> bool:
        """Whether it is this very process that answers."""
        assert self.process is not None
        with redis.Redis(port=self.port, retry=Retry(NoBackoff(), 0)) as client:
            try:
                return int(client.info("server")["process_id"]) == self.process.pid
            except (redis.ConnectionError, redis.BusyLoadingError):
                return False


class WorkerProcess(NodeProcess):
    """`celery -A echelon_workers.app worker` for some queues, on the scripted provider."""

    def __init__(self, name: str, queues: Sequence[str], address: Address, folder: Path) -> None:
        self._queues = ",".join(queues)
        self._ledger = Ledger(address)
        command = [sys.executable, "-m", "celery", "-A", "echelon_workers.app", "worker", "-l", self.log_level()]
        command += ["-n", f"{self.worker_name()}@{name}", "-Q", self._queues]
        tests = Path(__file__).parents[1]
        environment = {
            "PYTHONPATH": str(tests),
            "ECHELON_REDIS_URL": address.url,
            "ECHELON_PROVIDERS": "scripted_provider:Providers",
            "ECHELON_LEASE_S": "2",
            "ECHELON_SLOTS": "20",
            "SCRIPTED_ARRIVALS": str(folder / "arrivals"),
        }
        super().__init__(name, command, folder, environment)

    def worker_name(self) -> str:
        """Before the @ of the node's host name; behind it stands the id."""
        return "acceptance"

    def worker_queue(self) -> str:
        """The queues it serves."""
        return self._queues

    def log_level(self) -> str:
        """Of the worker's log."""
        return "INFO"

    def answers(self) -> bool:
        """Whether this very process has sent its first heartbeat and taken once."""
        assert self.process is not None
        keys, pid = self._ledger.keys, f":{self.process.pid}:".encode()
        workers: Any = self._ledger.redis.zrange(keys.of("workers"), 0, -1)
        names = [name.decode() for name in workers if pid in name]
        return any(self._ledger.redis.exists(keys.of("taker", name)) for name in names)

    def teardown(self) -> None:
        """As every process; the server may be gone already."""
        super().teardown()
        self._ledger.close()


def _number(of: str | int) -> int:
    return getattr(signal, of) if isinstance(of, str) else of
