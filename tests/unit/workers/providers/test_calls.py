"""Providers: keys, headers, addresses, the simulator, and what loads when."""

import asyncio
import subprocess
import sys
from typing import Any

import httpx2
import pytest

from echelon_configs import CallSettings, Instance, SecretReference, SecretTemplate, Timeouts
from echelon_workers.errors import AuthenticationFailed, BadRequest, InstanceUnusable
from echelon_workers.ledger.job import JobRequest
from echelon_workers.providers import PROVIDERS, Call, Providers
from echelon_workers.providers.adapter import without_version
from echelon_workers.providers.transport import phase_timeouts

KEY = "sk-test-0123456789abcdef"
KEY_HEADERS = {
    "openai": ("authorization", f"Bearer {KEY}"),
    "openai_compatible": ("authorization", f"Bearer {KEY}"),
    "anthropic": ("authorization", f"Bearer {KEY}"),
    "gemini": ("x-goog-api-key", KEY),
}
OFFICIAL = {
    "openai": "https://api.openai.com/v1/chat/completions",
    "openai_compatible": "http://llm.internal:8000/v1/chat/completions",
    "anthropic": "https://api.anthropic.com/v1/messages",
    "gemini": "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent",
}


def instance(**fields: Any) -> Instance:
    given = {"name": "one", "provider": "openai", "vendor": "openai", "model": "m", "api_key": SecretReference(env="K")}
    return Instance(**{**given, **fields})


def test_a_call_goes_to_the_providers_address_with_the_key(ask: Any, far: Any, wire: Any) -> None:
    ask()
    (request,) = far.requests
    name, value = KEY_HEADERS[wire.provider]
    assert request.headers[name] == value
    assert str(request.url).split("?")[0] == OFFICIAL[wire.provider]
    assert "key=" not in str(request.url)


def test_a_base_url_with_the_api_version_is_understood(ask: Any, far: Any, wire: Any) -> None:
    version = {"gemini": "/v1beta/"}.get(wire.provider, "/v1")
    ask(instance={"base_url": f"http://proxy.internal/llm{version}"})
    path = OFFICIAL[wire.provider].split("/v1", 1)[1]
    assert str(far.requests[0].url).split("?")[0] == f"http://proxy.internal/llm/v1{path}"


@pytest.mark.parametrize(
    ("url", "expected"),
    [(None, None), ("http://x/v1", "http://x"), ("http://x/v1/", "http://x"), ("http://x/a", "http://x/a")],
)
def test_only_the_version_at_the_end_is_cut_off(url: str | None, expected: str | None) -> None:
    assert without_version(url, "v1") == expected


def test_nothing_of_the_sdks_own_environment_reaches_the_wire(
    ask: Any, far: Any, wire: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "ANTHROPIC_AUTH_TOKEN", "GOOGLE_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "from-the-shell")
    for name in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "GOOGLE_GEMINI_BASE_URL"):
        monkeypatch.setenv(name, "http://elsewhere.invalid")
    ask(instance={"name": "built-here"})
    (request,) = far.requests
    assert "from-the-shell" not in repr(request.headers.raw)
    assert "elsewhere" not in str(request.url)


def test_the_headers_of_the_instance_and_the_job_are_sent(ask: Any, far: Any) -> None:
    headers = {"X-Team": "blue", "X-Gateway": SecretTemplate(template="Bearer ${GATEWAY}")}
    environment = {"TEST_KEY": KEY, "GATEWAY": "gw-secret-1"}
    ask(instance={"headers": headers}, environment=environment, job_id="job-7", attempt=2)
    sent = far.requests[0].headers
    assert sent["x-team"] == "blue"
    assert sent["x-gateway"] == "Bearer gw-secret-1"
    assert sent["x-echelon-job"] == "job-7"
    assert sent["x-echelon-attempt"] == "2"
    assert "x-echelon-instance" not in sent
    assert "echelon/" in sent["user-agent"]


def test_a_call_outside_a_job_says_nothing_of_jobs(ask: Any, far: Any) -> None:
    ask()
    assert not [name for name in far.requests[0].headers if name.startswith("x-echelon")]


def test_a_secret_in_a_header_is_hidden_in_errors(ask: Any, far: Any, wire: Any) -> None:
    far.status, far.content = 403, wire.error("denied for gw-secret-1")
    headers = {"X-Gateway": SecretTemplate(template="Bearer ${GATEWAY}")}
    with pytest.raises(AuthenticationFailed) as caught:
        ask(instance={"headers": headers}, environment={"TEST_KEY": KEY, "GATEWAY": "gw-secret-1"})
    assert "gw-secret-1" not in caught.value.message


