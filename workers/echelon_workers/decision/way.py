"""The way of a job: where it may go after its own queue, in order, and what leads there."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from echelon_workers.strategies import Candidate, Situation, StrategyUnusable, strategy_named

from .decision import Job
from .rules import Rules

#: Of a strategy no more candidates than these are looked at.
MOST_CANDIDATES = 100


class Lead(NamedTuple):
    """A candidate, and what led to it: a strategy's name, and why in words."""

    candidate: Candidate
    strategy: str
    because: str


class Way:
    """The leads of one job in one situation. `skip` is told of those that lead nowhere."""

    def __init__(self, job: Job, situation: Situation, rules: Rules, skip: Callable[[str, str, str], None]) -> None:
        self._job = job
        self._situation = situation
        self._rules = rules
        self._skip = skip

    def here(self) -> list[Lead]:
        """What the queue where the job is does itself: a pool by its strategy, any other by taking turns."""
        queue, configuration = self._job.queue, self._situation.configuration
        if queue.startswith("pool."):
            name = configuration.pools[queue.removeprefix("pool.")].fallback.strategy
            if found := list(self._named(name)):
                return found
        return [Lead(Candidate(queue), "", "")]

    def onward(self) -> list[Lead]:
        """Home, and where its jobs go from there: each place once, and only queues that there are."""
        home = self._job.home
        first: dict[Candidate, Lead] = {}
        for lead in (Lead(Candidate(home), "home", f"back to {home}, where it was sent"), *self._from_home()):
            if lead.candidate.queue in self._situation.configuration.queues:
                first.setdefault(lead.candidate, lead)
            else:
                self._skip(lead.candidate.queue, "", "there is no such queue")
        return list(first.values())

    def _from_home(self) -> Iterator[Lead]:
        """The job's own `fallback_groups`, else its node's, else the strategy of its home and then its group's."""
        job, node, rules = self._job, self._job.node, self._rules
        if job.fallback_groups is not None:
            yield from self._listed(job.fallback_groups, "the job")
        elif node is not None and node.fallback_groups:
            yield from self._listed(node.fallback_groups, f"node {node.name}")
        elif rules.strategy is not None:
            yield from self._named(rules.strategy)
            yield from self._listed(rules.fallback_groups, f"group {job.home.partition('.')[0]}")

    def _listed(self, targets: tuple[str, ...], whose: str) -> Iterator[Lead]:
        for queue in self._situation.queues_of(targets):
            yield Lead(Candidate(queue), "fallback_groups", f"fallback_groups of {whose}")

    def _named(self, strategy: str) -> Iterator[Lead]:
        """What a strategy names. One that cannot be used is on record, and the way goes on without it."""
        try:
            for queue, only in islice(strategy_named(strategy).candidates(self._situation), MOST_CANDIDATES):
                yield Lead(Candidate(queue, only), strategy, f"strategy {strategy}")
        except StrategyUnusable as unusable:
            self._skip("", "", str(unusable))
        except Exception as exc:  # whatever it is: the code is a user's own
            self._skip("", "", f"the strategy {strategy} has failed ({type(exc).__name__}: {exc})")
