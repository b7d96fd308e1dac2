"""What is wrong with a configuration: where, what, and what would be right."""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from echelon_configs.text.leaks import hide

Severity = Literal["error", "warning"]

# Guessing what was meant costs about a millisecond; a file that is wrong everywhere needs no thousand guesses.
MOST_GUESSES = 200

LEAST_ALIKE = 0.55  # of 1: below this, two names have nothing to do with each other


class Place(Protocol):
    """Where something was written; `Marked` is one."""

    @property
    def file(self) -> str: ...
    @property
    def line(self) -> int: ...
    @property
    def path(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, printed as `file:line: path: what is wrong (what would be right)`."""

    file: str
    line: int
    path: str
    message: str
    advice: str
    severity: Severity = "error"

    def __str__(self) -> str:
        word = "warning: " if self.severity == "warning" else ""
        return f"{self.file}:{self.line}: {self.path}: {word}{self.message} ({self.advice})"

    def to_json(self) -> dict[str, str | int]:
        """A plain object, for `--json`."""
        return {
            "file": self.file,
            "line": self.line,
            "path": self.path,
            "message": self.message,
            "advice": self.advice,
            "severity": self.severity,
        }


class ConfigurationInvalid(Exception):
    """The configuration cannot be used; `str()` is every error, one a line."""

    def __init__(self, problems: Iterable[Problem], warnings: Iterable[Problem] = ()) -> None:
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UnknownTarget(LookupError):
    """There is no such target; `nearest` are the names that come closest."""

    def __init__(self, target: str, nearest: Iterable[str] = ()) -> None:
        self.target = target
        self.nearest = tuple(nearest)
        hint = f"did you mean {any_of(self.nearest)}?" if self.nearest else "`echelon config show` lists the targets"
        super().__init__(f"there is no target {target!r} ({hint})")


class Problems:
    """Collects everything that is wrong, so that it can be reported at once."""

    def __init__(self) -> None:
        self._all: dict[Problem, None] = {}
        self._guesses = 0

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._all)

    @property
    def errors(self) -> tuple[Problem, ...]:
        return self._of("error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return self._of("warning")

    def error(self, place: Place, message: str, advice: str, *, path: str | None = None) -> None:
        self._add(place, message, advice, path, "error")

    def warning(self, place: Place, message: str, advice: str, *, path: str | None = None) -> None:
        self._add(place, message, advice, path, "warning")

    def near(self, name: str, candidates: Iterable[str], count: int) -> tuple[str, ...]:
        """The nearest names, as long as there have not been very many guesses."""
        self._guesses += 1
        return nearest(name, candidates, count) if self._guesses <= MOST_GUESSES else ()

    def did_you_mean(self, name: str, candidates: Iterable[str], otherwise: str = "") -> str:
        """`did you mean X?`, or `otherwise`, or the list of what is known."""
        known = list(dict.fromkeys(candidates))
        near = self.near(name, known, 3)
        if near:
            return f"did you mean {any_of(near)}?"
        if otherwise:
            return otherwise
        if not known:
            return "there are none yet"
        shown = ", ".join(known[:12])
        return f"known: {shown}, ..." if len(known) > 12 else f"known: {shown}"

    def _add(self, place: Place, message: str, advice: str, path: str | None, severity: Severity) -> None:
        # Names that are secrets by mistake end up in messages too; the last door is here.
        problem = Problem(
            file=place.file,
            line=place.line,
            path=hide(path or place.path),
            message=hide(message),
            advice=hide(advice),
            severity=severity,
        )
        self._all.setdefault(problem)

    def _of(self, severity: Severity) -> tuple[Problem, ...]:
        # By file in the order of reading, then by line: one error often explains the next below it.
        files = list(dict.fromkeys(problem.file for problem in self._all))
        order = {file: position for position, file in enumerate(files)}
        chosen = [problem for problem in self._all if problem.severity == severity]
        return tuple(sorted(chosen, key=lambda problem: (order[problem.file], problem.line)))


def nearest(name: str, candidates: Iterable[str], count: int) -> tuple[str, ...]:
    """The `count` candidates most like `name`, best first; none when nothing is near."""
    folded: dict[str, str] = {}
    for candidate in candidates:
        folded.setdefault(_fold(candidate), candidate)
    wanted = _fold(name[:100])
    alike = {key: difflib.SequenceMatcher(None, key, wanted).ratio() for key in folded if _may_be_near(key, wanted)}
    near = sorted((key for key in alike if alike[key] >= LEAST_ALIKE), key=lambda key: -alike[key])
    # A clear winner stands alone: what is much less like it only distracts.
    near = [key for key in near if alike[key] >= alike[near[0]] - 0.2]
    begun = [key for key in folded if len(wanted) > 1 and key.startswith(wanted) and key not in near]
    return tuple(folded[key] for key in [*near, *begun][:count])


def _may_be_near(key: str, wanted: str) -> bool:
    """The cheap upper bound of their likeness: most candidates need no closer look."""
    return difflib.SequenceMatcher(None, key, wanted).real_quick_ratio() >= LEAST_ALIKE


def any_of(names: Iterable[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    listed = list(names)
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} or {listed[-1]}"


def _fold(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")
