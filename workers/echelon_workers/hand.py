"""What this worker holds in its hand: every granted job, from take until Redis has acknowledged its end."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from .ledger.verbs import Grant

#: Why a running job was stopped from outside, and so how its attempt settles it.
Stop = Literal["cancel", "return", "lost"]


@dataclass(slots=True, eq=False)
class Held:
    """One granted job, asked for at `asked_at`, whose lease is good until `good_until` (both `time.monotonic`).

    `task` runs it; `sent` says that its call is on its way, `stop` why it was stopped, `done` that its end is on
    record.
    """

    grant: Grant
    asked_at: float
    good_until: float
    task: "asyncio.Task[None] | None" = None
    stop: Stop | None = None
    sent: bool = False
    done: bool = False

    @property
    def lapsed(self) -> bool:
        """Whether its grant is too old for a call to be made on it: the call might arrive out of its window, or its
        lease has not been renewed and may be another worker's by now.

        Both count from before Redis was asked, on this machine's monotonic clock, so no clock needs to be right; a
        process that was stopped has grown older too.
        """
        within_ms, now = self.grant.use_within_ms, time.monotonic()
        return now > self.good_until or (within_ms is not None and (now - self.asked_at) * 1000 > within_ms)

    def halt(self, why: Stop) -> None:
        """Stop the job's attempt: its call is closed, and the attempt settles the job as `why` says."""
        if self.stop is None and not self.done:
            self.stop = why
            if self.task is not None:
                self.task.cancel()


class Hand:
    """The held jobs of one worker, found by lease, by job and by the task that runs them."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        #: granted under a rate, and not yet sent: these have to be sent at once
        self.urgent = 0
        self._by_lease: dict[tuple[str, str], Held] = {}
        self._by_task: dict[asyncio.Task[None], Held] = {}
        self._by_job: dict[str, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._by_lease)

    def __iter__(self) -> Iterator[Held]:
        return iter(list(self._by_lease.values()))

    def take_up(self, grant: Grant, asked_at: float) -> Held:
        """A grant came in: hold it."""
        held = self._by_lease[(grant.id, grant.lease)] = Held(grant, asked_at, asked_at + self._lease_s)
        self.urgent += grant.use_within_ms is not None
        return held

    def send(self, held: Held) -> bool:
        """The job's call is about to go: whether it still may."""
        if held.sent:
            return True
        if held.lapsed:
            return False
        held.sent = True
        self.urgent -= held.grant.use_within_ms is not None
        return True

    def runs_in(self, held: Held, task: "asyncio.Task[None]") -> None:
        """This task runs the job."""
        held.task = task
        self._by_task[task] = held
        self._by_job[held.grant.id] = task

    def of(self, id: str, lease: str) -> Held | None:
        """The held job with this lease, if it is still in the hand."""
        return self._by_lease.get((id, lease))

    def task_of_job(self, id: str) -> "asyncio.Task[None] | None":
        """The task that runs a job here, until that task has ended in Celery too."""
        return self._by_job.get(id)

    def of_task(self, task: "asyncio.Task[None]") -> Held | None:
        """The job that a task runs or ran."""
        return self._by_task.get(task)

    def ended(self, task: "asyncio.Task[None]") -> Held | None:
        """A task has ended: the job it ran, and no more of it here."""
        held = self._by_task.pop(task, None)
        if held is not None and self._by_job.get(held.grant.id) is task:
            del self._by_job[held.grant.id]
        return held

    def renewed(self, leases: Iterable[tuple[str, str]], asked_at: float) -> None:
        """Redis was asked to renew these leases, and did so unless it says otherwise."""
        for lease in leases:
            if (held := self._by_lease.get(lease)) is not None:
                held.good_until = asked_at + self._lease_s

    def leases(self) -> list[tuple[str, str]]:
        """The leases to renew."""
        return list(self._by_lease)

    def put_down(self, held: Held) -> None:
        """The job's end is on record: hold it no more."""
        held.done = True
        if self._by_lease.pop((held.grant.id, held.grant.lease), None) and not held.sent:
            self.urgent -= held.grant.use_within_ms is not None
