"""Fixtures of all tests: one real Redis for the session, and a namespace for each test."""

import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from hypothesis import settings
from redis.backoff import NoBackoff
from redis.retry import Retry
from waiting import until

from echelon_workers.ledger.address import URL_VARIABLES, Address
from echelon_workers.ledger.server_binary import ServerBinary, find_server_binary, inspect_binary

# A change is judged by the same examples as the one before it; `make search` draws new ones.
settings.register_profile("same", derandomize=True)
settings.register_profile("search", print_blob=True)
settings.load_profile(os.environ.get("EXAMPLES", "same"))

#: Becomes the server, and dies with the process whose id it is given (Linux), so that a killed pytest leaves nothing.
LAUNCHER = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True, slots=True)
class RedisServer:
    """The tests' own server: on a unix socket and on a port of 127.0.0.1; nothing in it is kept."""

    binary: ServerBinary
    socket: Path
    port: int
    pid: int

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def socket_url(self) -> str:
        return f"redis+socket://{self.socket}?virtual_host=0"


@pytest.fixture(scope="session", autouse=True)
def no_server_of_the_developer() -> Iterator[None]:
    """No test reaches the Redis that the shell of the developer points at."""
    with pytest.MonkeyPatch.context() as patch:
        for name in (*URL_VARIABLES, "ECHELON_NAMESPACE"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A private server, started for the tests and stopped with them.

    ECHELON_TEST_SERVER names another server program, to run the tests with an old one.
    """
    chosen = os.environ.get("ECHELON_TEST_SERVER")
    binary = inspect_binary(Path(chosen)) if chosen else find_server_binary()
    with tempfile.TemporaryDirectory(prefix="echelon-tests-") as folder:
        port = _free_port()
        command = _command(binary, Path(folder), port)
        with subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", LAUNCHER, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # ctrl-c is for pytest, which stops the server after the tests' own teardown
        ) as process:
            try:
                server = RedisServer(binary, Path(folder) / "s.sock", port, process.pid)
                until(lambda: _answers(server, process, Path(folder) / "log"), every_s=0.01, what="the server answers")
                yield server
            finally:
                process.kill()


@pytest.fixture(scope="session")
def redis_url(redis_server: RedisServer) -> str:
    """The TCP URL of the tests' server."""
    return redis_server.url


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test uses."""
    return f"t{secrets.token_hex(4)}"


@pytest.fixture
def address(redis_url: str, namespace: str) -> Address:
    """The tests' server with this test's own namespace."""
    return Address(redis_url, namespace)


@pytest.fixture
def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    return _free_port()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _command(binary: ServerBinary, folder: Path, port: int) -> list[str]:
    options = {
        "bind": "127.0.0.1",
        "port": str(port),
        "unixsocket": str(folder / "s.sock"),
        "unixsocketperm": "700",
        "dir": str(folder),
        "logfile": str(folder / "log"),
        "daemonize": "no",
        "save": "",
        "appendonly": "no",
        "maxmemory-policy": "noeviction",
    }
    return [str(binary.path), *(word for name, value in options.items() for word in (f"--{name}", value))]


def _answers(server: RedisServer, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert process.poll() is None, f"the tests' server exited: {log.read_text() if log.exists() else 'no log'}"
    with redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0)) as client:
        try:
            # Another program may have taken the port in between: then this is not our server.
            return int(client.info("server")["process_id"]) == server.pid
        except redis.ConnectionError:
            return False
