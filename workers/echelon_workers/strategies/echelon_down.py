"""`echelon_down`: the next echelons of the group."""

from collections.abc import Iterable

from .situation import Situation
from .strategy import Candidate, Strategy


class EchelonDown(Strategy):
    """Down the group by priority: a slower or smaller model is better than no answer."""

    def candidates(self, situation: Situation) -> Iterable[Candidate]:
        """Each echelon below home."""
        return map(Candidate, situation.below)
