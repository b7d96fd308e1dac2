"""What of the jobs somebody wants to see, or to send again: what is wrong with that, and the walk to it."""

from collections.abc import Collection
from typing import get_args

from echelon_configs import Configuration, UnknownTarget
from echelon_configs.problems import nearest
from echelon_workers.ledger.listing import LISTED, MOST_LOOKED_AT, Listed, Walk, list_jobs, redrive_dead
from echelon_workers.ledger.record import JobRecord, State, with_wait
from echelon_workers.ledger.status import QueueStatus, dropped_queues
from echelon_workers.ledger.verbs import Redriven

from .errors import NotListed


def wanted(configuration: Configuration, state: str | None, queue: str | None, limit: int) -> Walk[list[JobRecord]]:
    """The walk to at most `limit` jobs in this state, or in all that are listed; jobs of queues that were dropped are
    among them. Raises NotListed; the walk raises UnknownTarget."""
    states: tuple[Listed, ...] = LISTED if state is None else tuple(each for each in LISTED if each == state)
    if not states:
        raise NotListed("state", _other_state(str(state)))
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 < limit <= MOST_LOOKED_AT:
        raise NotListed("limit", f"not a whole number from 1 to {MOST_LOOKED_AT}")
    return _list(configuration, states, queue or "", limit)


def _list(configuration: Configuration, states: Collection[Listed], queue: str, limit: int) -> Walk[list[JobRecord]]:
    dropped: tuple[QueueStatus, ...] = yield dropped_queues()
    names = [queue.name for queue in dropped]
    found = yield from list_jobs(states, queue, [*configuration.queues, *names], limit)
    if not found:
        _check(configuration, queue, names)
    return [with_wait(record, None, False, dropped=record.queue in names) for record in found]


def wanted_again(configuration: Configuration, queue: str | None, code: str | None) -> Walk[dict[str, Redriven]]:
    """The walk that sends the dead of a queue, of a code, or all of them again. It raises UnknownTarget."""
    said = yield from redrive_dead(queue or "", code or "")
    if not said:
        dropped: tuple[QueueStatus, ...] = yield dropped_queues()
        _check(configuration, queue or "", [queue.name for queue in dropped])
    return said


def _check(configuration: Configuration, queue: str, dropped: Collection[str]) -> None:
    """A queue of which nothing was found, is it one? Jobs may be in one that was dropped since, or have died in it."""
    known = [*configuration.queues, *dropped]
    if queue and queue not in known:
        raise UnknownTarget(queue, nearest(queue, known, 3))


def _other_state(state: str) -> str:
    right = f"would be right: {', '.join(LISTED[:-1])} or {LISTED[-1]}"
    if state in get_args(State):
        return f"{state} jobs are not listed: they are found by their ids ({right})"
    return f"there is no state {state:.50} ({right})"
