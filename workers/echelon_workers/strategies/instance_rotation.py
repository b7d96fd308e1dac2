"""`instance_rotation`, of a pool: another instance each time."""

from collections.abc import Iterable

from .situation import Situation
from .strategy import Candidate, Strategy


class InstanceRotation(Strategy):
    """Whichever instance is next in turn; those that have failed come last."""

    def candidates(self, situation: Situation) -> Iterable[Candidate]:
        """The queue where the job is."""
        return [Candidate(situation.queue)]
