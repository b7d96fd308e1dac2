"""The ledger's verb for health, `lua/probe.lua`, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .scripts import script
from .verbs import Verb

#: What a probe says of its instance: it works, it failed, nothing; or that no call was made.
Verdict = Literal["ok", "failed", "", "unused"]


@dataclass(frozen=True, slots=True)
class Probe:
    """A probe that is this worker's to make. `unwell`: its instance is half open, or its last attempt failed."""

    instance: str
    fence: str
    unwell: bool


@dataclass(frozen=True, slots=True)
class Begun:
    """`again_ms`: when to ask again, from now; None when there is nothing to look after."""

    again_ms: int | None
    probes: tuple[Probe, ...]


@dataclass(frozen=True, slots=True)
class PaidProbe:
    """A probe that may make a paid call, within `use_within_ms` of being asked for."""

    fence: str
    use_within_ms: int | None


def start_probes(intervals_ms: Mapping[str, int], *, lease_ms: int) -> Verb[Begun]:
    """Begin those probes of these instances that are due. Each holds a permit of concurrency, and is nobody else's."""
    args: list[str | bytes | int | float] = ["start", lease_ms]
    for instance, interval_ms in intervals_ms.items():
        args += (instance, interval_ms)
    return Verb(script("probe"), args, _read_begun)


def _read_begun(reply: list[bytes]) -> Begun:
    again, *rest = (value.decode() for value in reply)
    probes = zip(rest[::3], rest[1::3], rest[2::3], strict=True)
    found = tuple(Probe(instance, fence, unwell == "1") for instance, fence, unwell in probes)
    return Begun(int(again) if again else None, found)


def pay_probe(probe: Probe, *, lease_ms: int, tokens: int) -> Verb[PaidProbe | None]:
    """Let a probe go on to a paid call, with every permit that such a call needs. None: it may not, and has ended."""
    return Verb(script("probe"), ["pay", lease_ms, probe.instance, probe.fence, tokens], _read_paid)


def _read_paid(reply: list[bytes]) -> PaidProbe | None:
    if not reply:
        return None
    return PaidProbe(reply[0].decode(), int(float(reply[1])) if reply[1] else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedProbe:
    """How a probe ended. `code`: in a word, for people; `out_ms` is as in `Finish`; `tokens`: what it used, None when
    nobody knows."""

    instance: str
    fence: str
    verdict: Verdict
    code: str
    out_ms: int = 0
    tokens: int | None = None


def end_probes(ended: Sequence[EndedProbe]) -> Verb[list[bool]]:
    """End probes, give back what they hold, and tell the breakers; of each whether it was still this one's."""
    args: list[str | bytes | int | float] = ["end"]
    for end in ended:
        used: int | str = "" if end.tokens is None else end.tokens
        args += (end.instance, end.fence, end.verdict, end.out_ms, end.code, used)
    return Verb(script("probe"), args, lambda reply: [answer == b"done" for answer in reply])
