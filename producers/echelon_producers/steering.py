"""Steering queues: which of them somebody means, moving their jobs, and the jobs of queues that were dropped.

What takes many calls is a walk, the same for a thread and for an event loop (`Ledger.follow`).
"""

from collections.abc import Iterable, Sequence

from echelon_configs import Configuration, UnknownTarget
from echelon_configs.problems import any_of, nearest
from echelon_workers.ledger.listing import Walk
from echelon_workers.ledger.status import QueueStatus, dropped_queues
from echelon_workers.ledger.verbs import MOST_JOBS_A_CALL, Order, Relocated, Verb, relocate, steer


class UnknownQueue(UnknownTarget):
    """There is no queue of this name; `nearest` are the names that come closest."""

    def __init__(self, queue: str, there_are: Iterable[str], right: str = "") -> None:
        super().__init__(queue, nearest(queue, there_are, 3))
        hint = right or (f"did you mean {any_of(self.nearest)}?" if self.nearest else "`echelon status --all` has them")
        self.args = (f"there is no queue {queue!r} ({hint})",)


def ordered(configuration: Configuration, order: Order, queues: Sequence[str]) -> Verb[int]:
    """Pause queues of the configuration, drain them, or let them go on. Raises UnknownQueue."""
    for queue in queues:
        _check(configuration, queue)
    return steer(order, queues)


def move_jobs(configuration: Configuration, source: str, target: str) -> Walk[int]:
    """Move all that waits in a queue, or is delayed, to another, some at a time; returns how many that were.

    The source may be a queue that an earlier revision had, as long as it has jobs. What runs goes on, and comes back to
    the source if it has to. Raises UnknownQueue, ValueError for a queue and itself.
    """
    _check(configuration, target)
    if source == target:
        raise ValueError(f"{source} is where its jobs are (would be right: another queue to move them to)")
    return _move_all(configuration, source, target)


def _move_all(configuration: Configuration, source: str, target: str) -> Walk[int]:
    if source not in configuration.queues:
        yield from _check_dropped(configuration, source)
    moved, behind, most = 0, 0, MOST_JOBS_A_CALL
    while moved <= most:
        part: Relocated = yield relocate(source, target, behind=behind)
        if not part.is_known:  # it was dropped a moment ago, or somebody made its list something else
            raise UnknownQueue(target, (), "it is not in force any more, or its key is no list")
        if not moved:
            # Two who move jobs to and fro between the same queues shall come to an end.
            most = MOST_JOBS_A_CALL + 2 * (part.moved + part.left)
        moved += part.moved
        if part.behind is None or not part.left:
            break
        behind = part.behind
    return moved


def _check_dropped(configuration: Configuration, source: str) -> Walk[None]:
    found: tuple[QueueStatus, ...] = yield dropped_queues()
    names = [queue.name for queue in found]
    if source not in names:
        raise UnknownQueue(source, [*configuration.queues, *names])


def _check(configuration: Configuration, queue: str) -> None:
    if queue in configuration.queues:
        return
    try:
        right = f"would be right: {configuration.resolve(queue).queue}"
    except UnknownTarget:
        right = ""
    raise UnknownQueue(queue, configuration.queues, right)
