"""A look at whether a provider answers, without a call: where, with what, and what it says."""

import asyncio
from typing import Any

import httpx2
import pytest

from echelon_configs import Instance, SecretReference
from echelon_workers import errors
from echelon_workers.errors import AttemptFailed
from echelon_workers.providers import Providers
from echelon_workers.providers.openai import OpenAI

MODELS = {
    "openai": "https://api.openai.com/v1/models",
    "openai_compatible": "http://llm.internal:8000/v1/models",
    "anthropic": "https://api.anthropic.com/v1/models?limit=1",
    "gemini": "https://generativelanguage.googleapis.com/v1beta/models?pageSize=1",
}


class Unlisted(OpenAI):
    """A provider that lists no models anywhere."""

    models_url = None  # type: ignore[assignment]


def looked(instance: Instance, answer: Any, **options: Any) -> tuple[bool, list[httpx2.Request]]:
    """Whether a look says that it answers, and what arrived; `answer` is a status or an exception."""
    arrived: list[httpx2.Request] = []

    def far(request: httpx2.Request) -> httpx2.Response:
        arrived.append(request)
        if isinstance(answer, Exception):
            raise answer
        return httpx2.Response(answer, json={"error": {"message": "for key sk-test-1"}})

    async def look() -> bool:
        http = httpx2.MockTransport(far)
        providers = Providers(environment={"K": "sk-test-1"}, max_connections=1, http=http, **options)
        return await providers.look(instance, 5.0)

    return asyncio.run(look()), arrived


def instance(provider: str = "openai", **fields: Any) -> Instance:
    url = {"openai_compatible": "http://llm.internal:8000/v1/"}.get(provider)
    given = {"name": "one", "provider": provider, "vendor": provider, "model": "m", "base_url": url}
    return Instance(**{**given, "api_key": SecretReference(env="K"), **fields})


@pytest.mark.parametrize("provider", MODELS)
def test_it_goes_where_models_are_listed_with_the_key_and_no_job(provider: str) -> None:
    answers, (request,) = looked(instance(provider), 200)
    assert answers
    assert (request.method, str(request.url)) == ("GET", MODELS[provider])
    assert "sk-test-1" in " ".join(request.headers.values())
    assert "x-echelon-job" not in request.headers


def test_on_the_simulator_it_says_for_which_instance() -> None:
    answers, (request,) = looked(instance("gemini"), 200, simulator_url="http://127.0.0.1:9")
    assert answers
    assert str(request.url) == "http://127.0.0.1:9/gemini/v1beta/models?pageSize=1"
    assert request.headers["x-echelon-instance"] == "one"


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 405])
def test_an_answer_that_is_not_about_calls_says_nothing(status: int) -> None:
    """A key may be good for calls and not for this; a server may list no models."""
    assert not looked(instance(), status)[0]


def test_a_provider_without_a_list_is_not_asked() -> None:
    assert looked(instance(f"{__name__}:Unlisted"), 200) == (False, [])


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (500, errors.ServerFailed),
        (503, errors.ServerFailed),
        (408, errors.TimedOut),
        (429, errors.RateLimited),
        (httpx2.ConnectError("refused"), errors.ConnectionFailed),
        (httpx2.ReadTimeout("slow"), errors.TimedOut),
    ],
)
def test_a_provider_that_fails_has_failed_and_no_key_is_quoted(answer: Any, failure: type[AttemptFailed]) -> None:
    with pytest.raises(failure) as caught:
        looked(instance(), answer)
    assert "sk-test-1" not in str(caught.value)


def test_without_a_key_it_is_refused_before_it_goes() -> None:
    with pytest.raises(errors.AuthenticationFailed):
        looked(instance(api_key=SecretReference(env="MISSING")), 200)
