"""`task_group_switch`: the fallback groups."""

from collections.abc import Iterable

from .situation import Situation
from .strategy import Candidate, Strategy


class TaskGroupSwitch(Strategy):
    """Straight to the group's `fallback_groups`, past its own lower echelons."""

    def candidates(self, situation: Situation) -> Iterable[Candidate]:
        """Each of the fallback groups, as written."""
        return map(Candidate, situation.fallback_queues)
