"""The tree of errors: what strategies, breakers and the ledger read of it."""

import json
import pickle

import pytest

from echelon_workers import errors
from echelon_workers.errors import BY_CODE, MAX_MESSAGE_CHARS, AttemptFailed
from echelon_workers.ledger.job import Usage

CODES = {
    "timed_out",
    "connection_failed",
    "server_failed",
    "rate_limited",
    "quota_exhausted",
    "authentication_failed",
    "instance_unusable",
    "bad_request",
    "context_too_long",
    "content_refused",
    "invalid_output",
    "unknown_failure",
}


def test_every_class_is_found_by_its_code() -> None:
    assert set(BY_CODE) == CODES
    assert all(issubclass(error, AttemptFailed) for error in BY_CODE.values())
    defined = {error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, AttemptFailed)}
    assert defined == {AttemptFailed, *BY_CODE.values()}


@pytest.mark.parametrize(
    ("error", "retry", "counts"),
    [
        (errors.TimedOut, "here", True),
        (errors.ConnectionFailed, "here", True),
        (errors.ServerFailed, "here", True),
        (errors.RateLimited, "here", False),
        (errors.QuotaExhausted, "elsewhere", True),
        (errors.AuthenticationFailed, "elsewhere", True),
        (errors.InstanceUnusable, "elsewhere", True),
        (errors.BadRequest, "nowhere", False),
        (errors.ContextTooLong, "elsewhere", False),
        (errors.ContentRefused, "nowhere", False),
        (errors.InvalidOutput, "here", True),
        (errors.UnknownFailure, "here", True),
    ],
)
def test_a_class_says_where_to_retry_and_whether_it_counts_against_the_instance(
    error: type[AttemptFailed], retry: str, counts: bool
) -> None:
    assert error.retry == retry
    assert error.counts_against_instance is counts
    assert error("x").counts_against_instance is counts


def test_an_unusable_instance_is_out_like_one_with_a_wrong_key() -> None:
    assert issubclass(errors.InstanceUnusable, errors.AuthenticationFailed)


def test_the_json_of_an_error_holds_what_is_known_and_no_more() -> None:
    assert errors.TimedOut("slow").to_json() == {"code": "timed_out", "message": "slow", "retry": "here"}
    failure = errors.RateLimited(
        "wait",
        status=429,
        retry_after_s=2.5,
        headers={"retry-after": "2.5"},
        usage=Usage(input_tokens=3),
        cost_usd="0.1",
    )
    assert json.loads(json.dumps(failure.to_json())) == {
        "code": "rate_limited",
        "message": "wait",
        "retry": "here",
        "status": 429,
        "retry_after_s": 2.5,
        "headers": {"retry-after": "2.5"},
        "usage": {"input_tokens": 3, "output_tokens": 0, "cached_tokens": 0, "reasoning_tokens": 0},
        "cost_usd": "0.1",
    }


def test_a_long_message_is_cut_and_put_on_one_line() -> None:
    failure = errors.ServerFailed("first line\n\n   second\t" + "x" * 10_000_000)
    assert len(failure.message) == MAX_MESSAGE_CHARS
    assert failure.message.startswith("first line second xxx")
    assert failure.message.endswith("...")
    assert str(failure) == failure.message


def test_an_error_survives_pickling() -> None:
    failure = errors.ServerFailed("down", status=529, headers={"retry-after": "1"})
    failure.overloaded = True
    copy = pickle.loads(pickle.dumps(failure))
    assert isinstance(copy, errors.ServerFailed)
    assert (copy.message, copy.status, copy.headers, copy.overloaded) == ("down", 529, {"retry-after": "1"}, True)


def test_counting_against_the_instance_can_be_decided_for_one_failure() -> None:
    failure = errors.InvalidOutput("not the JSON asked for")
    failure.counts_against_instance = False
    assert errors.InvalidOutput("x").counts_against_instance is True


@pytest.mark.parametrize(
    ("error", "rest_s"),
    [
        (errors.ServerFailed("x"), 0),
        (errors.ServerFailed("x", retry_after_s=30), 30),
        (errors.QuotaExhausted("x"), 900),
        (errors.QuotaExhausted("x", retry_after_s=5), 900),
        (errors.QuotaExhausted("x", retry_after_s=86_400), 86_400),
        (errors.AuthenticationFailed("x"), errors.UNTIL_RELOAD),
        (errors.InstanceUnusable("x"), errors.UNTIL_RELOAD),
        (errors.RateLimited("x", retry_after_s=7), 7),
    ],
)
def test_an_instance_rests_as_its_failure_says_or_as_long_as_the_provider_asks(
    error: AttemptFailed, rest_s: float
) -> None:
    assert error.resting_s == rest_s


def test_only_an_unknown_failure_is_bounded_by_itself() -> None:
    assert {code for code, error in BY_CODE.items() if error.most_retries is not None} == {"unknown_failure"}
