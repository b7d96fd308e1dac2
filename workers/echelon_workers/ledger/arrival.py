"""Coming to a server that may not be the one that was there before: restarted, or another that has taken over.

Whatever it does not remember was granted all the same. So on every new connection, before anything is taken over it,
the ledger is told which server it is in (`lua/arrive.lua`): where that has changed, every rate counts the time that
may be forgotten as used. A server that keeps what it acknowledged has nothing to make up for.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from redis.exceptions import BusyLoadingError, NoPermissionError, ReadOnlyError, ResponseError

from .keys import Keys
from .scripts import script

#: With `appendfsync everysec` a write is on disk within a second, or two when the disk is slow (Redis documentation,
#: "Redis persistence"); a replica is behind by less as a rule.
FORGETS_MS = 2000

#: With these each write is on disk before it is acknowledged, also while the file is rewritten.
_LOSES_NOTHING = {"appendfsync": "always", "no-appendfsync-on-rewrite": "no"}

_NO_OTHER = "0" * 40


def arrives(keys: Keys) -> Callable[[Any], Awaitable[None]]:
    """What a connection does when it is made (redis-py's `redis_connect_func`)."""

    async def connected(connection: Any) -> None:
        await connection.on_connect()
        try:
            info = _fields(await _asked(connection, "INFO", "server", "persistence", "replication"))
            forgets_ms = FORGETS_MS if await _may_forget(connection, info) else 0
            arrive = (script("arrive").text, 2, keys.own, keys.queue_prefix, info["run_id"], forgets_ms)
            await _asked(connection, "EVAL", *arrive)
        except (NoPermissionError, KeyError):
            return  # its owner hides from us which server it is

    return connected


async def _may_forget(connection: Any, info: dict[str, str]) -> bool:
    """Whether this server may have lost what was acknowledged: by a disk that is written to later, or by a replica
    that was behind when it took over."""
    if info.get("aof_enabled") != "1" or info.get("master_replid2", _NO_OTHER) != _NO_OTHER:
        return True
    try:
        policy = await _asked(connection, "CONFIG", "GET", *_LOSES_NOTHING)
    except (BusyLoadingError, ReadOnlyError):
        raise
    except ResponseError:
        return True  # CONFIG is not for everybody
    told = policy if isinstance(policy, dict) else dict(zip(policy[::2], policy[1::2], strict=True))
    return {name.decode(): value.decode() for name, value in told.items()} != _LOSES_NOTHING


async def _asked(connection: Any, *command: object) -> Any:
    await connection.send_command(*command)
    return await connection.read_response()


def _fields(info: Any) -> dict[str, str]:
    text = info if isinstance(info, str) else info.decode()
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
