"""What a benchmark prints: a table for people, or one JSON document, and its exit code."""

import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure of both sides, the median of its rounds. `stock` is the baseline's: stock Celery's, or what `note`
    says; None where there is nothing to compare."""

    what: str
    unit: str
    ours: float
    stock: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours over stock's."""
        return self.ours / self.stock if self.stock else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A figure and what it has to reach; `baseline` is what stands beside it, in the same unit."""

    name: str
    value: float
    goal: float
    baseline: float | None
    met: bool

    def __str__(self) -> str:
        beside = "" if self.baseline is None else f", baseline {_number(self.baseline)}"
        verdict = "met" if self.met else "NOT MET"
        return f"{verdict:8}{self.name}: {_number(self.value)} (goal {_number(self.goal)}{beside})"

    @classmethod
    def at_least(cls, name: str, value: float, goal: float, baseline: float | None = None) -> "Goal":
        """Met from `goal` upwards."""
        return cls(name=name, value=round(value, 4), goal=goal, baseline=_rounded(baseline), met=value >= goal)

    @classmethod
    def at_most(cls, name: str, value: float, goal: float, baseline: float | None = None) -> "Goal":
        """Met up to `goal`."""
        return cls(name=name, value=round(value, 4), goal=goal, baseline=_rounded(baseline), met=value <= goal)


@dataclass(slots=True)
class Results:
    """All rows and goals of one benchmark."""

    benchmark: str
    short: bool
    server: str
    rows: list[Row] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)

    def document(self) -> dict[str, object]:
        """The JSON document."""
        return {
            "benchmark": self.benchmark,
            "short": self.short,
            "machine": machine(self.server),
            "rows": [{**asdict(row), "ratio": _rounded(row.ratio)} for row in self.rows],
            "goals": [asdict(goal) for goal in self.goals],
        }

    def show(self, *, as_json: bool) -> int:
        """Print, and return the exit code: 0 when every goal is met, else 1."""
        if as_json:
            print(json.dumps(self.document(), indent=2))
        else:
            print(_table(self.rows))
            for goal in self.goals:
                print(goal)
        return 0 if all(goal.met for goal in self.goals) else 1


def machine(server: str) -> dict[str, object]:
    """What the figures were measured on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "server": server,
        **{name: version(name) for name in ("celery", "kombu", "redis", "uvloop", "aiohttp")},
    }


def progress(line: str) -> None:
    """Say on stderr what is going on."""
    print(line, file=sys.stderr, flush=True)


def median(values: Sequence[float]) -> float:
    """The middle of the rounds."""
    return statistics.median(values)


def _table(rows: Sequence[Row]) -> str:
    lines = [f"{'':58}{'Echelon':>12}{'baseline':>14}{'ratio':>8}"]
    for row in rows:
        stock = "" if row.stock is None else _number(row.stock)
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        what = f"{row.what} [{row.unit}]" if row.unit else row.what
        lines.append(f"{what:58}{_number(row.ours):>12}{stock:>14}{ratio:>8}  {row.note}".rstrip())
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
