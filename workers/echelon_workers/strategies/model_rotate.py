"""`model_rotate`: the other models of the echelon."""

from collections.abc import Iterable

from .situation import Situation
from .strategy import Candidate, Strategy


class ModelRotate(Strategy):
    """Every model of the echelon is tried once, however few retries it has: for tasks whose models are equals."""

    def candidates(self, situation: Situation) -> Iterable[Candidate]:
        """Home, with the models that have not failed."""
        others = frozenset(situation.instances(situation.home)) - situation.failed
        return [Candidate(situation.home, others)]
