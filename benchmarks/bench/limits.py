"""The limits that `limit_accuracy.py` holds Echelon to: one configuration, the work for it, and what each limit means.

Every limit has instances of its own, so the simulator's log says of each call which limits it is to be counted in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from echelon_configs import Configuration, load
from echelon_workers.ledger.limits import Meter, meters_of

from .lawful import AtOnce, Bucket, Law, Window

MINUTE_S = 60.0
#: How long the simulator takes for a call that is not limited by how many there are at once.
CALL_S = 0.1
#: A limit's first window is filled in a quarter of it, but no faster than so many a second: all windows after it have
#: the same pace, and that of a burst would be set by the machine and not by the limit.
FIRST_SHARE, MOST_PER_S = 0.25, 100.0
BURST = "burst"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """Jobs for one target, from `after_s` on: so many a second (`first_per_s`) for `first_s`, then all the rest at
    once."""

    target: str
    jobs: int
    after_s: float = 0.0
    first_per_s: float = 0.0
    first_s: float = 0.0
    node: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """One limit: the calls that count (by instance, or those of a node's jobs), and what it allows of calls or tokens.

    `binds`: it is what its work waits for all the time, so all of it should be in use. `timed`: and the log says when
    each call became lawful; of tokens it does not, because a call waits until what it reserves fits, which is more than
    it takes.
    """

    title: str
    law: Law
    instances: tuple[str, ...]
    node: str | None = None
    tokens: bool = False
    binds: bool = True

    @property
    def timed(self) -> bool:
        """See above."""
        return self.binds and not self.tokens


@dataclass(frozen=True, slots=True)
class Load:
    """Everything of one run."""

    configuration: Configuration
    feeds: list[Feed]
    scopes: list[Scope]
    script: dict[str, Any]


class LoadBuilder:
    """Collects limits, then makes the configuration and asks the ledger what the limiter will hold to.

    What is measured lasts `seconds`; then there are bursts for `bursts_s`, and the rest goes on.
    """

    def __init__(self, seconds: float, bursts_s: float) -> None:
        self._seconds = seconds
        self._whole_s = seconds + bursts_s
        self._groups: dict[str, Any] = {}
        self._models: dict[str, Any] = {}
        self._nodes: dict[str, Any] = {}
        self._feeds: list[Feed] = []
        self._windows: list[tuple[str, str, int, float, bool]] = []
        self._buckets: list[tuple[str, str, int, int]] = []
        self._scopes: list[Scope] = []
        self._instances: dict[str, Any] = {}

    def per_minute(self, name: str, limit: int) -> None:
        """`rpm_limit` alone."""
        self._echelon(name, {"rpm_limit": limit})
        self._windows.append((f"{limit:,} in 60 s", name, limit, MINUTE_S, False))
        self._feed(name, limit / MINUTE_S, limit, MINUTE_S)

    def window(self, name: str, limit: int, window_s: float) -> None:
        """A sliding window."""
        self._window(name, limit, window_s)
        self._feed(name, limit / window_s, limit, window_s)

    def burst(self, limit: int, window_s: float, windows: int) -> None:
        """A sliding window whose calls all come at once, again and again, when all else has been measured: the pace is
        what the machine can do, so only the calls above the limit are counted."""
        self._window(BURST, limit, window_s)
        target, jobs = f"{BURST}_group.echelon1", limit * (windows + 1)
        self._feeds.append(Feed(target=target, jobs=jobs, after_s=self._seconds))

    def tokens(self, name: str, limit: int) -> None:
        """`tpm_limit` alone. Answers differ in length, so what they take is not known before."""
        self._echelon(name, {"tpm_limit": limit, "max_tokens": 256})
        self._windows.append((f"{limit:,} tokens in 60 s", name, limit, MINUTE_S, True))
        self._instances[f"openai-{name}"] = {"answer": {"tokens": {"low": 150, "high": 250}}}
        calls = limit // 200
        self._feed(name, calls / MINUTE_S, calls, MINUTE_S)

    def bucket(self, name: str, size: int, per_minute: int) -> None:
        """A token bucket."""
        sizes = {"algorithm": "token_bucket", "bucket_size": size, "refill_rate": per_minute / MINUTE_S}
        self._echelon(name, {"rate_limiting": sizes})
        self._buckets.append((f"bucket of {size:,}, {per_minute:,}/min", name, size, per_minute))
        self._feed(name, per_minute / MINUTE_S, size, 0.0)

    def _window(self, name: str, limit: int, window_s: float) -> None:
        sizes = {"algorithm": "sliding_window", "window_size": window_s, "max_requests": limit}
        self._echelon(name, {"rate_limiting": sizes})
        self._windows.append((f"{limit:,} in {window_s:g} s", name, limit, window_s, False))

    def at_once(self, call_s: float) -> None:
        """The four levels of concurrency, each smaller than what comes to it: a group of 12 over echelons of 8 and 6,
        a model of 5, a node of 3."""
        self._models["openai-c1"] = {"model_type": "openai", "model_name": "c1", "concurrency_limit": 5}
        first = {"models": ["openai-c1", "openai-c2"], "concurrency_limit": 8}
        second = {"models": ["openai-c3"], "concurrency_limit": 6}
        self._groups["c_group"] = {"concurrency_limit": 12, "echelon1": first, "echelon2": second}
        self._nodes["c_node"] = {"llm_group": "c_group.echelon1", "concurrency_config": {"limit": 3}}
        jobs = int(12 / call_s * self._whole_s)
        self._feeds += [
            Feed(target="node.c_node", jobs=jobs // 3, node="c_node"),
            Feed(target="c_group.echelon1", jobs=jobs),
            Feed(target="c_group.echelon2", jobs=jobs),
        ]
        every = ("openai-c1", "openai-c2", "openai-c3")
        # Not all the same, so that calls do not end in step.
        self._instances |= {name: {"latency_s": {"low": call_s * 0.8, "high": call_s * 1.2}} for name in every}
        self._scopes += [
            Scope(title="12 at once (group)", law=AtOnce(limit=12), instances=every),
            Scope(title="8 at once (echelon)", law=AtOnce(limit=8), instances=every[:2], binds=False),
            Scope(title="6 at once (echelon)", law=AtOnce(limit=6), instances=every[2:], binds=False),
            Scope(title="5 at once (model)", law=AtOnce(limit=5), instances=every[:1], binds=False),
            Scope(title="3 at once (node)", law=AtOnce(limit=3), instances=every[:2], node="c_node", binds=False),
        ]

    def build(self, directory: Path) -> Load:
        """Write and load the configuration."""
        _write(directory / "llms" / "groups" / "_task_groups.yaml", {"task_groups": self._groups})
        for name, model in self._models.items():
            _write(directory / "llms" / f"{name}.yaml", model)
        if self._nodes:
            _write(directory / "workflows" / "nodes.yaml", {"workflow_nodes": self._nodes})
        configuration = load(directory).configuration
        for title, name, limit, window_s, tokens in self._windows:
            span_ms = self._meter(configuration, name).span
            law = Window(limit=limit, window_s=window_s, held_s=span_ms / 1000)
            instances, binds = (f"openai-{name}",), name != BURST
            self._scopes.append(Scope(title=title, law=law, instances=instances, tokens=tokens, binds=binds))
        for title, name, size, per_minute in self._buckets:
            meter = self._meter(configuration, name)
            held = {"held_size": meter.size, "held_per_minute": meter.span * MINUTE_S * 1000}
            bucket = Bucket(size=size, per_minute=per_minute, **held)
            self._scopes.append(Scope(title=title, law=bucket, instances=(f"openai-{name}",)))
        script = {"models": {"*": {"latency_s": CALL_S}}, "instances": self._instances}
        return Load(configuration, self._feeds, self._scopes, script)

    @staticmethod
    def _meter(configuration: Configuration, name: str) -> Meter:
        (meter,) = meters_of(configuration.echelon(f"{name}_group.echelon1").limits)
        return meter

    def _echelon(self, name: str, limits: Mapping[str, Any]) -> None:
        self._groups[f"{name}_group"] = {"echelon1": {"models": [f"openai-{name}"], **limits}}

    def _feed(self, name: str, per_s: float, burst: int, window_s: float) -> None:
        """`window_s` 0: all at once."""
        jobs = int((per_s * self._whole_s + burst) * 1.1)
        first_per_s = min(MOST_PER_S, per_s / FIRST_SHARE) if window_s else 0.0
        first_s = 1.1 * burst / first_per_s if window_s else 0.0
        target = f"{name}_group.echelon1"
        self._feeds.append(Feed(target=target, jobs=jobs, first_per_s=first_per_s, first_s=first_s))


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(dict(content)))
