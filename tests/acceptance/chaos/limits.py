"""The configuration that a run is held to, its revisions, and which limit was in force when.

Every limit has instances of its own, so the simulator's log says of each call which limits it counts in.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import yaml

from echelon_configs import Configuration, load

#: What a revision may set each limit to; the first revision has the first of each.
CHOICES: Mapping[str, tuple[int, ...]] = {
    "group": (9, 6, 12),
    "echelon": (7, 4),
    "model": (4, 2),
    "node": (3, 2),
    "window": (16, 8, 24),
    "minute": (300, 180),
    "tokens": (16_000, 10_000),
    "pool": (12, 6),
}
WINDOW_S, POOL_S, MINUTE_S = 2.0, 1.5, 60.0
BUCKET_SIZE, BUCKET_PER_MINUTE = 8, 480

#: The instances whose calls count in a limit.
ALPHA = ("openai-a1", "anthropic-a2", "gemini-a3")
INSTANCES: Mapping[str, tuple[str, ...]] = {
    "group": ALPHA,
    "echelon": ALPHA[:2],
    "model": ALPHA[:1],
    "window": ("openai-w1",),
    "minute": ("anthropic-m1",),
    "tokens": ("anthropic-m1",),
    "pool": ("openai-p1", "gemini-p2"),
    "bucket": ("gemini-b1",),
}
NODE = "node.c_node"
TARGETS = {
    "alpha_group.echelon1": 5,
    "alpha_group.echelon2": 2,
    NODE: 3,
    "window_group": 4,
    "minute_group": 3,
    "bucket_group": 3,
    "pool.p_pool": 3,
}
_ECHELON = {"timeout": 4, "max_retries": 2, "max_tokens": 128}


@dataclass(frozen=True, slots=True)
class Setting:
    """One revision's limits, in force for no longer than from `from_ns` to `until_ns` (monotonic)."""

    limits: Mapping[str, int]
    from_ns: int
    until_ns: int | None = None


@dataclass(slots=True)
class Revisions:
    """The limits over time."""

    settings: list[Setting] = field(default_factory=list)

    @contextmanager
    def coming(self, limits: Mapping[str, int]) -> Iterator[None]:
        """While these are being published the old and the new are both in force; then only the new are."""
        before = len(self.settings)
        self.settings.append(Setting(limits, time.monotonic_ns()))
        yield
        now_ns = time.monotonic_ns()
        for number in range(before):
            setting = self.settings[number]
            if setting.until_ns is None:
                self.settings[number] = Setting(setting.limits, setting.from_ns, now_ns)

    def most(self, name: str, from_ns: int, until_ns: int) -> int:
        """The largest value that a limit had at any moment of this stretch."""
        return max(
            setting.limits[name]
            for setting in self.settings
            if setting.from_ns <= until_ns and (setting.until_ns is None or setting.until_ns >= from_ns)
        )


def drawn(draw: Random | None = None) -> dict[str, int]:
    """The limits of a revision; of the first one without a draw."""
    return {name: draw.choice(values) if draw else values[0] for name, values in CHOICES.items()}


def configure(directory: Path, limits: Mapping[str, int]) -> Configuration:
    """Write and load the configuration with these limits."""
    window = {"algorithm": "sliding_window", "window_size": WINDOW_S, "max_requests": limits["window"]}
    pool = {"algorithm": "sliding_window", "window_size": POOL_S, "max_requests": limits["pool"]}
    bucket = {"algorithm": "token_bucket", "bucket_size": BUCKET_SIZE, "refill_rate": BUCKET_PER_MINUTE / 60}
    minute = {"rpm_limit": limits["minute"], "tpm_limit": limits["tokens"]}
    groups: dict[str, Any] = {
        "alpha_group": {
            "concurrency_limit": limits["group"],
            "echelon1": {**_ECHELON, "models": list(ALPHA[:2]), "concurrency_limit": limits["echelon"], "priority": 1},
            "echelon2": {**_ECHELON, "models": list(ALPHA[2:]), "priority": 2, "queue_size": 80},
            "fallback_config": {"strategy": "echelon_down", "max_attempts": 5, "retry_delay": 0.1},
        },
        "window_group": {"echelon1": {**_ECHELON, "models": ["openai-w1"], "rate_limiting": window}},
        "minute_group": {"echelon1": {**_ECHELON, "models": ["anthropic-m1"], **minute}},
        "bucket_group": {"echelon1": {**_ECHELON, "models": ["gemini-b1"], "rate_limiting": bucket}},
        "pool_group": {"echelon1": {**_ECHELON, "models": ["openai-p1", "gemini-p2"]}},
    }
    document = {
        "task_groups": groups,
        "polling_pools": {"p_pool": {"task_groups": ["pool_group"], "rate_limiting": pool}},
        "global_fallback": {
            "max_attempts": 5,
            "retry_delay": 0.1,
            "circuit_breaker": {"failure_threshold": 5, "recovery_time": 1, "half_open_requests": 2},
        },
        "rate_limiting": {"estimate": "worst_case"},
        "defaults": {"health_check_interval": 0},
    }
    _write(directory / "llms" / "groups" / "_task_groups.yaml", document)
    model = {"model_type": "openai", "model_name": "a1", "concurrency_limit": limits["model"]}
    _write(directory / "llms" / "openai-a1.yaml", model)
    node = {"llm_group": "alpha_group.echelon1", "concurrency_config": {"limit": limits["node"]}}
    _write(directory / "workflows" / "nodes.yaml", {"workflow_nodes": {"c_node": node}})
    return load(directory).configuration


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(dict(content)))
