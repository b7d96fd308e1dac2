"""What went wrong during a call as one of our few classes of errors: the one place where that is done.

Providers and gateways relay each other's errors, so one table holds for all: by the codes and types that an error
object carries, by its words where there is no code, and by the HTTP status.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
from pydantic import ValidationError

from echelon_workers import errors
from echelon_workers.errors import AttemptFailed
from echelon_workers.providers.json_api import HttpFailed
from echelon_workers.providers.scrub import scrub

_CONTEXT_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error"})  # the second is llama.cpp's
_CONTEXT_WORDS = (
    "exceeds the available context size",
    "context window",
    "context length",
    "reduce the length of the messages",
    "prompt is too long",
    "too many input tokens",
    "input token count",
    "number of tokens allowed",
)
#: A longer Retry-After is a mistake of its sender (a date where seconds belong): nobody waits for more than a day.
LONGEST_RETRY_AFTER_S = 86_400.0

_REFUSED_CODES = frozenset({"content_filter", "content_policy_violation", "invalid_prompt", "moderation_blocked"})
_REFUSED_WORDS = ("content filtering policy", "content policy", "content management policy", "safety system")
_QUOTA_CODES = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "exceeded_current_quota_error",
        "billing_error",
    }
)
_RATE_CODES = frozenset({"rate_limit_error", "rate_limit_exceeded", "RESOURCE_EXHAUSTED"})
_KEY_CODES = frozenset({"invalid_api_key", "API_KEY_INVALID", "UNAUTHENTICATED", "PERMISSION_DENIED"})
_OVERLOAD_WORDS = ("overloaded", "over capacity")


class Unreadable(Exception):
    """A body with status 200 that is not what the provider's API returns; the message says what is wrong with it."""


def failure_of(
    exc: Exception, *, instance: str, secrets: Iterable[str] = (), headers: Mapping[str, str] | None = None
) -> AttemptFailed:
    """The error that says what this exception means; `headers` are the rate-limit headers seen during the call."""
    if isinstance(exc, AttemptFailed):
        exc.headers = exc.headers or dict(headers or {})
        return exc
    kind = _class_of(exc)
    failure = kind(
        scrub(f"{instance}: {_said(exc)}", secrets),
        status=exc.status if isinstance(exc, HttpFailed) else None,
        retry_after_s=_retry_after_s(exc) if isinstance(exc, HttpFailed) else None,
        headers=dict(headers or {}),
    )
    if isinstance(failure, errors.ServerFailed) and isinstance(exc, HttpFailed):
        failure.overloaded = exc.status == 529 or _is_overloaded(exc)
    return failure


def unreadable(exc: Exception) -> Unreadable:
    """The reason why an answer could not be read, without quoting the answer."""
    if isinstance(exc, ValidationError):
        if any(error["type"] == "json_invalid" for error in exc.errors(include_input=False, include_url=False)):
            return Unreadable("an answer that is not JSON")
        return Unreadable(f"an answer of another shape ({exc.error_count()} fields are not as documented)")
    return Unreadable(f"an answer of another shape ({type(exc).__name__}: {_first_line(exc)})")


def _class_of(exc: Exception) -> type[AttemptFailed]:
    if isinstance(exc, HttpFailed):
        return next(kind for applies, kind in _TABLE if applies(exc))
    if isinstance(exc, Unreadable):
        return errors.InvalidOutput
    if isinstance(exc, httpx2.TimeoutException):
        # A host that cannot be reached is told from one that does not answer.
        unreached = isinstance(exc, httpx2.ConnectTimeout | httpx2.PoolTimeout)
        return errors.ConnectionFailed if unreached else errors.TimedOut
    if isinstance(exc, TimeoutError):
        return errors.TimedOut
    return errors.ConnectionFailed if isinstance(exc, httpx2.TransportError | OSError) else errors.UnknownFailure


def _status(*statuses: int) -> Callable[[HttpFailed], bool]:
    return lambda failed: failed.status in statuses


def _is_refused(failed: HttpFailed) -> bool:
    if failed.status not in (400, 403, 422, 451):
        return False
    metadata = failed.error.get("metadata")
    flagged = isinstance(metadata, Mapping) and bool({"flagged_input", "reasons"} & set(metadata))
    return flagged or bool(_codes(failed) & _REFUSED_CODES) or _says(failed, _REFUSED_WORDS)


def _is_too_long(failed: HttpFailed) -> bool:
    if failed.status == 413 or _codes(failed) & _CONTEXT_CODES:
        return True
    return failed.status in (400, 422) and _says(failed, _CONTEXT_WORDS)


def _is_out_of_quota(failed: HttpFailed) -> bool:
    codes = _codes(failed)
    if failed.status == 402 or codes & _QUOTA_CODES or any("PerDay" in code for code in codes):
        return True
    # Anthropic and Gemini say so with a 400, in words only.
    unpaid = "FAILED_PRECONDITION" in codes and _says(failed, ("billing",))
    return unpaid or (failed.status == 400 and _says(failed, ("credit balance is too low",)))


