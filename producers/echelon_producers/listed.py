"""What of the jobs somebody wants to see, or to send again: checked before Redis is asked."""

from typing import get_args

from echelon_configs import Configuration, UnknownTarget
from echelon_configs.problems import nearest
from echelon_workers.ledger.listing import LISTED, MOST_LOOKED_AT, Listed, Walk, list_jobs, redrive_dead
from echelon_workers.ledger.record import JobRecord, State
from echelon_workers.ledger.verbs import Redriven

from .errors import NotListed


def wanted(configuration: Configuration, state: str | None, queue: str | None, limit: int) -> Walk[list[JobRecord]]:
    """The walk to at most `limit` jobs in this state, or in all that are listed. Raises NotListed, UnknownTarget."""
    states: tuple[Listed, ...] = LISTED if state is None else tuple(each for each in LISTED if each == state)
    if not states:
        raise NotListed("state", _other_state(str(state)))
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 < limit <= MOST_LOOKED_AT:
        raise NotListed("limit", f"not a whole number from 1 to {MOST_LOOKED_AT}")
    return list_jobs(states, _known(configuration, queue), configuration.queues, limit)


def wanted_again(configuration: Configuration, queue: str | None, code: str | None) -> Walk[dict[str, Redriven]]:
    """The walk that sends the dead of a queue, of a code, or all of them again. Raises UnknownTarget."""
    return redrive_dead(_known(configuration, queue), code or "")


def _known(configuration: Configuration, queue: str | None) -> str:
    if queue is not None and queue not in configuration.queues:
        raise UnknownTarget(queue, nearest(queue, configuration.queues, 3))
    return queue or ""


def _other_state(state: str) -> str:
    right = f"would be right: {', '.join(LISTED[:-1])} or {LISTED[-1]}"
    if state in get_args(State):
        return f"{state} jobs are not listed: they are found by their ids ({right})"
    return f"there is no state {state:.50} ({right})"
