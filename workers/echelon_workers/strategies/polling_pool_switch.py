"""`polling_pool_switch`: a polling pool."""

from collections.abc import Iterable, Iterator

from .situation import Situation
from .strategy import Candidate, Strategy


class PollingPoolSwitch(Strategy):
    """From one echelon to a pool of many instances."""

    def candidates(self, situation: Situation) -> Iterable[Candidate]:
        """The pools among the group's `fallback_groups`; where it names none, those that its home echelon is in."""
        named = [queue for queue in situation.fallback_queues if queue.startswith("pool.")]
        return map(Candidate, named or _pools_with(situation))


def _pools_with(situation: Situation) -> Iterator[str]:
    """A member of a pool keeps the echelon that it comes from as its home."""
    for queue in situation.configuration.queues.values():
        if queue.kind == "pool" and any(member.home == situation.home for member in queue.members):
            yield queue.name