def _is_limited(failed: HttpFailed) -> bool:
    return failed.status == 429 or bool(_codes(failed) & _RATE_CODES)


def _is_key_refused(failed: HttpFailed) -> bool:
    # Gemini answers a wrong key with 400.
    said = failed.status == 400 and _says(failed, ("api key not valid",))
    return failed.status in (401, 403) or said or bool(_codes(failed) & _KEY_CODES)


def _is_unknown_model(failed: HttpFailed) -> bool:
    return failed.status == 404 or bool(_codes(failed) & {"model_not_found", "NOT_FOUND"})


def _is_overloaded(failed: HttpFailed) -> bool:
    said = " ".join(_codes(failed)) if failed.status != 503 else f"{' '.join(_codes(failed))} {_words(failed)}"
    return any(word in said.lower() for word in _OVERLOAD_WORDS)


# The first test that holds decides.
_TABLE: tuple[tuple[Callable[[HttpFailed], bool], type[AttemptFailed]], ...] = (
    (_is_refused, errors.ContentRefused),
    (_is_too_long, errors.ContextTooLong),
    (_is_out_of_quota, errors.QuotaExhausted),
    (lambda failed: "API_KEY_INVALID" in _codes(failed), errors.AuthenticationFailed),
    (_is_limited, errors.RateLimited),
    (_is_overloaded, errors.ServerFailed),
    (_is_key_refused, errors.AuthenticationFailed),
    (_is_unknown_model, errors.InstanceUnusable),
    (_status(*range(300, 400)), errors.InstanceUnusable),  # not followed: the base_url has to say where to go
    (_status(408), errors.TimedOut),
    (_status(409, 423, 425, *range(500, 600)), errors.ServerFailed),
    (_status(*range(400, 500)), errors.BadRequest),
    (lambda _: True, errors.UnknownFailure),
)


def _codes(failed: HttpFailed) -> set[str]:
    """Every code that the error carries: OpenAI's code and type, Anthropic's type, Google's status and details."""
    error = failed.error
    found = {str(error[name]) for name in ("code", "type", "status") if isinstance(error.get(name), str | int)}
    for detail in _details(error):
        found |= {str(detail["reason"])} if "reason" in detail else set()
        violations = detail.get("violations")
        for violation in violations if isinstance(violations, list) else ():
            found |= {str(violation["quotaId"])} if isinstance(violation, Mapping) and "quotaId" in violation else set()
    return found


def _details(error: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    details = error.get("details")
    return [detail for detail in details if isinstance(detail, Mapping)] if isinstance(details, list) else []


def _retry_after_s(failed: HttpFailed) -> float | None:
    """How long to wait: by `retry-after-ms` or `retry-after` (RFC 9110: seconds or a date), else Google's RetryInfo."""
    said = failed.headers.get("retry-after-ms")
    if (milliseconds := _number(said)) is not None:
        return milliseconds / 1000
    said = failed.headers.get("retry-after")
    seconds = _number(said)
    if seconds is None and said:
        seconds = _until(said)
    if seconds is None:
        delays = (str(detail.get("retryDelay", "")) for detail in _details(failed.error))
        seconds = next((found for delay in delays if (found := _number(delay.removesuffix("s"))) is not None), None)
    return None if seconds is None else min(seconds, LONGEST_RETRY_AFTER_S)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _until(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())


def _said(exc: Exception) -> str:
    if isinstance(exc, HttpFailed):
        code = next((value for name in ("code", "status", "type") if isinstance(value := exc.error.get(name), str)), "")
        words = _words(exc) or ("" if code else "no reason given")
        return f"HTTP {exc.status}: {words}{' ' if words and code else ''}{f'[{code}]' if code else ''}"
    if isinstance(exc, Unreadable):
        return str(exc)
    if isinstance(exc, httpx2.TransportError | OSError):
        *_, root = _causes(exc)
        said = "no answer in time" if _class_of(exc) is errors.TimedOut else "the connection failed"
        return f"{said} ({type(root).__name__}: {_first_line(root)})"
    # Where it happened stands for the exception's text, which may hold the request.
    frames = traceback.extract_tb(exc.__traceback__)
    place = f" at {'/'.join(frames[-1].filename.split('/')[-2:])}:{frames[-1].lineno}" if frames else ""
    return f"{type(exc).__name__}{place}"


def _words(failed: HttpFailed) -> str:
    error = failed.error
    words = error.get("message") or error.get("detail") or error.get("error")
    return words if isinstance(words, str) else failed.text


def _says(failed: HttpFailed, phrases: tuple[str, ...]) -> bool:
    words = _words(failed).lower()
    return any(phrase in words for phrase in phrases)


def _first_line(exc: BaseException) -> str:
    return str(exc).split("\n", 1)[0][:120]


def _causes(exc: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = exc
    while current is not None:
        yield current
        current = current.__cause__