def test_the_simulator_stands_in_for_every_provider_and_needs_no_key(ask: Any, far: Any, wire: Any) -> None:
    headers = {"X-Gateway": SecretTemplate(template="Bearer ${GATEWAY}")}
    ask(instance={"headers": headers}, environment={}, simulator_url="http://127.0.0.1:9/")
    (request,) = far.requests
    paths = {"anthropic": "/anthropic/v1/", "gemini": "/gemini/v1beta/"}
    assert str(request.url).startswith(f"http://127.0.0.1:9{paths.get(wire.provider, '/openai/v1/')}")
    assert request.headers["x-echelon-instance"] == "one"
    name, value = KEY_HEADERS[wire.provider]
    assert request.headers[name] == value.replace(KEY, "simulated-one")
    assert "x-gateway" not in request.headers


def test_a_server_without_key_gets_a_placeholder(
    ask: Any, far: Any, wire: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.setenv(name, "from-the-shell")
    ask(instance={"api_key": None, "name": "built-here"}, environment={})
    name, value = KEY_HEADERS[wire.provider]
    assert far.requests[0].headers[name] == value.replace(KEY, "not-needed")


def test_a_missing_key_is_named(ask: Any, far: Any) -> None:
    with pytest.raises(AuthenticationFailed, match="TEST_KEY is not set") as caught:
        ask(environment={})
    assert far.requests == []
    assert not isinstance(caught.value, InstanceUnusable)


def test_a_key_that_changes_is_used_at_the_next_call(wire: Any, far: Any) -> None:
    environment = {"K": "sk-old-000000"}
    one = instance(provider=wire.provider, model=wire.model, base_url=wire.base_url)

    async def calls() -> None:
        async with httpx2.MockTransport(far) as http:
            providers = Providers(environment=environment, max_connections=1, http=http)
            call = Call(instance=one, request=JobRequest(prompt="x"), settings=CallSettings(), timeout_s=5)
            await providers.complete(call)
            environment["K"] = "sk-new-000000"
            await providers.complete(call)

    asyncio.run(calls())
    name, value = KEY_HEADERS[wire.provider]
    assert [request.headers[name] for request in far.requests] == [
        value.replace(KEY, "sk-old-000000"),
        value.replace(KEY, "sk-new-000000"),
    ]


def test_an_instance_has_its_key_when_every_secret_is_there() -> None:
    providers = Providers(environment={"K": "k", "EMPTY": ""}, max_connections=1)
    assert providers.has_key(instance())
    assert providers.has_key(instance(api_key=None))
    assert providers.has_key(instance(api_key=SecretReference(env="GONE", default="not-needed")))
    assert not providers.has_key(instance(api_key=SecretReference(env="GONE")))
    assert not providers.has_key(instance(api_key=SecretReference(env="EMPTY")))
    assert not providers.has_key(instance(headers={"a": SecretTemplate(template="${GONE}")}))
    assert not providers.has_key(instance(unset=("BASE_URL",)))
    simulated = Providers(environment={}, max_connections=1, simulator_url="http://127.0.0.1:1")
    assert simulated.has_key(instance(api_key=SecretReference(env="GONE")))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"provider": "nobody"}, "provider 'nobody' cannot be loaded"),
        ({"provider": "json:Missing"}, "provider 'json:Missing' cannot be loaded"),
        ({"provider": "openai_compatible", "base_url": None}, "no address"),
        ({"unset": ("LLM_URL",)}, "LLM_URL not set"),
        ({"provider": "builtins:dict"}, "cannot be called as it is configured: TypeError"),
    ],
)
def test_an_instance_that_cannot_be_called_is_unusable_and_says_why(fields: dict[str, Any], said: str) -> None:
    async def call() -> None:
        providers = Providers(environment={"K": "k"}, max_connections=1)
        try:
            await providers.complete(
                Call(instance=instance(**fields), request=JobRequest(prompt="x"), settings=CallSettings(), timeout_s=5)
            )
        finally:
            await providers.aclose()

    with pytest.raises(InstanceUnusable, match="one: ") as caught:
        asyncio.run(call())
    assert said in caught.value.message


