"""A server of a test's own that can be killed, restarted, stopped and continued: Redis on its worst day."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import redis
from conftest import LAUNCHER
from redis.backoff import NoBackoff
from redis.retry import Retry
from waiting import until

from echelon_workers.ledger.server_binary import ServerBinary


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class OutageServer:
    """One valkey-server (or, with `sentinel`, a Sentinel) on a port of 127.0.0.1 with a folder of its own."""

    def __init__(self, binary: ServerBinary, folder: Path, port: int, **options: str) -> None:
        """`options` as in its configuration file, with `_` for a dash; by default nothing acknowledged is lost."""
        folder.mkdir(parents=True, exist_ok=True)
        self.binary, self.folder, self.port = binary, folder, port
        always = {"appendonly": "yes", "appendfsync": "always", "save": "", "maxmemory-policy": "noeviction"}
        self.options = always | {name.replace("_", "-"): value for name, value in options.items()}
        self.process: subprocess.Popen[bytes] | None = None
        self.redis = redis.Redis(port=port, socket_timeout=5, retry=Retry(NoBackoff(), 0))

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, with the data that its folder has, and wait until it answers."""
        options = {"bind": "127.0.0.1", "port": str(self.port), "dir": str(self.folder)} | self.options
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        self._run([str(self.binary.path), *words])

    def start_sentinel(self, *lines: str) -> None:
        """Start it as a Sentinel whose configuration has these lines too."""
        configuration = self.folder / "sentinel.conf"
        own = ("bind 127.0.0.1", f"port {self.port}", f"dir {self.folder}")
        configuration.write_text("\n".join([*own, *lines]) + "\n")
        self._run([str(self.binary.path), str(configuration), "--sentinel"])

    def _run(self, command: list[str]) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", LAUNCHER, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._answers, what=f"the server on port {self.port} answers")
        assert self.info("server")["process_id"] == process.pid, "another program has taken the port"

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the server exited: {(self.folder / 'log').read_text()[-2000:]}"
        try:
            return bool(self.redis.ping())
        except (redis.ConnectionError, redis.TimeoutError):  # not there yet, or loading its data
            return False

    def kill(self) -> None:
        """SIGKILL, as when the power goes; nothing more is written."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Killed for as long as this lasts, then started again."""
        self.kill()
        yield
        self.start()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """SIGSTOP for as long as this lasts: whoever connects is neither answered nor refused."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def disk_full(self, is_full: bool = True) -> None:
        """No file of the server's may grow from now on, or may again (Linux)."""
        assert self.process is not None
        size = max((file.stat().st_size for file in self.folder.rglob("*") if file.is_file()), default=0)
        most = size if is_full else resource.RLIM_INFINITY
        # The Python that became the server ignores SIGXFSZ, and so does the server: a write fails, as with ENOSPC.
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))

    def info(self, section: str) -> dict[str, int | str]:
        return dict(self.redis.info(section))  # type: ignore[arg-type]

    def close(self) -> None:
        self.kill()
        self.redis.close()
