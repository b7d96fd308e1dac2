"""The folder of an embedded server: its files, its locks, its socket, and starting a guardian for it."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from . import server_guardian
from .server_binary import ServerBinary, ServerUnavailable, find_server_binary
from .server_lock import FileLock, opened, wait_until

#: sockaddr_un has room for 107 bytes on Linux and 103 on macOS.
_LONGEST_SOCKET = 100
#: No client and no URL parser can trip over these.
_PLAIN = re.compile(r"[A-Za-z0-9._/-]+")
_LONGEST_LOG = 1_000_000
#: What the guardian and the server may see of the environment: no secret of the cluster.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What `server.json` says of the running server, for those who join it and for people."""

    folder: str
    socket: str
    port: int | None

    @property
    def url(self) -> str:
        """The URL for kombu, Flower and `Address`."""
        return f"redis+socket://{self.socket}?virtual_host=0"


class ServerFolder:
    """`FOLDER/` with `appendonlydir/` (the data), `server.log`, `server.json`, `s.sock` and three lock files."""

    def __init__(self, directory: Path) -> None:
        """Make the folder, readable for its owner only. Raises OSError when it cannot be written."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = directory.resolve(strict=True)
        self.log = self.path / "server.log"
        self._record = self.path / "server.json"
        self._ignore = self.path / ".gitignore"
        if not self._ignore.exists():
            self._ignore.write_text("*\n")

    def holders(self) -> FileLock:
        """The lock that each holder shares; whoever has it alone may stop the server. Not taken yet."""
        return FileLock(self.path / "holders")

    @contextlib.contextmanager
    def turn(self, deadline: float) -> Iterator[bool]:
        """One at a time may start or leave. False when the turn did not come before `deadline`."""
        with opened(self.path / "lock") as lock:
            yield any(lock.try_exclusive() for _ in wait_until(deadline))

    def has_guardian(self) -> bool:
        """Whether a guardian lives."""
        with opened(self.path / "guardian") as lock:
            return not lock.try_shared()

    def join(self, port: int | None, environment: Mapping[str, str]) -> tuple[Record, bool]:
        """The server of this folder, and whether a guardian had to be started for it: then it does not answer yet.

        Only within one's turn, holding `holders`. Raises ServerUnavailable when no guardian can be started.
        """
        found = self.record()
        with opened(self.path / "guardian") as lock:
            while not lock.try_exclusive():
                if not lock.try_shared():
                    return self._joined(found, port), False
                lock.unlock()  # somebody was only looking
            # A killed guardian's socket is used again, so that those who have its address find the new server.
            record = self._new_record(port) if found is None else replace(found, port=port)
            self.stop_leftover(record)
            binary = find_server_binary(environment)
            self._record.write_text(json.dumps(asdict(record)) + "\n")
            self._spawn(lock, record, _command(binary, record), environment)
            lock.leave()  # the guardian has it now
            return record, True

    def record(self) -> Record | None:
        """What `server.json` says, unless it came with the folder from another place."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            found = Record(**json.loads(self._record.read_text()))
            if found.folder == str(self.path) and Path(found.socket).parent.is_dir():
                return found
        return None

    def _joined(self, found: Record | None, port: int | None) -> Record:
        record = found or self._new_record(port)
        if port is not None and port != record.port:
            runs = f"on port {record.port}" if record.port else "without a TCP port"
            raise ServerUnavailable(f"the server of {self.path} runs {runs}: stop all that use it to change the port.")
        return record

    def _new_record(self, port: int | None) -> Record:
        return Record(folder=str(self.path), socket=str(self._choose_socket()), port=port)

    def _spawn(self, lock: FileLock, record: Record, command: list[str], environment: Mapping[str, str]) -> None:
        if self.log.exists() and self.log.stat().st_size > _LONGEST_LOG:
            self.log.replace(self.log.with_suffix(".log.1"))
        python = sys.executable or shutil.which("python3") or "python3"
        guard = [python, "-I", "-S", server_guardian.__file__, "guard"]
        with self.log.open("ab") as log:
            ended = subprocess.run(
                [*guard, str(self.path), record.socket, str(lock.fileno()), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lock.fileno(),),
                env={name: environment[name] for name in _ENVIRONMENT if name in environment},
                cwd="/",
                start_new_session=True,
                umask=0o077,
                check=False,
            )
        if ended.returncode != 0:
            raise ServerUnavailable(f"the embedded server's guardian cannot be started: {self.last_lines()}")

    def stop_leftover(self, record: Record) -> None:
        """End a server that runs without a guardian, so that two never write the same data.

        Raises ServerUnavailable when it is there and cannot be stopped.
        """
        pid = _listener(record.socket)
        if pid is None:
            return
        stopping = f"a server without a guardian uses {self.path}"
        if pid <= 0:
            raise ServerUnavailable(f"{stopping}, in another container: stop it there.")
        try:
            os.kill(pid, signal.SIGTERM)
            if not _has_left(record.socket, pid, server_guardian.STOP_S):
                os.kill(pid, signal.SIGKILL)
                _has_left(record.socket, pid, server_guardian.STOP_S)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise ServerUnavailable(f"{stopping} (process {pid} of another user): stop it.") from error

    def last_lines(self) -> str:
        """The end of the server's log, to be quoted in an error."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - 4000))
                lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
        except OSError as error:
            return f"({self.log} cannot be read: {error.strerror})"
        return "".join(f"\n    {line}" for line in lines[-6:]) + f"\n    (from {self.log})"

    def _choose_socket(self) -> Path:
        inside = self.path / "s.sock"
        if _is_plain(inside):
            return inside
        name = f"echelon-{os.getuid()}-{hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]}"
        for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108  (a folder of our own in it, checked below)
            short = Path(parent).resolve() / name / "s.sock"
            if _is_plain(short):
                _make_private(short.parent)
                return short
        raise ServerUnavailable(f"no path is short enough for the server's socket: set TMPDIR to a short one ({short})")


def _command(binary: ServerBinary, record: Record) -> list[str]:
    options = {
        "bind": "127.0.0.1",
        "port": str(record.port or 0),
        "unixsocket": record.socket,
        "unixsocketperm": "700",
        "dir": record.folder,
        "daemonize": "no",
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "aof-use-rdb-preamble": "no",  # an RDB of one version is refused by older ones; commands are read by all
        "maxmemory-policy": "noeviction",
    }
    return [str(binary.path), *(word for name, value in options.items() for word in (f"--{name}", value))]


def _is_plain(path: Path) -> bool:
    return len(str(path)) <= _LONGEST_SOCKET and _PLAIN.fullmatch(str(path)) is not None


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ServerUnavailable(f"{folder} is not a folder of yours alone: remove it, or set TMPDIR to another folder.")


def _listener(path: str) -> int | None:
    """The process that listens on a unix socket, even if it is too busy to answer; None when nobody does."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(path)
            if sys.platform == "darwin":
                return int(connection.getsockopt(0, 2))  # SOL_LOCAL, LOCAL_PEERPID of sys/un.h
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            return int(struct.unpack("3i", credentials)[0])
    except OSError:
        return None


def _has_left(path: str, pid: int, timeout_s: float) -> bool:
    # A server stops listening after its data is written; its process may stay as a zombie that nobody reaps.
    return any(_listener(path) != pid for _ in wait_until(time.monotonic() + timeout_s))
