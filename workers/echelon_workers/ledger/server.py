"""The cluster's Redis: the one that is named, else a server of our own in a folder, shared by all who open it."""

import contextlib
import os
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from redis.exceptions import NoPermissionError

from . import server_guardian
from .address import Address
from .server_binary import OLDEST, ServerUnavailable
from .server_folder import Record, ServerFolder
from .server_lock import FileLock, wait_until

__all__ = ["DIRECTORY", "ServerHold", "ServerUnavailable", "choose_server", "open_server"]

#: Where the embedded server keeps its data when nothing else is said.
DIRECTORY = Path(".echelon")

#: How long the last holder waits for the server to stop.
CLOSE_S = 10.0


class ServerHold:
    """A server that one can use until `close`. An embedded one lives as long as somebody, anywhere, holds it.

    address: where it is. version: what it is, as `Valkey 9.1.2`. started: whether this call started it.
    folder: the embedded server's folder; None for a server of somebody else, which is never stopped.
    A hold ends with its process too, however that ends; a forked child has no part in it.
    """

    def __init__(self, address: Address, version: str, *, folder: Path | None = None, started: bool = False) -> None:
        self.address = address
        self.version = version
        self.folder = folder
        self.started = started
        self._on_close = contextlib.ExitStack()
        self._closing = threading.Lock()

    def close(self) -> None:
        """Let go of it. The last one waits until the server has stopped with its data written (10 s at most)."""
        with self._closing:
            self._on_close.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def choose_server(
    url: str | None = None,
    directory: Path = DIRECTORY,
    environment: Mapping[str, str] = os.environ,
    *,
    timeout_s: float = 15.0,
    port: int | None = None,
) -> ServerHold:
    """The server at `url`, else at ECHELON_REDIS_URL or REDIS_URL, else the embedded one of `directory`.

    `timeout_s` and `port` are those of `open_server`. Raises AddressInvalid for a URL of an unknown kind, and
    ServerUnavailable when the server cannot be reached or started, or is older than 7.0.
    """
    namespace = environment.get("ECHELON_NAMESPACE", "")
    address = Address(url, namespace) if url else Address.from_environment(environment)
    if address is not None:
        return ServerHold(address, _version_of(address))
    return open_server(directory, environment=environment, timeout_s=timeout_s, port=port)


def open_server(
    directory: Path = DIRECTORY,
    *,
    environment: Mapping[str, str] = os.environ,
    timeout_s: float = 15.0,
    port: int | None = None,
) -> ServerHold:
    """Use the embedded server of `directory`, starting it if nobody has: with its data, or with none at first.

    `timeout_s` is how long to wait for a sign of life; a server that is reading its data back gives one, and is
    waited for. `port` adds a TCP port on 127.0.0.1, open to every user of this machine, for other tools.
    `environment` is asked for PATH and ECHELON_NAMESPACE. Threads and processes may all open the same directory.
    Raises ServerUnavailable with what to do.
    """
    try:
        return _open(ServerFolder(directory), environment, timeout_s, port)
    except OSError as error:
        raise ServerUnavailable(
            f"the embedded server cannot use the folder {directory.absolute()} ({error.strerror or error}). "
            f"Choose one that you can write in, or set ECHELON_REDIS_URL to a server that runs."
        ) from error


def _open(folder: ServerFolder, environment: Mapping[str, str], timeout_s: float, port: int | None) -> ServerHold:
    deadline = time.monotonic() + timeout_s
    holders = folder.holders()
    try:
        with folder.turn(deadline) as mine:
            if not (mine and any(holders.try_shared() for _ in wait_until(deadline))):
                raise ServerUnavailable(
                    f"others were starting or stopping the server of {folder.path} for {timeout_s:g} s."
                )
            record, started = folder.join(port, environment)
        _await_answer(folder, record, timeout_s)
        address = Address(record.url, environment.get("ECHELON_NAMESPACE", ""))
        hold = ServerHold(address, _version_of(address, retries=6), folder=folder.path, started=started)
        hold._on_close.callback(_let_go, folder, record, holders)
    except BaseException:
        holders.close()
        raise
    return hold


def _await_answer(folder: ServerFolder, record: Record, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while (said := server_guardian.answer(record.socket)) != "ready":
        if not folder.has_guardian():
            raise ServerUnavailable(f"the server of {folder.path} ended when it was started:{folder.last_lines()}")
        if said == "loading":
            deadline = time.monotonic() + timeout_s
        elif time.monotonic() > deadline:
            raise ServerUnavailable(f"the server of {folder.path} was silent for {timeout_s:g} s:{folder.last_lines()}")
        time.sleep(0.005)


def _let_go(folder: ServerFolder, record: Record, holders: FileLock) -> None:
    if holders.closed:  # in a forked child
        return
    deadline = time.monotonic() + CLOSE_S
    with contextlib.closing(holders):
        if not holders.is_at(folder.path / "holders"):
            return  # somebody removed the folder; its guardian still sees when nobody is left
        with folder.turn(deadline) as mine:
            holders.unlock()
            # Neither alone nor shared: the guardian has it, and is stopping the server already.
            is_last = holders.try_exclusive() or not holders.try_shared()
            holders.close()
            if mine and is_last and any(not folder.has_guardian() for _ in wait_until(deadline)):
                folder.stop_leftover(record)  # only where a killed guardian's server goes on: not on Linux


def _version_of(address: Address, *, retries: int = 1) -> str:
    """What the server says it is. Raises ServerUnavailable when it does not answer or is older than 7.0."""
    try:
        with contextlib.closing(address.client(retries=retries)) as client:
            told = client.info("server")
    except NoPermissionError:
        return "unknown"  # its owner hides INFO from us; the commands we need are then for them to allow
    except redis.RedisError as error:
        raise ServerUnavailable(
            f"Redis at {address.redacted} cannot be used: {error} (is it running, are host, port and password right?)"
        ) from error
    except ValueError:
        # Neither the URL nor the error is quoted: here, either may hold a part of the password.
        raise ServerUnavailable(
            "the Redis URL cannot be read (right would be redis://USER:PASSWORD@HOST:PORT/DB; "
            "in a password, characters such as / # @ : are written %2F %23 %40 %3A)"
        ) from None
    version = str(told["redis_version"])
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST:
        raise ServerUnavailable(f"Redis at {address.redacted} is {version}: it must be 7.0 or newer, or any Valkey.")
    return f"Valkey {told['valkey_version']}" if "valkey_version" in told else f"Redis {version}"
