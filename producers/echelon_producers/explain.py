"""The path that a job would take, attempt by attempt, from the functions that decide it in the workers.

Nothing runs and nothing is asked: a job is imagined whose attempts fail as they are told to.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, repeat
from typing import Any

from echelon_configs import Configuration
from echelon_workers.decision import ANSWER, Decision, Job, decide, divert, job_of, rules_of
from echelon_workers.errors import BY_CODE, TimedOut
from echelon_workers.ledger.job import JobRequest
from echelon_workers.ledger.options import Options
from echelon_workers.strategies import Attempt

ANSWERED = "answered"
#: How an attempt can end.
OUTCOMES = (*BY_CODE, ANSWERED)
#: A budget may be without end; nobody reads on after so many steps.
MOST_STEPS = 50


@dataclass(frozen=True, slots=True)
class Step:
    """One attempt, how it ended, and what is decided then. Attempt 0 is none: all instances of the queue are out."""

    attempt: int
    queue: str
    instance: str
    outcome: str
    decision: Decision

    def to_json(self) -> dict[str, Any]:
        """One JSON object; delays are ranges in milliseconds."""
        shown = {name: getattr(self, name) for name in self.__slots__ if name != "decision"}
        return {**shown, **self.decision.to_json(), "delay_ms": list(self.decision.delay)}


@dataclass(frozen=True, slots=True)
class Path:
    """The path of a job that was sent to `target`, and the budget of it."""

    target: str
    home: str
    max_attempts: int
    deadline_s: float
    steps: tuple[Step, ...]

    def to_json(self) -> dict[str, Any]:
        """One JSON object."""
        shown = {name: getattr(self, name) for name in self.__slots__ if name != "steps"}
        return {**shown, "steps": [step.to_json() for step in self.steps]}


def explain(
    configuration: Configuration,
    target: str,
    *,
    node: str | None = None,
    outcomes: Sequence[str] = ("server_failed",),
    closed: Collection[str] = (),
    fallback_groups: Sequence[str] | None = None,
) -> Path:
    """The path of a job whose attempts end as `outcomes` say (codes of errors, or `answered`), the last one repeated,
    while the instances in `closed` are out. Raises UnknownTarget."""
    options = Options(fallback_groups=None if fallback_groups is None else tuple(fallback_groups))
    job = job_of(
        configuration,
        queue=configuration.resolve(target, node).queue,
        target=target,
        node=node or "",
        request=JobRequest(prompt="?"),
        options=options.to_json(),
    )
    steps = tuple(islice(_Walk(configuration, job, closed).steps(outcomes), MOST_STEPS))
    budget = rules_of(configuration, job.home).max_attempts
    return Path(target, job.home, budget, configuration.defaults.deadline_s, steps)


class _Walk:
    """An imagined job on its way."""

    def __init__(self, configuration: Configuration, job: Job, closed: Collection[str]) -> None:
        self._configuration = configuration
        self._job = job
        self._closed = closed
        self._avoid: tuple[str, ...] = ()
        self._trail: tuple[Attempt, ...] = ()
        self._left_ms = 1000 * configuration.defaults.deadline_s

    def steps(self, outcomes: Sequence[str]) -> Iterator[Step]:
        """Attempt after attempt, until the job has ended, or waits for ever."""
        if (away := divert(self._configuration, self._job, (), closed=self._closed)) is not None:
            yield Step(0, self._job.queue, "", "", away)
            self._go(away)
        for nth, outcome in enumerate(chain(outcomes, repeat(outcomes[-1])), 1):
            step = self._attempt(outcome)
            yield step
            waits_for_ever = step.decision.verdict == "wait" and nth >= len(outcomes)
            if waits_for_ever or step.decision.ends:
                return
            self._follow(step)

    def _attempt(self, outcome: str) -> Step:
        queue, instance = self._job.queue, self._instance()
        number = len(self._trail) + 1
        if outcome == ANSWERED:
            return Step(number, queue, instance, outcome, ANSWER)
        failure = BY_CODE[outcome]("as it was told to")
        if isinstance(failure, TimedOut):
            self._left_ms -= 1000 * self._timeout_s(instance)
        decision = decide(
            self._configuration,
            self._job,
            self._trail,
            failure,
            instance=instance,
            left_ms=self._left_ms,
            closed=self._closed,
        )
        return Step(number, queue, instance, outcome, decision)

    def _follow(self, step: Step) -> None:
        if step.decision.verdict == "wait":
            return
        self._left_ms -= step.decision.delay.most_ms
        retry, delayed = BY_CODE[step.outcome].retry, step.decision.delay.most_ms > 0
        self._trail = (*self._trail, Attempt(step.queue, step.instance, step.outcome, retry, delayed))
        self._go(step.decision)

    def _go(self, decision: Decision) -> None:
        self._job, self._avoid = replace(self._job, queue=decision.queue), decision.avoid

    def _instance(self) -> str:
        """The first in order that would be taken: in a running cluster they take turns."""
        names = [member.instance for member in self._configuration.queues[self._job.queue].members]
        able = [name for name in names if name not in self._avoid] or names
        return next((name for name in able if name not in self._closed), able[0])

    def _timeout_s(self, instance: str) -> float:
        queue = self._configuration.queues[self._job.queue]
        home = next(member.home for member in queue.members if member.instance == instance)
        settings, node = self._configuration.settings_of(home, instance), self._job.node
        return (settings.updated(node.overrides) if node else settings).timeout_s
