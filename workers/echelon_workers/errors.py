"""Why an attempt failed: one small tree, which strategies, breakers and the ledger read.

    AttemptFailed
    |- TimedOut                 no whole answer within the time allowed
    |- ConnectionFailed         unreachable, refused, or cut
    |- ServerFailed             the provider's own failure: 5xx, 529 (overloaded)
    |- RateLimited              429: says when to come back
    |- QuotaExhausted           quota, credit or spend limit used up: waiting minutes does not help
    |- AuthenticationFailed     the key was refused, or there is none
    |  `- InstanceUnusable      the instance is set up wrong: no such model, no address, unknown provider
    |- BadRequest               the job itself is wrong: no other instance will take it
    |- ContextTooLong           the job is too long for this model
    |- ContentRefused           the provider or the model would not answer this content
    |- InvalidOutput            an answer came, cut or broken, or not the JSON that was asked for
    `- UnknownFailure           anything else

Each class says whether to `retry` here (this instance may well answer next time), elsewhere (another instance may)
or nowhere, and how often at most; whether the failure `counts_against_instance`, that is, feeds its breaker; and how
long the instance rests after it (`rest_s`), in the whole fleet, whatever its breaker does.
Messages never hold a key and are short; a provider's exception is not chained, because it holds the request.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from echelon_workers.ledger.job import Health, Usage

MAX_MESSAGE_CHARS = 500

Retry = Literal["here", "elsewhere", "nowhere"]

#: Rests until the configuration is loaded again.
UNTIL_RELOAD = math.inf

#: How long an instance rests whose quota or credit is used up. A person may pay at any moment, and a daily quota may
#: come back: one call in a quarter of an hour finds it out.
QUOTA_REST_S = 900.0


class AttemptFailed(Exception):
    """One call to one instance failed.

    `status` is the HTTP status, if there was an answer; `retry_after_s` how long the provider asked to wait;
    `headers` its rate-limit headers, in lower case; `usage` and `cost_usd` what the failed attempt took all the same,
    when an answer came and could not be used.
    """

    code: ClassVar[str] = "attempt_failed"
    retry: ClassVar[Retry] = "here"
    most_retries: ClassVar[int | None] = None
    counts_against_instance: bool = True
    rest_s: ClassVar[float] = 0.0

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        headers: dict[str, str] | None = None,
        usage: Usage | None = None,
        cost_usd: str | None = None,
    ) -> None:
        self.message = shorten(message)
        self.status = status
        self.retry_after_s = retry_after_s
        self.headers = headers or {}
        self.usage = usage
        self.cost_usd = cost_usd
        super().__init__(self.message)

    @property
    def resting_s(self) -> float:
        """How long the instance rests after this failure: its class's rest, or a longer time that the provider asks."""
        return max(self.rest_s, self.retry_after_s or 0.0)

    @property
    def health(self) -> Health:
        """What this says of its instance: that it failed, that it works (it refused this request), or nothing."""
        return "failed" if self.counts_against_instance or self.rest_s else "ok"

    @property
    def out_ms(self) -> int:
        """For how long the instance is out whatever its breaker says; -1: until the configuration is loaded again."""
        if not self.rest_s:
            return 0
        return -1 if self.rest_s == UNTIL_RELOAD else int(self.resting_s * 1000)

    def to_json(self) -> dict[str, Any]:
        """The error as a JSON object, for the attempt trail; what is not known is left out."""
        known = {
            "status": self.status,
            "retry_after_s": self.retry_after_s,
            "headers": self.headers or None,
            "usage": self.usage.model_dump() if self.usage else None,
            "cost_usd": self.cost_usd,
        }
        found = {name: value for name, value in known.items() if value is not None}
        return {"code": self.code, "message": self.message, "retry": self.retry, **found}


class TimedOut(AttemptFailed):
    """No whole answer came in time. The provider may have done, and billed, the work."""

    code = "timed_out"


class ConnectionFailed(AttemptFailed):
    """The provider could not be reached, or the connection was cut before the answer was whole."""

    code = "connection_failed"


class ServerFailed(AttemptFailed):
    """The provider failed: 5xx. `overloaded` when it says that it has too much to do (529)."""

    code = "server_failed"
    overloaded: bool = False


class RateLimited(AttemptFailed):
    """The provider's rate limit was met: `retry_after_s` says when it will take calls again, if it said so."""

    code = "rate_limited"
    counts_against_instance = False

    @property
    def health(self) -> Health:
        """Nothing: it may be another's doing."""
        return ""


class QuotaExhausted(AttemptFailed):
    """The account's quota or credit is used up; the instance needs a long rest, or a person."""

    code = "quota_exhausted"
    retry = "elsewhere"
    rest_s = QUOTA_REST_S


class AuthenticationFailed(AttemptFailed):
    """The key was refused or is missing: the instance is out until its configuration is loaded again."""

    code = "authentication_failed"
    retry = "elsewhere"
    rest_s = UNTIL_RELOAD


class InstanceUnusable(AuthenticationFailed):
    """The instance is set up wrong (its model is unknown to the provider, its address missing): out until reload."""

    code = "instance_unusable"


class BadRequest(AttemptFailed):
    """The request is wrong in itself and would be refused anywhere."""

    code = "bad_request"
    retry = "nowhere"
    counts_against_instance = False


class ContextTooLong(AttemptFailed):
    """The request does not fit into this model's context, or its body is too large for this provider."""

    code = "context_too_long"
    retry = "elsewhere"
    counts_against_instance = False


class ContentRefused(AttemptFailed):
    """The provider's filter or the model itself refused the content.

    Asking others until one does not refuse is not what a fallback is for: only `fallback_on_refusal` allows it.
    """

    code = "content_refused"
    retry = "nowhere"
    counts_against_instance = False


class InvalidOutput(AttemptFailed):
    """An answer came that cannot be used: cut, broken, or not the JSON asked for.

    A broken body counts against the instance; text that is not the JSON asked for does not, because the job may be
    asking for what this model cannot do.
    """

    code = "invalid_output"


class UnknownFailure(AttemptFailed):
    """A failure that none of the others describes; worth one careful retry."""

    code = "unknown_failure"
    most_retries = 1


def shorten(text: str, limit: int = MAX_MESSAGE_CHARS) -> str:
    """The text on one line, cut to `limit` characters."""
    line = " ".join(text[: limit * 4].split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


BY_CODE: dict[str, type[AttemptFailed]] = {
    error.code: error
    for error in (
        TimedOut,
        ConnectionFailed,
        ServerFailed,
        RateLimited,
        QuotaExhausted,
        AuthenticationFailed,
        InstanceUnusable,
        BadRequest,
        ContextTooLong,
        ContentRefused,
        InvalidOutput,
        UnknownFailure,
    )
}
