"""A call to a provider, and what came back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from echelon_configs import CallSettings, Instance
from echelon_workers.ledger.job import Answer, JobRequest


class GrantLapsed(Exception):
    """The permit for this call is too old: the call might arrive out of its window, so it is not made."""


def _at_any_time() -> None:
    """A call without a permit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One attempt at one instance.

    `settings` are already merged (job over node over echelon); `timeout_s` is the time for the whole call.
    `job_id` and `attempt`, when given, travel in the headers `x-echelon-job` and `x-echelon-attempt`. `sending` is to
    be called as the last thing before the request goes; it raises GrantLapsed when that is too late.
    """

    instance: Instance
    request: JobRequest
    settings: CallSettings
    timeout_s: float
    job_id: str = ""
    attempt: int = 0
    sending: Callable[[], None] = _at_any_time


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderAnswer:
    """An answer and the rate-limit headers that came with it, in lower case."""

    answer: Answer
    rate_limits: dict[str, str] = field(default_factory=dict)
