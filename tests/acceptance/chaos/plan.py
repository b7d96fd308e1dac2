"""What happens when: a pure function of the seed, so that a run can be played again."""

from dataclasses import dataclass
from random import Random
from typing import Literal

Kind = Literal[
    "kill", "stop", "stop_long", "kill_server", "cut_all", "publish", "pause", "drain", "faults", "outage", "terminate"
]

#: How often each comes, and of what length its consequence is in seconds (a stop, an absence, a pause).
_WEIGHTS: dict[Kind, tuple[int, float, float]] = {
    "kill": (6, 0, 0),
    "terminate": (1, 0, 0),
    "stop": (3, 0.3, 2.0),
    "stop_long": (4, 4.2, 7.0),
    "kill_server": (2, 0.2, 2.5),
    "cut_all": (2, 0, 0),
    "publish": (4, 0, 0),
    "pause": (3, 0.5, 3.0),
    "drain": (1, 0.5, 2.0),
    "faults": (3, 0, 0),
    "outage": (1, 1.0, 3.0),
}
#: In every run, however short, at about this share of it.
_ALWAYS: tuple[tuple[float, Kind], ...] = (
    (0.1, "kill"),
    (0.2, "stop_long"),
    (0.35, "kill_server"),
    (0.45, "publish"),
    (0.55, "pause"),
    (0.65, "kill"),
    (0.75, "stop"),
)
_EVERY_S = 1.5


@dataclass(frozen=True, slots=True)
class Event:
    """At `at_s`, something happens for `lasts_s`; `draw` decides what else is open (which worker, which queue)."""

    at_s: float
    kind: Kind
    lasts_s: float
    draw: int

    def __str__(self) -> str:
        lasts = f" for {self.lasts_s:.1f} s" if self.lasts_s else ""
        return f"{self.at_s:6.2f} s {self.kind}{lasts} ({self.draw})"


def plan_of(seed: int, seconds: float) -> list[Event]:
    """The events of a run, in order."""
    draw = Random(seed)
    found = [_event(draw, seconds * share, kind) for share, kind in _ALWAYS]
    at_s = draw.uniform(0.5, _EVERY_S)
    while at_s < seconds:
        kind = draw.choices(list(_WEIGHTS), [weight for weight, _, _ in _WEIGHTS.values()])[0]
        found.append(_event(draw, at_s, kind))
        at_s += draw.uniform(0.2, 2 * _EVERY_S)
    return sorted(found, key=lambda event: event.at_s)


def _event(draw: Random, at_s: float, kind: Kind) -> Event:
    _, least_s, most_s = _WEIGHTS[kind]
    return Event(round(at_s, 2), kind, round(draw.uniform(least_s, most_s), 2), draw.randrange(1 << 16))