@pytest.mark.parametrize("wire", ["openai"], indirect=True)
def test_a_provider_of_the_users_own_is_a_dotted_path(ask: Any, far: Any) -> None:
    path = PROVIDERS["openai"]
    assert ask(instance={"provider": path}).answer.text == "Hello."


def test_a_tool_message_that_answers_nothing_is_a_bad_request(ask: Any, far: Any) -> None:
    with pytest.raises(BadRequest, match="'c9' answers no tool call"):
        ask(messages=[{"role": "tool", "tool_call_id": "c9", "content": "x"}])
    assert far.requests == []


def test_a_broken_data_url_is_a_bad_request(ask: Any, far: Any) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,a"}}
    with pytest.raises(BadRequest, match="not base64"):
        ask(messages=[{"role": "user", "content": [image]}])


def test_an_image_in_a_system_message_is_a_bad_request(ask: Any, far: Any) -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    with pytest.raises(BadRequest, match="an image in the system message"):
        ask(messages=[{"role": "system", "content": [image]}, {"role": "user", "content": "x"}])


@pytest.mark.parametrize("wire", ["gemini"], indirect=True)
def test_gemini_is_given_no_address_it_cannot_fetch(ask: Any, far: Any) -> None:
    image = {"type": "image_url", "image_url": {"url": "http://10.0.0.1/a.png"}}
    with pytest.raises(BadRequest, match="https only"):
        ask(messages=[{"role": "user", "content": [image]}])


def test_the_phases_of_a_call_are_bounded_within_the_whole(ask: Any, far: Any) -> None:
    ask(timeout_s=30)
    ask(timeout_s=30, instance={"timeouts": Timeouts(connect_s=2, read_s=90)})
    assert [request.extensions["timeout"] for request in far.requests] == [
        {"connect": 10.0, "read": 30, "write": 30, "pool": 30},
        {"connect": 2.0, "read": 30, "write": 30, "pool": 30},
    ]
    assert phase_timeouts(1.5)["connect"] == 1.5


SDKS = ("pydantic_ai", "openai", "anthropic", "google.genai")


def loaded(program: str, modules: tuple[str, ...]) -> list[str]:
    """Which of the modules a program has loaded at its end."""
    shown = f"{program}; import sys; print(*(m for m in {modules!r} if m in sys.modules))"
    return subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True).stdout.split()


def test_importing_the_providers_loads_nothing_that_calls_need() -> None:
    """It costs a worker memory and time; it comes with the first instance that needs it."""
    program = "import echelon_workers.providers as p; p.Providers(environment={}, max_connections=1)"
    assert loaded(program, (*SDKS, "httpx2", "aiohttp", "genai_prices")) == []


def test_no_provider_needs_an_sdk_or_the_whole_price_list() -> None:
    """Three SDKs are 90 MB of a worker, the price list of all providers is 31."""
    program = (
        "from echelon_configs import Instance; from echelon_workers.providers import PROVIDERS, Providers; "
        "given = dict(vendor='v', model='m', base_url='http://127.0.0.1:1'); "
        "every = [Instance(name=name, provider=name, **given) for name in PROVIDERS]; "
        "Providers(environment={}, max_connections=1, simulator_url='http://127.0.0.1:1').prepare(every)"
    )
    assert loaded(program, (*SDKS, "genai_prices.data", "aiohttp")) == ["aiohttp"]


def test_all_instances_share_one_transport(wire: Any, far: Any) -> None:
    async def transports() -> set[int]:
        async with httpx2.MockTransport(far) as http:
            providers = Providers(environment={"K": KEY, "OTHER": "sk-other"}, max_connections=1, http=http)
            named = {"provider": wire.provider, "base_url": wire.base_url}
            one, two = instance(**named, name="one"), instance(**named, name="two", model="other")
            providers.prepare([one, two, instance(**named, name="three", api_key=SecretReference(env="OTHER"))])
            return {id(vars(target.api)["_http"]) for target in vars(providers)["_targets"].values()}

    assert len(asyncio.run(transports())) == 1


def test_the_key_is_in_no_repr(wire: Any, far: Any) -> None:
    async def built() -> str:
        async with httpx2.MockTransport(far) as http:
            providers = Providers(environment={"K": KEY}, max_connections=1, http=http)
            providers.prepare([instance(provider=wire.provider, base_url=wire.base_url)])
            return repr(vars(providers)["_targets"]) + repr(providers)

    assert KEY not in asyncio.run(built())
