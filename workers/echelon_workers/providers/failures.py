"""Exceptions of the provider library into our few classes of errors: the one place where that is done.

pydantic-ai sorts most failures of the three providers into the same classes; what it leaves unsorted (PROVIDERS.md
section 6 lists it) is told apart here by status, by the words of the error, or by what lies under it.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_ai import exceptions as library

from echelon_workers import errors
from echelon_workers.errors import AttemptFailed
from echelon_workers.providers.scrub import scrub

# llama.cpp's server says only this; it comes as a plain rejected request.
_CONTEXT_TYPES = frozenset({"exceed_context_size_error", "context_length_exceeded"})
_CONTEXT_WORDS = (
    "exceeds the available context size",
    "context window",
    "context length",
    "prompt is too long",
    "too many input tokens",
)
_REFUSED_CODES = frozenset({"content_filter", "content_policy_violation", "invalid_prompt", "moderation_blocked"})
_REFUSED_WORDS = ("content filtering policy", "content policy", "content management policy", "safety system")
_MISUSE = (library.UserError, NotImplementedError)


def failure_of(
    exc: Exception, *, instance: str, secrets: Iterable[str] = (), headers: Mapping[str, str] | None = None
) -> AttemptFailed:
    """The error that says what this exception means; `headers` are the rate-limit headers seen during the call."""
    if isinstance(exc, AttemptFailed):
        exc.headers = exc.headers or dict(headers or {})
        return exc
    kind = _class_of(exc)
    message = f"{instance}: {_said(exc)}" if kind is not errors.UnknownFailure else f"{instance}: {_unknown(exc)}"
    failure = kind(
        scrub(message, secrets),
        status=exc.status_code if isinstance(exc, library.ModelHTTPError) else None,
        retry_after_s=_retry_after_s(exc),
        headers=dict(headers or {}),
    )
    if isinstance(failure, errors.ServerFailed):
        failure.overloaded = isinstance(exc, library.ModelOverloadedError) or failure.status == 529
    return failure


def _class_of(exc: Exception) -> type[AttemptFailed]:
    """The first test that holds decides; the order matters, because the library's classes overlap."""
    for applies, kind in _TABLE:
        if applies(exc):
            return kind
    return errors.UnknownFailure


def _is(*classes: type[BaseException]) -> Callable[[Exception], bool]:
    return lambda exc: isinstance(exc, classes)


def _status(*statuses: int) -> Callable[[Exception], bool]:
    return lambda exc: isinstance(exc, library.ModelHTTPError) and exc.status_code in statuses


def _is_refused(exc: Exception) -> bool:
    if isinstance(exc, library.ContentFilterError):
        return True
    if not isinstance(exc, library.ModelHTTPError) or exc.status_code not in (400, 403, 422, 451):
        return False
    named = {exc.provider_error_code, exc.provider_error_type} & _REFUSED_CODES
    metadata = _error_body(exc).get("metadata")
    flagged = isinstance(metadata, Mapping) and bool({"flagged_input", "reasons"} & set(metadata))
    return bool(named) or flagged or _says(exc, _REFUSED_WORDS)


def _is_too_long(exc: Exception) -> bool:
    if isinstance(exc, library.ModelContextWindowExceededError):
        return True
    if not isinstance(exc, library.ModelHTTPError) or exc.status_code not in (400, 413, 422):
        return False
    return exc.status_code == 413 or _error_body(exc).get("type") in _CONTEXT_TYPES or _says(exc, _CONTEXT_WORDS)


def _is_key_refused(exc: Exception) -> bool:
    if isinstance(exc, library.ModelAuthenticationError):
        return True
    if not isinstance(exc, library.ModelHTTPError):
        return False
    # Gemini answers a wrong key with 400.
    return exc.status_code in (401, 403) or (exc.status_code == 400 and _says(exc, ("api key not valid",)))


def _is_cut(exc: Exception) -> bool:
    """A cut connection: over aiohttp one that is cut before any response comes dressed as a connect timeout."""
    if not isinstance(exc, library.ModelConnectionError):
        return False
    names = {type(cause).__name__ for cause in _causes(exc)}
    if names & {"ServerDisconnectedError", "ClientOSError", "ClientConnectorError", "ConnectionResetError"}:
        return True
    return not isinstance(exc, library.ModelTimeoutError) or exc.phase in ("connect", "pool")


def _is_broken_body(exc: Exception) -> bool:
    """A 200 that is not what the provider's API returns: no JSON, or JSON of another shape."""
    if isinstance(exc, library.UnexpectedModelBehavior | ValidationError):
        return True
    if type(exc) is library.ModelAPIError:
        return True
    return isinstance(exc, TypeError | AttributeError | KeyError | IndexError | AssertionError) and _in_answer(exc)


