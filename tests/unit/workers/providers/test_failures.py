"""What goes wrong at a provider becomes one of our errors, for every provider, and nothing secret hangs on it."""

from typing import Any

import httpx2
import pytest

from echelon_workers import errors
from echelon_workers.errors import AttemptFailed
from echelon_workers.providers.failures import failure_of

OPENAI = ["openai", "openai_compatible"]

# status, message, kind (OpenAI's and Anthropic's type, Gemini's status), code, the error it is
EVERYWHERE: list[tuple[int, type[AttemptFailed]]] = [
    (400, errors.BadRequest),
    (401, errors.AuthenticationFailed),
    (402, errors.QuotaExhausted),
    (403, errors.AuthenticationFailed),
    (404, errors.InstanceUnusable),
    (408, errors.TimedOut),
    (409, errors.ServerFailed),
    (413, errors.ContextTooLong),
    (418, errors.BadRequest),
    (422, errors.BadRequest),
    (429, errors.RateLimited),
    (500, errors.ServerFailed),
    (502, errors.ServerFailed),
    (503, errors.ServerFailed),
    (504, errors.ServerFailed),
    (529, errors.ServerFailed),
]
OF_OPENAI = [
    (429, "You exceeded your current quota", "insufficient_quota", "insufficient_quota", errors.QuotaExhausted),
    (400, "maximum context length is 8192", "invalid_request_error", "context_length_exceeded", errors.ContextTooLong),
    (400, "too big", "exceed_context_size_error", 400, errors.ContextTooLong),
    (404, "no such model", "invalid_request_error", "model_not_found", errors.InstanceUnusable),
    (400, "rejected", "invalid_request_error", "content_policy_violation", errors.ContentRefused),
    (400, "filtered", None, "content_filter", errors.ContentRefused),
    (503, "busy", "server_error", "server_is_overloaded", errors.ServerFailed),
]
OF_ANTHROPIC = [
    (400, "Your credit balance is too low to access the API", "invalid_request_error", errors.QuotaExhausted),
    (400, "prompt is too long: 210000 tokens > 200000 maximum", "invalid_request_error", errors.ContextTooLong),
    (413, "Request exceeds the maximum size", "request_too_large", errors.ContextTooLong),
    (400, "Output blocked by content filtering policy", "invalid_request_error", errors.ContentRefused),
    (429, "too many", "rate_limit_error", errors.RateLimited),
]
OF_GEMINI = [
    (400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT", errors.AuthenticationFailed),
    (400, "The input token count (9) exceeds the maximum number of tokens allowed (8).", "INVALID_ARGUMENT",
     errors.ContextTooLong),
    (400, "User location is not supported", "FAILED_PRECONDITION", errors.BadRequest),
    (429, "Resource exhausted", "RESOURCE_EXHAUSTED", errors.RateLimited),
]  # fmt: skip


def failed(ask: Any, **given: Any) -> AttemptFailed:
    with pytest.raises(AttemptFailed) as caught:
        ask(**given)
    failure: AttemptFailed = caught.value
    assert failure.__cause__ is None
    assert failure.__context__ is None
    return failure


@pytest.mark.parametrize(("status", "expected"), EVERYWHERE)
def test_a_status_means_the_same_everywhere(
    ask: Any, far: Any, wire: Any, status: int, expected: type[AttemptFailed]
) -> None:
    far.status, far.content = status, b"<html><body>Something went wrong</body></html>"
    failure = failed(ask)
    assert type(failure) is expected
    assert failure.status == status
    assert failure.message.startswith(f"one: HTTP {status}: ")


@pytest.mark.parametrize("wire", OPENAI, indirect=True)
@pytest.mark.parametrize(("status", "message", "kind", "code", "expected"), OF_OPENAI)
def test_an_error_of_openai_is_told_by_its_code_and_type(
    ask: Any, far: Any, wire: Any, status: int, message: str, kind: str, code: Any, expected: type[AttemptFailed]
) -> None:
    far.status, far.content = status, wire.error(message, kind=kind, code=code)
    failure = failed(ask)
    assert type(failure) is expected
    assert message in failure.message


@pytest.mark.parametrize("wire", ["anthropic"], indirect=True)
@pytest.mark.parametrize(("status", "message", "kind", "expected"), OF_ANTHROPIC)
def test_an_error_of_anthropic_is_told_by_its_type_and_words(
    ask: Any, far: Any, wire: Any, status: int, message: str, kind: str, expected: type[AttemptFailed]
) -> None:
    far.status, far.content = status, wire.error(message, kind=kind)
    failure = failed(ask)
    assert type(failure) is expected
    assert message in failure.message


@pytest.mark.parametrize("wire", ["gemini"], indirect=True)
@pytest.mark.parametrize(("status", "message", "kind", "expected"), OF_GEMINI)
def test_an_error_of_gemini_is_told_by_its_status_and_words(
    ask: Any, far: Any, wire: Any, status: int, message: str, kind: str, expected: type[AttemptFailed]
) -> None:
    far.status, far.content = status, wire.error(message, kind=kind, code=status)
    failure = failed(ask)
    assert type(failure) is expected
    assert message in failure.message


@pytest.mark.parametrize("wire", ["gemini"], indirect=True)
def test_geminis_daily_quota_is_no_rate_limit_and_its_retry_info_is_read(ask: Any, far: Any, wire: Any) -> None:
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "14.5s"}
    quota = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "RequestsPerDayFree"}]}
    body = wire.error("exhausted", kind="RESOURCE_EXHAUSTED", code=429)
    far.status, far.content = 429, {"error": {**body["error"], "details": [retry]}}
    limited = failed(ask)
    assert isinstance(limited, errors.RateLimited)
    assert limited.retry_after_s == 14.5
    far.content = {"error": {**body["error"], "details": [retry, quota]}}
    assert isinstance(failed(ask), errors.QuotaExhausted)


