"""What becomes of a job after an attempt: a pure function of what is configured and what happened."""

import random
from dataclasses import dataclass

from echelon_configs import CallSettings

from .errors import AttemptFailed
from .ledger.verbs import Decision as Verdict

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 60.0


@dataclass(frozen=True, slots=True)
class Decision:
    """`answer`, `retry` (after a delay, elsewhere than `avoid` if there is an elsewhere) or `bury`."""

    verdict: Verdict
    delay_ms: int = 0
    avoid: str = ""
    because: str = ""


ANSWER = Decision("answer")


def decide(
    failure: AttemptFailed, settings: CallSettings, *, attempts: int, instance: str, others: int, left_ms: float
) -> Decision:
    """Decide after the `attempts`-th attempt failed on `instance`, with `others` instances beside it in the queue and
    `left_ms` until the job's deadline.

    Delays double from one second with full jitter, as in AWS's "Exponential Backoff And Jitter"; a provider's
    Retry-After is waited out when it is longer.
    """
    if failure.retry == "nowhere":
        return Decision("bury", because=f"{failure.code} is not retried")
    if failure.retry == "elsewhere" and not others:
        return Decision("bury", because=f"{failure.code}: no other instance in this queue")
    if attempts > settings.max_retries:
        return Decision("bury", because=f"all {attempts} attempts failed")
    delay_ms = 0 if others and failure.retry_after_s is None else _delay_ms(attempts, failure.retry_after_s)
    if delay_ms >= left_ms:
        return Decision("bury", because="the next attempt would start after the deadline")
    return Decision("retry", delay_ms=delay_ms, avoid=instance)


def _delay_ms(attempts: int, retry_after_s: float | None) -> int:
    longest = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** (attempts - 1))
    return int(1000 * max(random.uniform(0.5, 1.0) * longest, retry_after_s or 0))  # noqa: S311
