"""The names a configuration may use for strategies, schedulers, algorithms and providers."""

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["strategies", "pool_strategies", "schedulers", "algorithms", "providers"]

#: Of these a user may name a class of his own. An algorithm is not among them: it acts inside Redis, where no class is.
OPEN_KINDS: frozenset[Kind] = frozenset({"strategies", "pool_strategies", "schedulers", "providers"})

DOTTED_PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)

# Other words in use for the same thing.
_SYNONYMS: dict[Kind, dict[str, str]] = {
    "strategies": {},
    "pool_strategies": {},
    "schedulers": {"least_used": "least_recently_used", "lru": "least_recently_used"},
    "algorithms": {},
    "providers": {"google": "gemini", "claude": "anthropic"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """Known names by kind, so that a configuration is checked without importing the workers.

    A strategy is a module of that name in `echelon_workers.strategies`, with its class in it: this is their table.
    """

    strategies: tuple[str, ...] = (
        "echelon_down",
        "model_rotate",
        "provider_failover",
        "task_group_switch",
        "polling_pool_switch",
    )
    pool_strategies: tuple[str, ...] = ("instance_rotation", "simple_retry")
    schedulers: tuple[str, ...] = ("round_robin", "least_recently_used", "weighted")
    algorithms: tuple[str, ...] = ("token_bucket", "sliding_window")
    providers: tuple[str, ...] = ("openai", "anthropic", "gemini", "openai_compatible")

    def names(self, kind: Kind) -> tuple[str, ...]:
        names: tuple[str, ...] = getattr(self, kind)
        return names

    def find(self, kind: Kind, written: str) -> str | None:
        """The name meant by `written`, a user's own `package.module:Class` as it is, or None when nobody knows it."""
        if kind in OPEN_KINDS and DOTTED_PATH.fullmatch(written):
            return written
        name = written.strip().lower().replace("-", "_").replace(" ", "_")
        name = _SYNONYMS[kind].get(name, name)
        return name if name in self.names(kind) else None
