"""The configuration in force: a revision in Redis, the same for the whole cluster.

`ledger` knows it as a document (JSON, without secrets) with a number and a digest; what is in it is the business of
`echelon_configs`.
"""

from dataclasses import dataclass
from typing import Any

from .client import AsyncLedger, Ledger

_PUBLISH = """
local before = redis.call('HGET', KEYS[1], 'digest')
if before == ARGV[1] or (before and ARGV[3] == '1') then return redis.call('HGET', KEYS[1], 'number') end
local number = redis.call('HINCRBY', KEYS[1], 'number', 1)
redis.call('HSET', KEYS[1], 'digest', ARGV[1], 'document', ARGV[2])
redis.call('PUBLISH', KEYS[2], number)
return tostring(number)
"""


@dataclass(frozen=True, slots=True)
class Revision:
    """One published configuration."""

    number: int
    digest: str
    document: bytes


def publish(ledger: Ledger, digest: str, document: str, *, only_if_none: bool = False) -> int:
    """Put a configuration in force and return its revision number. The same digest again is the same revision.

    With `only_if_none`, one that is in force already stays.
    """
    keys = ledger.keys
    number: Any = ledger.redis.eval(
        _PUBLISH, 2, keys.of("revision"), keys.of("published"), digest, document, "1" if only_if_none else ""
    )
    return int(number)


def current(ledger: Ledger) -> Revision | None:
    """The revision in force, or None when nothing was ever published here."""
    reply: Any = ledger.redis.hmget(ledger.keys.of("revision"), ["number", "digest", "document"])
    return _read(reply)


async def current_async(ledger: AsyncLedger) -> Revision | None:
    """As `current`, in an event loop."""
    reply: Any = await ledger.redis.hmget(ledger.keys.of("revision"), ["number", "digest", "document"])
    return _read(reply)


def _read(reply: list[bytes | None]) -> Revision | None:
    number, digest, document = reply
    if number is None or digest is None or document is None:
        return None
    return Revision(int(number), digest.decode(), document)
