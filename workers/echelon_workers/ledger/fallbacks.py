"""What the fleet has on record of its fallbacks: how often each strategy was used, where to, what it cost in time.

`lua/finish.lua` counts and keeps it, in the step that carries a move out.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from .client import AsyncLedger, Ledger

#: The history has no more than these (`lua/finish.lua`).
MOST_HISTORY = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyUse:
    """One strategy. `moves`: how often it sent a job on; `answered` and `dead`: jobs that ended so after it was the
    last to move them; `lost_ms`: the time of the attempts that had failed before."""

    moves: int = 0
    answered: int = 0
    dead: int = 0
    lost_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueUse:
    """One queue. `came`: how often a job fell back to it; `lost_ms`: the time of the attempts in it that failed before
    their jobs went elsewhere."""

    came: int = 0
    lost_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallbacks:
    """All of it, since the beginning. `history` has the last ones, the newest first: `job`, `at_ms`, `from`,
    `instance`, `to`, `strategy`, `outcome`, `because`."""

    strategies: dict[str, StrategyUse] = field(default_factory=dict)
    queues: dict[str, QueueUse] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)


def fallbacks(ledger: Ledger) -> Fallbacks:
    """Read it. Raises redis.RedisError when Redis cannot be reached."""
    with ledger.redis.pipeline(transaction=False) as pipe:
        pipe.hgetall(ledger.keys.of("moves"))
        pipe.lrange(ledger.keys.of("history"), 0, MOST_HISTORY - 1)
        return _read(*pipe.execute())


async def fallbacks_async(ledger: AsyncLedger) -> Fallbacks:
    """As `fallbacks`, in an event loop."""
    async with ledger.redis.pipeline(transaction=False) as pipe:
        pipe.hgetall(ledger.keys.of("moves"))
        pipe.lrange(ledger.keys.of("history"), 0, MOST_HISTORY - 1)
        return _read(*await pipe.execute())


def _read(moves: dict[bytes, bytes], history: list[bytes]) -> Fallbacks:
    strategies: dict[str, dict[str, int]] = {}
    queues: dict[str, dict[str, int]] = {}
    for field_name, number in moves.items():
        counted, _, name = field_name.decode().partition(" ")
        if counted in _OF_STRATEGY:
            strategies.setdefault(name, {})[_OF_STRATEGY[counted]] = int(number)
        elif counted in _OF_QUEUE:  # what this version does not know is another version's business
            queues.setdefault(name, {})[_OF_QUEUE[counted]] = int(number)
    return Fallbacks(
        strategies={name: StrategyUse(**counts) for name, counts in strategies.items()},
        queues={name: QueueUse(**counts) for name, counts in queues.items()},
        history=[json.loads(line) for line in history if line],
    )


_OF_STRATEGY = {"move": "moves", "answer": "answered", "bury": "dead", "lost_ms": "lost_ms"}
_OF_QUEUE = {"to": "came", "lost_at": "lost_ms"}
