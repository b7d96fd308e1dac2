"""`simple_retry`, of a pool: the same instance again."""

from collections.abc import Iterable

from .situation import Situation
from .strategy import Candidate, Strategy


class SimpleRetry(Strategy):
    """The instance that failed last, after a delay: for conversations that a provider keeps in a cache."""

    def candidates(self, situation: Situation) -> Iterable[Candidate]:
        """That instance, and any other only where it cannot be had."""
        last = frozenset(attempt.instance for attempt in situation.trail[-1:])
        return [Candidate(situation.queue, last), Candidate(situation.queue)]