def _in_answer(exc: Exception) -> bool:
    """Whether a bare error rose where the library reads an answer (Anthropic's model trips over a missing content)."""
    names = {frame.name for frame in traceback.extract_tb(exc.__traceback__)}
    return bool(names & {"_process_response", "_finish_response", "_process_response_data", "_from_response"})


def _is_moved(exc: Exception) -> bool:
    """A redirect, which is not followed: the instance's base_url has to say where to go."""
    statuses = [getattr(cause, name, None) for cause in _causes(exc) for name in ("status_code", "code")]
    return any(isinstance(status, int) and 300 <= status < 400 for status in statuses)


_TABLE: tuple[tuple[Callable[[Exception], bool], type[AttemptFailed]], ...] = (
    (_is_refused, errors.ContentRefused),
    (_is_too_long, errors.ContextTooLong),
    (_is(library.ModelQuotaExceededError), errors.QuotaExhausted),
    (_is(library.ModelRateLimitError), errors.RateLimited),
    (_is_key_refused, errors.AuthenticationFailed),
    (_is(library.ModelNotFoundError), errors.InstanceUnusable),
    (_is(library.ModelUnavailableError, library.ModelServerError), errors.ServerFailed),
    (_is_cut, errors.ConnectionFailed),
    (_is(library.ModelTimeoutError, library.ModelRequestTimeout, TimeoutError), errors.TimedOut),
    (_is_moved, errors.InstanceUnusable),
    (_status(402), errors.QuotaExhausted),
    (_status(404), errors.InstanceUnusable),
    (_status(408), errors.TimedOut),
    (_status(429), errors.RateLimited),
    (_status(409, 423, 425, *range(500, 600)), errors.ServerFailed),
    (_is(library.ModelRequestRejectedError, *_MISUSE), errors.BadRequest),
    (_status(*range(400, 500)), errors.BadRequest),
    (_is_broken_body, errors.InvalidOutput),
    (_is(OSError), errors.ConnectionFailed),
)


def _retry_after_s(exc: Exception) -> float | None:
    return exc.retry_after if isinstance(exc, library.ModelHTTPError) else None


def _said(exc: Exception) -> str:
    """What the provider said, without the library's dump of the whole body."""
    if isinstance(exc, library.ModelHTTPError):
        return f"HTTP {exc.status_code}: {_words(exc) or 'no reason given'}"
    if isinstance(exc, library.ModelConnectionError):
        # The SDKs' own words are the same for everything; what lies underneath says what happened.
        *_, root = _causes(exc)
        said = "the connection failed" if _is_cut(exc) else "no answer in time"
        words = f": {_first_line(root)}" if isinstance(root, OSError) or _of_transport(root) else ""
        return f"{said} ({type(root).__name__}{words})"
    if isinstance(exc, ValidationError):
        return f"an answer of another shape ({exc.error_count()} fields are not as the provider documents them)"
    if _is_broken_body(exc):
        return f"an answer that cannot be read ({type(exc).__name__}: {_first_line(exc)})"
    return str(exc) or type(exc).__name__


def _unknown(exc: Exception) -> str:
    """Where it happened stands for the exception's text, which may hold the request."""
    frames = traceback.extract_tb(exc.__traceback__)
    place = f" at {'/'.join(frames[-1].filename.split('/')[-2:])}:{frames[-1].lineno}" if frames else ""
    return f"{type(exc).__name__}{place}"


def _words(exc: library.ModelHTTPError) -> str:
    error = _error_body(exc)
    words = error.get("message") or error.get("detail") or error.get("error")
    if isinstance(words, str):
        code = exc.provider_error_code or exc.provider_error_type
        return f"{words} [{code}]" if code else words
    return exc.body if isinstance(exc.body, str) else str(exc.provider_error_code or "")


def _error_body(exc: library.ModelHTTPError) -> Mapping[str, Any]:
    """The object that says what is wrong; some SDKs unwrap it, some do not."""
    body = exc.body
    if not isinstance(body, Mapping):
        return {}
    inner = body.get("error")
    return inner if isinstance(inner, Mapping) else body


def _says(exc: library.ModelHTTPError, phrases: tuple[str, ...]) -> bool:
    words = _words(exc).lower()
    return any(phrase in words for phrase in phrases)


def _of_transport(exc: BaseException) -> bool:
    """Whether the error's text is about a connection, and not about what was sent over it."""
    return type(exc).__module__.partition(".")[0] in ("aiohttp", "httpx2")


def _first_line(exc: BaseException) -> str:
    return str(exc).split("\n", 1)[0][:120]


def _causes(exc: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = exc
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
