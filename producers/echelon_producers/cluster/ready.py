"""Seeing that a process is of use: not that it runs, but that it answers."""

import http.client
import json
import re
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import redis

from echelon_workers.ledger.client import Ledger

from .process import Process

_ANSWER_S = 2.0


def answers_at(url: str, path: str) -> Callable[[Process], str]:
    """Ready when GET of `path` answers 200; tells `url`."""

    def ready(_: Process) -> str:
        return url if _status(url, path) == 200 else ""

    return ready


def announces(word: str, path: str) -> Callable[[Process], str]:
    """Ready when it has printed the line `WORD: URL` and GET of `path` there answers 200; tells that URL."""
    line = re.compile(rf"^{re.escape(word)}: (https?://\S+)\s*$", re.MULTILINE)

    def ready(process: Process) -> str:
        found = line.findall(process.log.text())
        return str(found[-1]) if found and _status(found[-1], path) == 200 else ""

    return ready


def beats(ledger: Ledger) -> Callable[[Process], str]:
    """Ready when the worker with the process's id has sent its first heartbeat; tells the worker's name."""

    def ready(process: Process) -> str:
        try:
            return _worker_of(ledger, process.pid)
        except redis.RedisError:
            return ""

    return ready


def _worker_of(ledger: Ledger, pid: int) -> str:
    names = [name.decode() for name in ledger.redis.zrevrange(ledger.keys.of("workers"), 0, -1)]  # type: ignore[union-attr]
    told = ledger.redis.mget([ledger.keys.of("worker", name) for name in names]) if names else []
    for name, about in zip(names, told, strict=True):
        known = json.loads(about) if about else {}
        if known.get("pid") == pid and known.get("host") == socket.gethostname():
            return name
    return ""


def _status(url: str, path: str) -> int:
    """The status that GET answers; 0 for no answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_ANSWER_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
