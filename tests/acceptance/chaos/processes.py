"""The processes of a run: a server that keeps what it acknowledged, workers, and proof that none of them is left."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from waiting import until

from echelon_workers.ledger.server_binary import find_server_binary

#: In the environment of every process of a run.
MARK = "ECHELON_CHAOS_RUN"

#: Becomes the command that follows, and dies with the process whose id it is given (Linux).
_BOUND = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


def _start(command: list[str], log: Path, environment: Mapping[str, str], folder: Path) -> "subprocess.Popen[bytes]":
    bound = [sys.executable, "-I", "-S", "-c", _BOUND, str(os.getpid()), *command]
    with log.open("ab") as out:
        return subprocess.Popen(
            bound,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=folder,
            start_new_session=True,
        )


@dataclass(slots=True, eq=False)
class Server:
    """A Redis with a data folder and `appendfsync always`, so that a SIGKILL loses nothing that it acknowledged."""

    folder: Path
    port: int
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start it, unless it runs, on the data that are there; returns when it answers."""
        if self.process is not None and self.process.poll() is None:
            return
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.folder),
            "logfile": str(self.folder / "server.log"),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        command = [str(find_server_binary().path), *words]
        self.process = _start(command, self.folder / "out.log", os.environ, self.folder)
        until(self._answers, every_s=0.02, timeout_s=60, what="the server answers")

    def client(self) -> "redis.Redis":
        """A connection past the proxy."""
        return redis.Redis(port=self.port, socket_timeout=20)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the server ended: {(self.folder / 'server.log').read_text()[-2000:]}"
        with redis.Redis(port=self.port, retry=Retry(NoBackoff(), 0), socket_timeout=20) as client:
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.TimeoutError):
                return False


@dataclass(slots=True, eq=False)
class ChaosWorker:
    """One worker process."""

    process: "subprocess.Popen[bytes]"
    log: Path
    stopped: bool = False

    def send(self, number: int) -> None:
        """A signal, if it still runs."""
        if self.process.poll() is None:
            self.process.send_signal(number)

    def stop(self) -> None:
        """SIGSTOP."""
        self.stopped = True
        self.send(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self.stopped = False
        self.send(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(30)

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None


@dataclass(slots=True, eq=False)
class Workers:
    """Workers over one URL; what they leave in their folder and in their temporary folder is what is asked for last."""

    folder: Path
    url: str
    simulator_url: str
    mark: str
    slots: int
    lease_s: float
    live: list[ChaosWorker] = field(default_factory=list)
    ended: list[ChaosWorker] = field(default_factory=list)
    #: those that were told to end in order
    leaving: list[ChaosWorker] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("work", "tmp", "logs"):
            (self.folder / name).mkdir()

    def start(self) -> ChaosWorker:
        """One more."""
        number = len(self.live) + len(self.ended) + len(self.leaving)
        log = self.folder / "logs" / f"worker-{number}.log"
        environment = {
            **os.environ,
            "PYTHONWARNINGS": "ignore",
            "ECHELON_REDIS_URL": self.url,
            "ECHELON_SIMULATOR_URL": self.simulator_url,
            "ECHELON_LEASE_S": str(self.lease_s),
            "ECHELON_GRACE_S": "6",
            "TMPDIR": str(self.folder / "tmp"),
            MARK: self.mark,
        }
        command = [sys.executable, "-m", "celery", "-A", "echelon_workers.app", "worker", "-l", "INFO"]
        command += ["-c", str(self.slots), "-n", f"chaos-{number}@test"]
        worker = ChaosWorker(_start(command, log, environment, self.folder / "work"), log)
        self.live.append(worker)
        return worker

    def kill(self, worker: ChaosWorker) -> None:
        """SIGKILL one, and start another."""
        worker.kill()
        self.live.remove(worker)
        self.ended.append(worker)
        self.start()

    def terminate(self, worker: ChaosWorker) -> None:
        """SIGTERM one, and start another: it finishes or gives back what it has."""
        worker.go_on()
        worker.send(signal.SIGTERM)
        self.live.remove(worker)
        self.leaving.append(worker)
        self.start()

    def everyone(self) -> list[ChaosWorker]:
        """All that there ever were."""
        return [*self.ended, *self.leaving, *self.live]

    def left_files(self) -> list[str]:
        """What is in the folders that the workers could write to."""
        return [str(path) for name in ("work", "tmp") for path in (self.folder / name).rglob("*")]


def marked_processes(mark: str) -> list[str]:
    """The command lines of processes that carry this run's mark (Linux)."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if line.strip():  # one that has ended and was not waited for has none
                    found.append(f"{entry.name}: {line}")
        except OSError:
            continue
    return found
