"""What a strategy sees: the configuration, where the job is, where it began, and what has failed so far."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from echelon_configs import Configuration, Group, UnknownTarget
from echelon_workers.errors import Retry


class Attempt(NamedTuple):
    """An attempt that failed: where, how, where its failure may be tried again, and whether a delay followed."""

    queue: str
    instance: str
    code: str
    retry: Retry
    delayed: bool = False


def read_trail(trail: str) -> tuple[Attempt, ...]:
    """The failed attempts in a job's trail, one JSON object a line. What spent no attempt is not among them, nor what
    was before the job died and was sent again."""
    found: list[Attempt] = []
    for entry in map(json.loads, trail.splitlines()):
        error, decision = entry.get("error"), entry.get("decision")
        if error and decision != "wait":
            delayed = bool(entry.get("delay_ms"))
            found.append(Attempt(entry["queue"], entry["instance"], error["code"], error["retry"], delayed))
        if decision in ("bury", "expire", "redrive"):
            found.clear()
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """A job after a failed attempt: it is in `queue`, was sent to `home`, and `trail` is what has failed."""

    configuration: Configuration
    queue: str
    home: str
    trail: tuple[Attempt, ...]

    @property
    def failed(self) -> frozenset[str]:
        """The instances that have failed this job, wherever that was."""
        return frozenset(attempt.instance for attempt in self.trail)

    @property
    def group(self) -> Group | None:
        """The group of the home echelon; None where home is a pool or a model."""
        try:
            return self.configuration.groups[self.configuration.echelon(self.home).group]
        except UnknownTarget:
            return None

    @property
    def below(self) -> tuple[str, ...]:
        """The echelons that come after home in its group, by priority."""
        queues = [echelon.queue for echelon in self.group.echelons.values()] if self.group else [self.home]
        return tuple(queues[queues.index(self.home) + 1 :])

    @property
    def fallback_queues(self) -> tuple[str, ...]:
        """The queues of the group's `fallback_groups`, in order."""
        return tuple(self.queues_of(self.group.fallback.fallback_groups if self.group else ()))

    def queues_of(self, targets: tuple[str, ...]) -> Iterator[str]:
        """The queues that these targets are; one that there is not (any more) is left out."""
        for target in targets:
            try:
                yield self.configuration.resolve(target).queue
            except UnknownTarget:
                continue

    def instances(self, queue: str) -> tuple[str, ...]:
        """The instances of a queue, in order, each once."""
        found = self.configuration.queues.get(queue)
        return tuple(dict.fromkeys(member.instance for member in found.members)) if found else ()
