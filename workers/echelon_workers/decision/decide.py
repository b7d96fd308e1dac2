"""The decision after an attempt, and the one before any."""

from collections.abc import Collection
from dataclasses import replace

from echelon_configs import Configuration
from echelon_workers.errors import AttemptFailed, ContentRefused, RateLimited, Retry
from echelon_workers.strategies import Attempt

from .decision import Decision, Delay, Job, Skipped
from .rules import Rules, rules_of
from .search import Search

#: No attempt is begun with less time than this before the deadline.
LEAST_ATTEMPT_MS = 10
#: Of the attempts of a job that is buried, the reason names so many.
MOST_LISTED = 10


def decide(
    configuration: Configuration,
    job: Job,
    trail: tuple[Attempt, ...],
    failure: AttemptFailed,
    *,
    instance: str,
    left_ms: float,
    closed: Collection[str] = (),
) -> Decision:
    """What becomes of a job whose attempt on `instance` has failed, after those in `trail`, with `left_ms` to go.

    One budget of attempts and time holds for its whole way. `closed` are the instances that are out for now. The same
    arguments give the same decision; a delay is a range, for the caller to draw from.
    """
    if isinstance(failure, RateLimited):
        asked = int(1000 * (failure.retry_after_s or 0))
        return Decision("wait", job.queue, delay=Delay(asked, asked), because="it waits, and no attempt is spent")
    rules = rules_of(configuration, job.home)
    where = _where(failure, rules)
    trail = (*trail, Attempt(job.queue, instance, failure.code, where))
    if (why := _is_the_end(failure, where, trail, rules)) is not None:
        return _buried(why, trail)
    if left_ms < LEAST_ATTEMPT_MS:
        return replace(_buried("its deadline has passed", trail), verdict="expire")
    search = Search(
        configuration, job, trail, rules, closed=closed, left_ms=left_ms, retry_after_s=failure.retry_after_s
    )
    found = search.next(is_last=len(trail) + 1 == rules.max_attempts)
    if found is not None:
        return found
    late = "the next attempt would start after the deadline"
    return _buried(late if search.is_late else "there is nowhere left to go", trail, search.skipped)


def divert(
    configuration: Configuration, job: Job, trail: tuple[Attempt, ...], *, closed: Collection[str]
) -> Decision | None:
    """Where a job goes that has not started, because no instance of its queue can take it now; None: it stays."""
    search = Search(configuration, job, trail, rules_of(configuration, job.home), closed=closed)
    return None if search.stays() else search.onward()


def _where(failure: AttemptFailed, rules: Rules) -> Retry:
    if isinstance(failure, ContentRefused) and rules.fallback_on_refusal:
        return "elsewhere"
    return failure.retry


def _is_the_end(failure: AttemptFailed, where: Retry, trail: tuple[Attempt, ...], rules: Rules) -> str | None:
    if where == "nowhere":
        return f"{failure.code} is not tried again"
    if len(trail) >= rules.max_attempts:
        return f"all {rules.max_attempts} attempts are spent"
    times = sum(attempt.code == failure.code for attempt in trail)
    if failure.most_retries is not None and times > failure.most_retries:
        return f"{failure.code} has been tried again already"
    return None


def _buried(why: str, trail: tuple[Attempt, ...], skipped: tuple[Skipped, ...] = ()) -> Decision:
    listed = [f"{attempt.queue} {attempt.instance}: {attempt.code}" for attempt in trail[-MOST_LISTED:]]
    more = f"{len(trail) - MOST_LISTED} more; " if len(trail) > MOST_LISTED else ""
    return Decision("bury", because=f"{why} ({more}{'; '.join(listed)})", skipped=skipped)
