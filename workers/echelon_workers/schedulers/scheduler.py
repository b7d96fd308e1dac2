"""What a scheduler is: it says in which of take's ways a queue's instances take turns, and publishes their scores.

Take itself runs in Redis, where no scheduler is: it rotates, takes the least recent, or goes by scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from echelon_workers.ledger.rotation import Primitive


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An instance of a queue as its scheduler sees it.

    `weight` is configured; `success_rate` is from 0 to 1; `latency_ms` of its answers is None before there was one;
    `in_use` of at most `concurrency` (None: no limit) attempts are in flight.
    """

    instance: str
    weight: float = 1.0
    success_rate: float = 1.0
    latency_ms: float | None = None
    in_use: int = 0
    concurrency: int | None = None


class Scheduler:
    """One way of taking turns. Built without arguments, shared by all queues of its name: it keeps nothing.

    A user's own goes by scores: `primitive` stays as it is here.
    """

    primitive: ClassVar[Primitive] = "score"

    def scores(self, standings: Sequence[Standing]) -> Mapping[str, float]:
        """The score of each instance, never below 0. Instances share the turns as their scores, evenly spread.

        Asked for every two seconds, in one worker of the fleet. Of one that is free only the shares matter, not the
        size of the numbers; a score of 0 leaves an instance a thousandth of the turns, and those that others cannot
        take.
        """
        return {standing.instance: standing.weight for standing in standings}
