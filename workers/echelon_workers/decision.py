"""What becomes of a job after an attempt: a pure function of what is configured and what happened."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from echelon_configs import CallSettings

from .errors import AttemptFailed, RateLimited, Retry
from .ledger.verbs import Decision as Verdict

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 60.0
#: No attempt is begun with less time than this before the deadline.
LEAST_ATTEMPT_MS = 10


@dataclass(frozen=True, slots=True)
class Decision:
    """`answer`, `retry` (after a delay, elsewhere than the instances that `avoid` lists), `wait` or `bury`."""

    verdict: Verdict
    delay_ms: int = 0
    avoid: str = ""
    because: str = ""


ANSWER = Decision("answer")


def decide(
    failure: AttemptFailed,
    settings: CallSettings,
    *,
    instance: str,
    instances: Sequence[str],
    tried: Mapping[str, Retry],
    attempts: int,
    left_ms: float,
) -> Decision:
    """Decide after the `attempts`-th attempt failed on `instance`, one of the queue's `instances`.

    `tried` says of the instances of earlier attempts where their last failure may be tried again; `left_ms` is the
    time until the job's deadline. An instance that has not been tried is tried at once. With none left, the job comes
    back to those that may yet answer, after a delay: it doubles from one second with jitter (AWS, "Exponential Backoff
    And Jitter"), and a longer Retry-After of the provider is waited out. A 429 is no failure: the instance rests, and
    the job waits for any instance without having spent an attempt.
    """
    if isinstance(failure, RateLimited):
        return Decision("wait", delay_ms=int(1000 * (failure.retry_after_s or 0)))
    failed = {**tried, instance: failure.retry}
    out = {name for name, retry in failed.items() if retry == "elsewhere"}
    candidates = [name for name in instances if name not in out]
    if failure.retry == "nowhere":
        return Decision("bury", because=f"{failure.code} is not retried")
    if not candidates:
        return Decision("bury", because=f"{failure.code}, and no other instance of this queue is left")
    if left_ms < LEAST_ATTEMPT_MS:
        return Decision("bury", because="its deadline has passed")
    if attempts > settings.max_retries:
        return Decision("bury", because=f"all {attempts} attempts failed")
    if any(name not in failed for name in candidates):
        return Decision("retry", avoid=_listed(failed))
    delay_ms = _delay_ms(attempts, failure.retry_after_s)
    if delay_ms >= left_ms:
        return Decision("bury", because="the next attempt would start after the deadline")
    return Decision("retry", delay_ms=delay_ms, avoid=_listed(out if candidates == [instance] else out | {instance}))


def _listed(names: Iterable[str]) -> str:
    return ",".join(sorted(names))


def _delay_ms(attempts: int, retry_after_s: float | None) -> int:
    longest = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** (attempts - 1))
    return int(1000 * max(random.uniform(0.5, 1.0) * longest, retry_after_s or 0))  # noqa: S311
