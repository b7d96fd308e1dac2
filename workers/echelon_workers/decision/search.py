"""The search for a job's next attempt: which queue, which instances there, and after which delay."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from itertools import islice

from echelon_configs import Configuration, Queue, Retry
from echelon_workers.strategies import Attempt, Candidate, Situation

from .decision import NO_DELAY, Decision, Delay, Job, Skipped
from .fit import Fit
from .rules import Rules, backoff
from .way import Lead, Way

#: Of what was passed over no more than this is kept: it goes into the job's record.
MOST_SKIPPED = 20

Look = Callable[[], Decision | None]


class Search:
    """One search over one trail, whose last attempt is the one that has just failed.

    `closed` are instances that are out for now (an open breaker, no quota, a refused key). One that failed this job
    and would again is out for it for good.
    """

    def __init__(
        self,
        configuration: Configuration,
        job: Job,
        trail: tuple[Attempt, ...],
        rules: Rules,
        *,
        closed: Collection[str] = (),
        left_ms: float = float("inf"),
        retry_after_s: float | None = None,
    ) -> None:
        #: whether an attempt was passed over because it would start after the deadline
        self.is_late = False
        self._configuration = configuration
        self._job = job
        self._trail = trail
        self._rules = rules
        self._closed = frozenset(closed)
        self._left_ms = left_ms
        self._retry_after_s = retry_after_s
        self._situation = Situation(configuration=configuration, queue=job.queue, home=job.home, trail=trail)
        self._gone = frozenset(attempt.instance for attempt in trail if attempt.retry != "here")
        self._fit = Fit(configuration, job, trail)
        self._skipped: dict[tuple[str, str], str] = {}
        self._way = Way(job, self._situation, rules, self._skip)

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What has been passed over so far, in the order in which it was met."""
        found = islice(self._skipped.items(), MOST_SKIPPED)
        return tuple(Skipped(queue, instance, why) for (queue, instance), why in found)

    def next(self, *, is_last: bool) -> Decision | None:
        """The next attempt; None: there is nowhere to go.

        First here, then onward to what has not failed, then back to what has. The last attempt of the budget goes
        onward first. Where all that is left is out for now, the job waits there for it to come back.
        """
        near = [self.here, self.onward]
        found = _first([*(reversed(near) if is_last else near), self.back])
        if found is not None or not self._closed:
            return found
        self._closed = frozenset()
        found = _first([*near, self.back])
        return replace(found, because="all that is left is out for now: it waits there") if found else None

    def stays(self) -> bool:
        """Whether the queue where the job is has an instance for it now."""
        return self._any_open(self._able(Candidate(self._job.queue)))

    def here(self) -> Decision | None:
        """In the same queue: an instance that has not failed at once, or one that has after a delay."""
        if self._job.queue not in self._configuration.queues or self._is_spent(self._job.queue):
            return None
        return _first([look for lead in self._way.here() for look in (self._at_once(lead), self._later(lead))])

    def onward(self) -> Decision | None:
        """The first place on the way that has an instance that has not failed."""
        return _first(self._at_once(lead) for lead in self._way.onward() if self._is_open_to(lead.candidate))

    def back(self) -> Decision | None:
        """The first other place on the way whose instances may yet answer, though they have failed."""
        others = (lead for lead in self._way.onward() if lead.candidate.queue != self._job.queue)
        return _first(self._later(lead) for lead in others if not self._is_spent(lead.candidate.queue))

    def _is_open_to(self, candidate: Candidate) -> bool:
        """Named instances are each tried once, whatever the queue's attempts; a whole queue is held to them."""
        if candidate.only is not None:
            return True
        return candidate.queue != self._job.queue and not self._is_spent(candidate.queue)

    def _at_once(self, lead: Lead) -> Look:
        def look() -> Decision | None:
            able = self._able(lead.candidate)
            fresh = [name for name in able if name not in self._situation.failed]
            if able and not fresh and lead.candidate.queue != self._job.queue:
                self._skip(lead.candidate.queue, "", "each of its instances has failed already")
            return self._decision(lead, fresh, NO_DELAY) if self._any_open(fresh) else None

        return look

    def _later(self, lead: Lead) -> Look:
        def look() -> Decision | None:
            able, last = self._able(lead.candidate), self._trail[-1].instance if self._trail else ""
            others = [name for name in able if name != last]
            chosen = others if self._any_open(others) else able
            if not self._any_open(chosen):
                return None
            delay = self._delay(lead.candidate.queue, last, last in chosen)
            if delay.most_ms < self._left_ms:
                return self._decision(lead, chosen, delay)
            self.is_late = True
            self._skip(lead.candidate.queue, "", "the next attempt would start after the deadline")
            return None

        return look

    def _delay(self, queue: str, last: str, is_again: bool) -> Delay:
        """The delay before the next attempt; the same instance's Retry-After is waited out."""
        earlier = sum(attempt.delayed and attempt.queue == queue for attempt in self._trail)
        known = self._configuration.instances.get(last)
        delay = backoff(self._rules.retry_delay_s, known.retry if known else Retry(), earlier)
        asked = int(1000 * (self._retry_after_s or 0)) if is_again else 0
        return Delay(max(delay.least_ms, asked), max(delay.most_ms, asked))

    def _decision(self, lead: Lead, chosen: list[str], delay: Delay) -> Decision:
        queue = lead.candidate.queue
        return Decision(
            verdict="retry" if queue == self._job.queue else "move",
            queue=queue,
            avoid=tuple(name for name in sorted(self._situation.instances(queue)) if name not in chosen),
            delay=delay,
            strategy=lead.strategy,
            because=lead.because or ("it may answer the next time" if delay.most_ms else "another instance"),
            skipped=self.skipped,
        )

    def _able(self, candidate: Candidate) -> list[str]:
        """The instances of a candidate that can take the job, those that are out for now included."""
        able: list[str] = []
        if (queue := self._configuration.queues.get(candidate.queue)) is None:
            return able
        for name in self._situation.instances(candidate.queue):
            if candidate.only is not None and name not in candidate.only:
                continue
            if why := self._why_not(queue, name):
                self._skip(queue.name, name, why)
            else:
                able.append(name)
                if name in self._closed:
                    self._skip(queue.name, name, "it is out for now")
        return able

    def _why_not(self, queue: Queue, name: str) -> str:
        if name in self._gone:
            return "it has failed, and would again"
        # An instance may be in a pool by way of several echelons: take chooses which, so each of them has to do.
        members = (member for member in queue.members if member.instance == name)
        return next(filter(None, (self._fit.why_not(queue, member) for member in members)), "")

    def _any_open(self, names: list[str]) -> bool:
        return any(name not in self._closed for name in names)

    def _is_spent(self, queue: str) -> bool:
        """Whether the job has had all the attempts that this queue gives it."""
        trail = [attempt for attempt in self._trail if attempt.queue == queue]
        if not trail or len(trail) < (most := self._most_attempts(queue, trail[-1].instance)):
            return False
        self._skip(queue, "", f"all {most} attempts that it gives are spent" if most > 1 else "it gives one attempt")
        return True

    def _most_attempts(self, queue: str, instance: str) -> int:
        if queue.startswith("pool."):
            return self._configuration.pools[queue.removeprefix("pool.")].fallback.max_instance_attempts
        known, node = instance in self._configuration.instances, self._job.node
        settings = self._configuration.settings_of(queue, instance if known else None)
        return 1 + (settings.updated(node.overrides) if node else settings).max_retries

    def _skip(self, queue: str, instance: str, why: str) -> None:
        self._skipped.setdefault((queue, instance), why)


def _first(looks: Iterable[Look]) -> Decision | None:
    return next(filter(None, (look() for look in looks)), None)