def test_retry_after_and_rate_limit_headers_come_with_an_error(ask: Any, far: Any, wire: Any) -> None:
    far.status, far.content = 429, wire.error("slow down")
    far.headers = {"Retry-After": "7", **wire.rate_limit_headers, "Set-Cookie": "a=b"}
    failure = failed(ask)
    assert failure.retry_after_s == 7
    assert failure.headers == {"retry-after": "7", **wire.rate_limit_headers}


def test_rate_limit_headers_come_with_an_answer_that_cannot_be_used(ask: Any, far: Any, wire: Any) -> None:
    far.content, far.headers = wire.answer(finish=None), wire.rate_limit_headers
    assert failed(ask).headers == wire.rate_limit_headers


def test_overloaded_is_told_from_other_failures_of_a_server(ask: Any, far: Any, wire: Any) -> None:
    far.status, far.content = 529, wire.error("Overloaded", kind="overloaded_error", code=529)
    overloaded = failed(ask)
    far.status, far.content = 500, wire.error("Oh", kind="INTERNAL", code=500)
    broken = failed(ask)
    assert isinstance(overloaded, errors.ServerFailed)
    assert isinstance(broken, errors.ServerFailed)
    assert (overloaded.overloaded, broken.overloaded) == (True, False)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"<html>hi</html>", b"null", b"[]", b'"text"', b"{}", b'{"choices": [], "candidates": []}',
                b'{"choices": [1], "content": 1, "candidates": "x"}', b'{"id": 1, "usage": {}, "content": [{}]}'],
)  # fmt: skip
def test_a_200_that_is_no_answer_is_an_invalid_output(ask: Any, far: Any, content: bytes) -> None:
    far.content = content
    failure = failed(ask)
    assert isinstance(failure, errors.InvalidOutput)
    assert failure.counts_against_instance
    assert failure.usage is None


def test_an_error_sent_with_200_is_an_error(ask: Any, far: Any) -> None:
    far.content = {"error": {"message": "upstream failed", "code": 502}}
    failure = failed(ask)
    assert isinstance(failure, errors.ServerFailed)
    assert "upstream failed" in failure.message
    far.content = {"error": {"message": "later", "code": 429}}
    assert isinstance(failed(ask), errors.RateLimited)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (httpx2.ConnectError("refused"), errors.ConnectionFailed),
        (httpx2.ConnectTimeout("no route"), errors.ConnectionFailed),
        (httpx2.PoolTimeout("full"), errors.ConnectionFailed),
        (httpx2.ReadError("reset"), errors.ConnectionFailed),
        (httpx2.RemoteProtocolError("closed"), errors.ConnectionFailed),
        (httpx2.ReadTimeout("silence"), errors.TimedOut),
        (httpx2.WriteTimeout("stuck"), errors.TimedOut),
    ],
)
def test_a_failing_transport_is_a_connection_or_a_time_out(
    ask: Any, far: Any, error: Exception, expected: type[AttemptFailed]
) -> None:
    far.error = error
    assert type(failed(ask)) is expected


def test_what_nobody_foresaw_is_an_unknown_failure_that_says_where_and_not_what(ask: Any, far: Any) -> None:
    far.error = ZeroDivisionError("the prompt was: tell me a secret")
    failure = failed(ask)
    assert isinstance(failure, errors.UnknownFailure)
    assert "secret" not in failure.message


def test_an_unknown_exception_is_placed() -> None:
    try:
        raise ZeroDivisionError("tell me a secret")
    except ZeroDivisionError as exc:
        failure = failure_of(exc, instance="one")
    assert isinstance(failure, errors.UnknownFailure)
    assert failure.message.startswith("one: ZeroDivisionError at providers/test_failures.py:")


TOOL = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize("wire", ["anthropic"], indirect=True)
@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("claude-sonnet-4-5", {"thinking": {"enabled": True, "budget_tokens": 2000}}),
        ("claude-opus-5-5", {}),
    ],
)
def test_what_a_model_would_refuse_is_a_bad_request_that_is_not_sent(
    ask: Any, far: Any, model: str, settings: dict[str, Any]
) -> None:
    failure = failed(ask, instance={"model": model}, settings=settings, tools=[TOOL], function_calling="required")
    assert isinstance(failure, errors.BadRequest)
    assert "set function_calling to auto" in failure.message
    assert far.requests == []


def test_no_key_is_in_a_message_even_when_the_provider_echoes_it(ask: Any, far: Any, wire: Any) -> None:
    key = "sk-test-0123456789abcdef"
    far.status = 401
    far.content = wire.error(
        f"Incorrect API key provided: {key}. Header was Bearer {key}; also AIzaSyA1234567890abcdefgh"
    )
    failure = failed(ask)
    assert key not in failure.message
    assert "AIza" not in failure.message
    assert "[hidden]" in failure.message
    assert key not in repr(failure.__dict__)


def test_a_megabyte_of_error_stays_a_short_message(ask: Any, far: Any, wire: Any) -> None:
    far.status, far.content = 500, wire.error("long " * 200_000)
    assert len(failed(ask).message) <= 500


def test_nothing_is_tried_twice(ask: Any, far: Any) -> None:
    far.status, far.content, far.headers = 503, b"{}", {"x-should-retry": "true", "retry-after": "0"}
    failed(ask)
    assert len(far.requests) == 1
