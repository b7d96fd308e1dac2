"""Which fault, if any, strikes a call."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from random import Random

from .script import Fault, Operation, Script


def fingerprint(key: str) -> str:
    """What stands for an API key in counts and scripts: the first 12 hex digits of its SHA-256."""
    return sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """A call as faults see it. `since_start_s` and `since_script_s` are seconds of the two clocks."""

    operation: Operation
    provider: str
    model: str
    instance: str
    key: str
    since_start_s: float
    since_script_s: float


class _Watch:
    """One fault with its counts: how many calls matched it and how many it struck."""

    def __init__(self, fault: Fault, seed: str) -> None:
        self.fault = fault
        self._random = Random(seed)  # noqa: S311 - a repeatable draw, not a secret
        self._matched = 0
        self._struck = 0

    def strikes(self, occasion: Occasion) -> bool:
        if not matches(self.fault, occasion):
            return False
        fault = self.fault
        self._matched += 1
        if self._matched <= fault.skip or (fault.count is not None and self._struck >= fault.count):
            return False
        # Drawn for every match, so that which calls are struck depends on their order alone.
        if fault.share < 1 and self._random.random() >= fault.share:
            return False
        self._struck += 1
        return True


class FaultPlan:
    """The script's faults in order; the first that strikes a call is the one it gets."""

    def __init__(self, script: Script) -> None:
        self._watches = [_Watch(fault, f"{script.seed}/fault/{place}") for place, fault in enumerate(script.faults)]
        self._marked: dict[tuple[bytes, int], int] = {}

    def choose(self, occasion: Occasion) -> Fault | None:
        """The script's fault for this call, counted as having struck."""
        for watch in self._watches:
            if watch.strikes(occasion):
                return watch.fault
        return None

    def choose_marked(self, faults: Sequence[Fault], prompt: bytes, occasion: Occasion) -> Fault | None:
        """The fault that the prompt's own markers call for; `count` is counted for each prompt by itself."""
        for place, fault in enumerate(faults):
            if not matches(fault, occasion):
                continue
            struck = self._marked.get((prompt, place), 0)
            if fault.count is None or struck < fault.count:
                self._marked[prompt, place] = struck + 1
                return fault
        return None


def matches(fault: Fault, occasion: Occasion) -> bool:
    """Whether a fault is meant for this call, by name and time; names may hold `*` and `?`."""
    if not fault.strikes(occasion.operation):
        return False
    since_s = occasion.since_start_s if fault.clock == "start" else occasion.since_script_s
    if since_s < fault.from_s or (fault.to_s is not None and since_s >= fault.to_s):
        return False
    if fault.provider is not None and fault.provider != occasion.provider:
        return False
    if fault.key is not None and occasion.key not in (fault.key, fingerprint(fault.key)):
        return False
    return _named(fault.model, occasion.model) and _named(fault.instance, occasion.instance)


def _named(pattern: str | None, name: str) -> bool:
    return pattern is None or pattern == name or fnmatchcase(name, pattern)
