"""The behaviour that holds for a call, with the quotas and the random draws it uses."""

from random import Random
from typing import Any

from .faults import fingerprint
from .quota import Gate, Quota
from .script import AnswerShape, Behaviour, Distribution, Script

_AT_ONCE = Distribution(constant=0)
_MOST_KEPT = 10_000
Scope = tuple[str, str]


class Live:
    """A behaviour in force for one (model, key, instance)."""

    __slots__ = ("answer", "context_window", "first_token_share", "gate", "latency", "quota", "random")

    def __init__(self, behaviour: Behaviour, quota: Quota | None, gate: Gate | None, seed: str) -> None:
        self.latency = behaviour.latency_s or _AT_ONCE
        self.answer = behaviour.answer or AnswerShape()
        share = behaviour.first_token_share
        self.first_token_share = 0.5 if share is None else share
        self.context_window = behaviour.context_window or 0
        self.quota = quota
        self.gate = gate
        self.random = Random(seed)  # noqa: S311 - a repeatable draw, not a secret

    def draw_latency_s(self) -> float:
        """Seconds until the next answer is complete."""
        return self.latency.quantile(self.random.random())


class Behaviours:
    """Finds the behaviour of a call in a script.

    From the least specific to the most: models `*`, models NAME, keys `*`, keys NAME, instances `*`, instances NAME;
    each field is taken from the most specific entry that has it. A limit belongs to the entry it is written in: one
    of a named entry is shared by all that it covers, one under `*` is kept for each name apart.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._keys = {name if name == "*" else fingerprint(name): behaviour for name, behaviour in script.keys.items()}
        # A key may also be named by its fingerprint, as the counts show it.
        self._keys = {**script.keys, **self._keys}
        self._live: dict[tuple[str, str, str], Live] = {}
        self._quotas: dict[Scope, Quota] = {}
        self._gates: dict[Scope, Gate] = {}

    def of(self, model: str, key: str, instance: str) -> Live:
        """The behaviour for a call; `key` is a fingerprint, and "" stands for none."""
        found = self._live.get((model, key, instance))
        if found is None:
            if len(self._live) >= _MOST_KEPT:
                self._live.clear()
            found = self._live[model, key, instance] = self._find(model, key, instance)
        return found

    def _find(self, model: str, key: str, instance: str) -> Live:
        values: dict[str, Any] = {}
        scopes: dict[str, Scope] = {}
        for section, named, name in (
            ("models", self._script.models, model),
            ("keys", self._keys, key),
            ("instances", self._script.instances, instance),
        ):
            for entry in ("*", name) if name else ():
                if entry in named:
                    told = {field: getattr(named[entry], field) for field in named[entry].model_fields_set}
                    values |= {field: value for field, value in told.items() if value is not None}
                    scopes |= dict.fromkeys(told, (section, name))
        behaviour = Behaviour.model_construct(**values)
        return Live(
            behaviour,
            self._quota(behaviour, scopes),
            self._gate(behaviour, scopes),
            f"{self._script.seed}/{model}/{key}/{instance}",
        )

    def _quota(self, behaviour: Behaviour, scopes: dict[str, Scope]) -> Quota | None:
        limits = behaviour.limits
        if limits is None or (limits.rpm is None and limits.tpm is None):
            return None
        return self._quotas.setdefault(scopes["limits"], Quota(limits))

    def _gate(self, behaviour: Behaviour, scopes: dict[str, Scope]) -> Gate | None:
        if not behaviour.max_concurrency:
            return None
        return self._gates.setdefault(scopes["max_concurrency"], Gate(behaviour.max_concurrency))
