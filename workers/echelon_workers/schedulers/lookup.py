"""Finds a scheduler by its name."""

from functools import cache
from importlib import import_module

from echelon_workers.ledger.rotation import primitive_of

from .least_recently_used import LeastRecentlyUsed
from .round_robin import RoundRobin
from .scheduler import Scheduler
from .weighted import Weighted

#: By the name that a configuration gives (`rotation_strategy`).
SCHEDULERS: dict[str, type[Scheduler]] = {
    "round_robin": RoundRobin,
    "least_recently_used": LeastRecentlyUsed,
    "weighted": Weighted,
}


class SchedulerUnusable(Exception):
    """A scheduler that cannot be imported or is none; the message says which and why."""


@cache
def scheduler_named(name: str) -> Scheduler:
    """The scheduler of this name; `package.module:Class` is a user's own. Raises SchedulerUnusable."""
    if name in SCHEDULERS:
        return SCHEDULERS[name]()
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)()
    except Exception as exc:  # whatever it is: the code is a user's own
        raise SchedulerUnusable(f"the rotation {name} cannot be used ({type(exc).__name__}: {exc})") from exc
    if not isinstance(found, Scheduler):
        raise SchedulerUnusable(f"{name} is no scheduler (would be right: a subclass of {__package__}.Scheduler)")
    if found.primitive != primitive_of(name):
        raise SchedulerUnusable(
            f"{name} takes turns by {found.primitive!r} (would be right: by scores, with no `primitive` of its own)"
        )
    return found
