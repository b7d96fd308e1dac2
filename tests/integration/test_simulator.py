"""The simulator as a process, called through the real SDKs (pydantic-ai's direct requests) and by hand."""

import asyncio
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI, DefaultAioHttpClient
from pydantic_ai import exceptions
from pydantic_ai.direct import model_request, model_request_stream
from pydantic_ai.messages import ModelRequest, ModelResponse, ThinkingPart, ToolCallPart
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.tools import ToolDefinition
from waiting import until

from echelon_producers.simulator.process import SimulatorProcess

PROVIDERS = ("openai", "anthropic", "gemini")
NAMES = {"openai": "gpt-5-mini", "anthropic": "claude-haiku-4-5", "gemini": "gemini-2.5-flash"}
PATHS = {
    "openai": "/openai/v1/chat/completions",
    "anthropic": "/anthropic/v1/messages",
    "gemini": "/gemini/v1beta/models/gemini-2.5-flash:generateContent",
}
KEY = "simulated-key"
EVERY_KEY = {
    "authorization": f"Bearer {KEY}",
    "x-api-key": KEY,
    "anthropic-version": "2023-06-01",
    "x-goog-api-key": KEY,
}
WEATHER = ToolDefinition(
    name="get_weather",
    parameters_json_schema={
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
        "required": ["city", "days"],
    },
)
CITY = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["name", "people"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorProcess]:
    with SimulatorProcess() as process:
        yield process


@pytest.fixture
def simulator(server: SimulatorProcess) -> SimulatorProcess:
    """The one server of this file, with an empty script and nothing counted."""
    server.unload()
    server.reset()
    return server


@pytest.fixture(scope="module", autouse=True)
def sdks(server: SimulatorProcess) -> Iterator[None]:
    """One loop and one transport for this file, as a worker has; the SDKs' retries are off."""

    async def opened() -> DefaultAioHttpClient:
        return DefaultAioHttpClient(limits=httpx2.Limits(max_connections=20))

    with asyncio.Runner() as runner:
        transport = runner.run(opened())
        Sdks.run = runner.run
        Sdks.models = {provider: model_of(server.url, provider, transport) for provider in PROVIDERS}
        yield
        runner.run(transport.aclose())


class Sdks:
    """What the fixture of that name keeps for the tests of this file."""

    run: Callable[[Coroutine[Any, Any, Any]], Any]
    models: dict[str, Model]


def model_of(url: str, provider: str, transport: DefaultAioHttpClient) -> Model:
    name = NAMES[provider]
    headers = {"x-echelon-instance": f"{provider}-1"}
    if provider == "openai":
        openai = AsyncOpenAI(api_key=KEY, base_url=f"{url}/openai/v1", max_retries=0, http_client=transport,
                             default_headers=headers)  # fmt: skip
        return OpenAIChatModel(name, provider=OpenAIProvider(openai_client=openai))
    if provider == "anthropic":
        anthropic = AsyncAnthropic(api_key=KEY, base_url=f"{url}/anthropic", max_retries=0, http_client=transport,
                                   default_headers=headers)  # fmt: skip
        return AnthropicModel(name, provider=AnthropicProvider(anthropic_client=anthropic))
    return GoogleModel(name, provider=GoogleProvider(api_key=KEY, base_url=f"{url}/gemini", http_client=transport))


def ask(
    provider: str, prompt: str = "How deep is the harbour?", parameters: ModelRequestParameters | None = None,
    **settings: Any,
) -> ModelResponse:  # fmt: skip
    wanted: Any = {"max_tokens": 2000, "timeout": 5, "max_retries": 0, **settings}
    messages = [ModelRequest.user_text_prompt(prompt, instructions="Be brief.")]
    answer: ModelResponse = Sdks.run(
        model_request(Sdks.models[provider], messages, model_settings=wanted, model_request_parameters=parameters)
    )
    return answer


def ask_streamed(
    provider: str, prompt: str, parameters: ModelRequestParameters | None = None, **settings: Any
) -> tuple[int, ModelResponse]:
    """How many events came, and the answer they add up to."""

    async def use() -> tuple[int, ModelResponse]:
        wanted: Any = {"max_tokens": 2000, "timeout": 5, "max_retries": 0, **settings}
        messages = [ModelRequest.user_text_prompt(prompt)]
        async with model_request_stream(
            Sdks.models[provider], messages, model_settings=wanted, model_request_parameters=parameters
        ) as stream:
            events = [event async for event in stream]
            return len(events), stream.get()

    heard: tuple[int, ModelResponse] = Sdks.run(use())
    return heard


def body_of(provider: str, prompt: str = "hello", **more: Any) -> dict[str, Any]:
    if provider == "gemini":
        return {"contents": [{"role": "user", "parts": [{"text": prompt}]}], **more}
    return {"model": NAMES[provider], "max_tokens": 50, "messages": [{"role": "user", "content": prompt}], **more}


def post(url: str, path: str, body: Any, headers: dict[str, str] | None = None,
         method: str = "POST") -> tuple[int, dict[str, str], bytes]:  # fmt: skip
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        payload = body if isinstance(body, bytes) else json.dumps(body)
        connection.request(method, path, payload, EVERY_KEY if headers is None else headers)
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


# Answers


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_plain_answer_has_text_usage_and_a_finish_reason(simulator: SimulatorProcess, provider: str) -> None:
    simulator.load({"models": {"*": {"answer": {"tokens": 30, "cached_share": 0.5}}}})
    answer = ask(provider)
    assert answer.text is not None
    assert "How deep is the harbour?" in answer.text
    assert (answer.finish_reason, answer.usage.output_tokens) == ("stop", 30)
    (row,) = simulator.arrivals()
    assert row["tokens_in"] == answer.usage.input_tokens
    assert answer.usage.cache_read_tokens == row["tokens_in"] // 2
    assert (row["model"], row["status"]) == (NAMES[provider], 200)
    # The Gemini client as it is made here sends no header of ours.
    assert row["instance"] == (None if provider == "gemini" else f"{provider}-1")
    assert answer.text == ask(provider).text


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_answer_beyond_max_tokens_finishes_with_length(simulator: SimulatorProcess, provider: str) -> None:
    answer = ask(provider, max_tokens=16)
    assert (answer.finish_reason, answer.usage.output_tokens) == ("length", 16)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_tool_is_called_with_arguments_of_its_schema(
    simulator: SimulatorProcess, provider: str, streamed: bool
) -> None:
    parameters = ModelRequestParameters(function_tools=[WEATHER])
    prompt = "Please look: get_weather"
    answer = ask_streamed(provider, prompt, parameters)[1] if streamed else ask(provider, prompt, parameters)
    (call,) = (part for part in answer.parts if isinstance(part, ToolCallPart))
    assert call.tool_name == "get_weather"
    assert call.args_as_dict() == {"city": "some city", "days": 2}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_tool_choice_forces_a_call_and_none_forbids_it(simulator: SimulatorProcess, provider: str) -> None:
    tools = ModelRequestParameters(function_tools=[WEATHER])
    forced = ask(provider, "hello", tools, tool_choice="required")
    assert forced.finish_reason in ("tool_call", "stop" if provider == "gemini" else "tool_call")
    assert [part.tool_name for part in forced.parts if isinstance(part, ToolCallPart)] == ["get_weather"]
    assert ask(provider, "use get_weather", tools, tool_choice="none").text


@pytest.mark.parametrize("provider", PROVIDERS)
def test_json_satisfies_the_schema_asked_for(simulator: SimulatorProcess, provider: str) -> None:
    wanted = ModelRequestParameters(
        output_mode="native", output_object=OutputObjectDefinition(json_schema=CITY, name="city", strict=True)
    )
    value = json.loads(ask(provider, parameters=wanted).text or "")
    assert set(value) == {"name", "people"}
    assert isinstance(value["people"], int)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_stream_comes_in_pieces_and_says_the_same(simulator: SimulatorProcess, provider: str) -> None:
    events, answer = ask_streamed(provider, "Tell me [[sim:tokens=40]]")
    assert events > 8
    assert answer.usage.output_tokens == 40
    assert (answer.provider_details or {}).get("finish_reason")
    (row,) = simulator.arrivals()
    assert (row["streamed"], row["status"], row["tokens_out"]) == (True, 200, 40)


@pytest.mark.parametrize(
    ("provider", "settings"),
    [
        ("openai", {"openai_reasoning_effort": "low"}),
        ("anthropic", {"anthropic_thinking": {"type": "enabled", "budget_tokens": 1024}}),
        ("gemini", {"google_thinking_config": {"include_thoughts": True, "thinking_budget": 512}}),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_thinking_is_there_when_asked_for(
    simulator: SimulatorProcess, provider: str, settings: dict[str, Any], streamed: bool
) -> None:
    prompt = "Think [[sim:reasoning=20,tokens=12]]"
    answer = (ask_streamed(provider, prompt, **settings)[1] if streamed
              else ask(provider, prompt, **settings))  # fmt: skip
    thoughts = [part.content for part in answer.parts if isinstance(part, ThinkingPart)]
    assert answer.usage.output_tokens == 32
    if provider == "openai":
        assert answer.usage.details["reasoning_tokens"] == 20
    else:
        assert [len(thought) for thought in thoughts] == [80]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_refusal_finishes_as_filtered(simulator: SimulatorProcess, provider: str) -> None:
    simulator.load({"faults": [{"kind": "refusal"}]})
    assert ask(provider).finish_reason == "content_filter"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_models_are_listed(simulator: SimulatorProcess, provider: str) -> None:
    simulator.load({"models": {"*": {}, "one": {}, "two": {}}})
    path = "/gemini/v1beta/models" if provider == "gemini" else f"/{provider}/v1/models"
    status, _, body = post(simulator.url, path, b"", method="GET")
    assert (status, b"one" in body, b"two" in body) == (200, True, True)
    assert json.loads(post(simulator.url, f"{path}/one", b"", method="GET")[2])
    counts = simulator.counts()
    assert (counts["arrivals"], counts["listings"]["arrivals"]) == (0, 2)


# Errors, as PROVIDERS' error classes

EVERY: Sequence[tuple[dict[str, Any], type[Exception]]] = [
    ({"kind": "429", "retry_after_s": 2.5}, exceptions.ModelRateLimitError),
    ({"kind": "quota"}, exceptions.ModelQuotaExceededError),
    ({"kind": "529"}, exceptions.ModelOverloadedError),
    ({"kind": "503"}, exceptions.ModelUnavailableError),
    ({"kind": "500"}, exceptions.ModelServerError),
    ({"kind": "502"}, exceptions.ModelServerError),
    ({"kind": "401"}, exceptions.ModelAuthenticationError),
    ({"kind": "403"}, exceptions.ModelAuthenticationError),
    ({"kind": "404"}, exceptions.ModelNotFoundError),
    ({"kind": "400"}, exceptions.ModelRequestRejectedError),
    ({"kind": "context_too_long"}, exceptions.ModelContextWindowExceededError),
    ({"kind": "broken_body"}, exceptions.ModelAPIError),
    ({"kind": "cut"}, exceptions.ModelConnectionError),
    ({"kind": "cut_stream"}, exceptions.ModelConnectionError),
    ({"kind": "outage"}, exceptions.ModelConnectionError),
    ({"kind": "outage", "mode": "503"}, exceptions.ModelUnavailableError),
]


@pytest.mark.parametrize(("fault", "error"), EVERY, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_fault_raises_the_libraries_own_error(
    simulator: SimulatorProcess, provider: str, fault: dict[str, Any], error: type[Exception]
) -> None:
    simulator.load({"faults": [fault]})
    with pytest.raises(error) as caught:
        ask(provider)
    assert simulator.counts()["faults"] == {fault["kind"]: 1}
    if fault["kind"] == "429":
        assert isinstance(caught.value, exceptions.ModelHTTPError)
        assert caught.value.retry_after == {"openai": 2.5, "anthropic": 3, "gemini": 2.5}[provider]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_answer_of_the_wrong_shape_is_no_answer(simulator: SimulatorProcess, provider: str) -> None:
    simulator.load({"faults": [{"kind": "wrong_shape"}]})
    if provider == "gemini":
        assert ask(provider).text is None
        return
    with pytest.raises((exceptions.UnexpectedModelBehavior, TypeError)):
        ask(provider)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_error_inside_a_stream_is_an_error(simulator: SimulatorProcess, provider: str) -> None:
    with pytest.raises(exceptions.ModelHTTPError) as caught:
        ask_streamed(provider, "x [[sim:fault=stream_error]]")
    assert caught.value.in_stream
    assert caught.value.status_code == {"openai": 500, "anthropic": 529, "gemini": 503}[provider]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_stream_cut_in_the_middle_never_says_that_it_finished(simulator: SimulatorProcess, provider: str) -> None:
    try:
        _, answer = ask_streamed(provider, "x [[sim:fault=cut_stream]]")
    except exceptions.ModelAPIError:
        return
    assert not (answer.provider_details or {}).get("finish_reason")


@pytest.mark.parametrize("fault", ["stall", "stall,after=0.5"])
def test_a_stalled_call_ends_only_when_the_client_leaves(simulator: SimulatorProcess, fault: str) -> None:
    with pytest.raises(exceptions.ModelTimeoutError):
        ask("openai", f"x [[sim:fault={fault}]]", timeout=0.3)
    until(lambda: simulator.counts()["in_flight"] == 0)
    assert simulator.counts()["client_gone"] == 1
    (row,) = simulator.arrivals()
    assert row["client_gone"]
    assert row["done_ns"] - row["monotonic_ns"] >= 0.25e9


def test_a_client_that_leaves_a_stream_is_noticed(simulator: SimulatorProcess) -> None:
    with pytest.raises(exceptions.ModelTimeoutError):
        ask_streamed("openai", "x [[sim:fault=stall,after=0.5]]", timeout=0.3)
    until(lambda: simulator.counts()["in_flight"] == 0)
    (row,) = simulator.arrivals()
    assert (row["status"], row["streamed"], row["client_gone"]) == (200, True, True)


# The client's own mistakes


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_call_without_a_key_is_not_let_in(simulator: SimulatorProcess, provider: str) -> None:
    status, _, body = post(simulator.url, PATHS[provider], body_of(provider), {"anthropic-version": "2023-06-01"})
    assert (status, "error" in json.loads(body)) == (403 if provider == "gemini" else 401, True)


@pytest.mark.parametrize(
    ("provider", "body", "said"),
    [
        ("openai", {"model": "m"}, "Missing required parameter: 'messages'"),
        ("openai", {"messages": []}, "you must provide a model parameter"),
        ("openai", {"model": "m", "messages": []}, "empty array"),
        ("openai", body_of("openai", max_tokens=0), "Expected a value >= 1"),
        ("openai", b"{", "could not parse the JSON body"),
        ("openai", body_of("openai", "[[sim:fault=teapot]]"), "simulator: [[sim:fault=teapot]]: kind"),
        ("anthropic", {"model": "m", "messages": [{"role": "user", "content": "x"}]}, "max_tokens: Field required"),
        ("anthropic", {"model": "m", "max_tokens": 9}, "messages: Field required"),
        ("anthropic", body_of("anthropic", max_tokens=2000, thinking={"type": "enabled", "budget_tokens": 2000}),
         "`max_tokens` must be greater than `thinking.budget_tokens`"),
        ("gemini", {}, "contents is not specified"),
        ("gemini", {"contents": [{"parts": []}]}, "must not be empty"),
    ],
)  # fmt: skip
def test_a_bad_request_gets_the_providers_400(
    simulator: SimulatorProcess, provider: str, body: dict[str, Any] | bytes, said: str
) -> None:
    status, _, answer = post(simulator.url, PATHS[provider], body)
    assert status == 400
    assert said in json.loads(answer)["error"]["message"]
    assert simulator.counts()["statuses"] == {"400": 1}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_prompt_beyond_the_context_window_is_refused(simulator: SimulatorProcess, provider: str) -> None:
    simulator.load({"models": {"*": {"context_window": 100}}})
    with pytest.raises(exceptions.ModelContextWindowExceededError):
        ask(provider, "word " * 100)
    assert ask(provider).text


def test_a_path_that_is_not_there_says_what_is(simulator: SimulatorProcess) -> None:
    assert post(simulator.url, "/openai/v1/nothing", {})[0] == 404
    assert post(simulator.url, PATHS["openai"], b"", method="GET")[0] == 405
    status, _, body = post(simulator.url, "/elsewhere", {})
    assert (status, "/anthropic" in json.loads(body)["error"]) == (404, True)
    status, _, body = post(simulator.url, "/_sim/nothing", {})
    assert (status, "GET /_sim/counts" in json.loads(body)["known"]) == (404, True)


# Limits


@pytest.mark.parametrize("provider", PROVIDERS)
def test_beyond_the_limit_the_wait_told_is_the_true_one(simulator: SimulatorProcess, provider: str) -> None:
    simulator.load({"models": {"*": {"limits": {"rpm": 200, "window_s": 0.6}}}})
    assert [post(simulator.url, PATHS[provider], body_of(provider))[0] for _ in range(2)] == [200, 200]
    with pytest.raises(exceptions.ModelRateLimitError) as caught:
        ask(provider)
    wait_s = caught.value.retry_after
    assert wait_s is not None
    assert 0 < wait_s <= (1 if provider == "anthropic" else 0.6)
    # Neither for a state nor to be sure: it is exactly this wait that is to be enough.
    time.sleep(wait_s)
    assert ask(provider).text
    assert simulator.windows(0.6)["admitted"]["max"] == 2


def test_saturated_callers_never_get_more_than_the_limit(simulator: SimulatorProcess) -> None:
    simulator.load({"models": {"*": {"limits": {"rpm": 3000, "window_s": 0.4}, "latency_s": 0.01}}})
    end = time.monotonic() + 1.2

    def hammer(_: int) -> list[int]:
        statuses = []
        while time.monotonic() < end:
            statuses.append(post(simulator.url, PATHS["openai"], body_of("openai"))[0])
        return statuses

    with ThreadPoolExecutor(8) as pool:
        statuses = [status for some in pool.map(hammer, range(8)) for status in some]
    windows, counts = simulator.windows(0.4), simulator.counts()
    assert windows["admitted"]["max"] == 20
    assert windows["arrivals"]["max"] > 20
    assert counts["statuses"] == {str(status): statuses.count(status) for status in set(statuses)}
    assert counts["max_in_flight"] == windows["in_flight"]["max"]


def test_openai_tells_its_limits_in_headers(simulator: SimulatorProcess) -> None:
    simulator.load({"models": {"*": {"limits": {"rpm": 60, "tpm": 6000, "tokens_counted": "reserved"}}}})
    _, headers, _ = post(simulator.url, PATHS["openai"], body_of("openai"))
    limits = {name.removeprefix("x-ratelimit-"): value for name, value in headers.items() if "ratelimit" in name}
    assert limits == {
        "limit-requests": "60", "remaining-requests": "59", "reset-requests": "1m0s",
        "limit-tokens": "6000", "remaining-tokens": "5944", "reset-tokens": "1m0s",
    }  # fmt: skip


def test_anthropic_tells_its_limits_in_headers(simulator: SimulatorProcess) -> None:
    simulator.load({"models": {"*": {"limits": {"rpm": 60, "algorithm": "token_bucket"}}}})
    _, headers, _ = post(simulator.url, PATHS["anthropic"], body_of("anthropic"))
    assert headers["anthropic-ratelimit-requests-limit"] == "60"
    assert headers["anthropic-ratelimit-requests-remaining"] == "59"
    assert headers["anthropic-ratelimit-requests-reset"].endswith("Z")


def test_one_call_too_many_at_once_is_refused(simulator: SimulatorProcess) -> None:
    simulator.load({"models": {"*": {"max_concurrency": 2, "latency_s": 0.3}}})
    with ThreadPoolExecutor(3) as pool:
        statuses = list(pool.map(lambda _: post(simulator.url, PATHS["openai"], body_of("openai"))[0], range(3)))
    assert sorted(statuses) == [200, 200, 429]
    windows = simulator.windows(60, status=200)
    assert windows["in_flight"]["max"] == 2


# Scripts, counts and the process


def test_an_outage_lasts_from_t1_to_t2(simulator: SimulatorProcess) -> None:
    simulator.load({"faults": [{"kind": "outage", "mode": "503", "from_s": 0.2, "to_s": 0.5}]})
    began = time.monotonic()

    def status() -> int:
        return post(simulator.url, PATHS["openai"], body_of("openai"))[0]

    assert status() == 200
    until(lambda: status() == 503, timeout_s=5)
    assert time.monotonic() - began >= 0.19
    until(lambda: status() == 200, timeout_s=5)
    assert time.monotonic() - began >= 0.49


def test_a_prompt_may_script_its_own_two_failures(simulator: SimulatorProcess) -> None:
    prompts = ["x [[sim:fault=503,times=2]]"] * 3 + ["y [[sim:fault=500,times=1]]"] * 2
    statuses = [post(simulator.url, PATHS["openai"], body_of("openai", prompt))[0] for prompt in prompts]
    assert statuses == [503, 503, 200, 500, 200]


def test_latency_is_as_scripted_or_as_the_prompt_says(simulator: SimulatorProcess) -> None:
    simulator.load({"models": {"*": {"latency_s": 0.2}}})
    for prompt in ("x", "x [[sim:latency=0.05]]"):
        post(simulator.url, PATHS["openai"], body_of("openai", prompt))
    slow, quick = ((row["done_ns"] - row["monotonic_ns"]) / 1e9 for row in simulator.arrivals())
    assert slow >= 0.2
    assert 0.05 <= quick < slow


def test_a_stream_takes_its_latency_piece_by_piece(simulator: SimulatorProcess) -> None:
    simulator.load({"models": {"*": {"latency_s": 0.3, "first_token_share": 0.3}}})
    connection = http.client.HTTPConnection(urlsplit(simulator.url).netloc, timeout=10)
    body, auth = json.dumps(body_of("openai", stream=True)), {"authorization": f"Bearer {KEY}"}
    began = time.monotonic()
    connection.request("POST", PATHS["openai"], body, auth)
    with connection.getresponse() as response:
        first = response.readline()
        first_s = time.monotonic() - began
        rest = response.read()
    connection.close()
    assert first.startswith(b"data: ")
    assert rest.rstrip().endswith(b"data: [DONE]")
    all_s = time.monotonic() - began
    assert first_s >= 0.09
    assert all_s >= 0.29
    assert all_s - first_s > 0.1


def test_every_arrival_is_logged_with_what_the_client_said(simulator: SimulatorProcess) -> None:
    said = {"x-echelon-job": "j-1", "x-echelon-attempt": "2", "x-echelon-instance": "eu"}
    headers = {"authorization": "Bearer a", **said}
    before_ns = time.time_ns()
    post(simulator.url, PATHS["openai"], body_of("openai"), headers)
    post(simulator.url, PATHS["openai"], body_of("openai"), {**headers, "x-echelon-attempt": "x", "x-echelon-job": ""})
    first, second = simulator.arrivals()
    assert (first["job"], first["attempt"], first["instance"]) == ("j-1", 2, "eu")
    assert (second["job"], second["attempt"], second["number"]) == (None, 0, 1)
    assert before_ns <= first["time_ns"] <= time.time_ns()
    assert len(first["key"]) == 12
    assert simulator.counts()["instances"]["eu"]["arrivals"] == 2
    assert simulator.arrivals(since=1) == [second]
    assert simulator.arrivals(status=500) == []
    status, headers, lines = post(simulator.url, "/_sim/arrivals?format=ndjson", b"", method="GET")
    assert (status, headers["content-type"]) == (200, "application/x-ndjson")
    names, *rows = (json.loads(line) for line in lines.splitlines())
    assert dict(zip(names, rows[0], strict=True)) == first


def test_a_wrong_script_is_refused_and_the_old_one_stays(simulator: SimulatorProcess) -> None:
    simulator.load({"seed": 3})
    with pytest.raises(ValueError, match="unknown fault"):
        simulator.load({"faults": [{"kind": "teapot"}]})
    assert post(simulator.url, "/_sim/script", b"{")[0] == 400
    assert simulator.script() == {"seed": 3}
    simulator.unload()
    assert simulator.script() == {}


def test_a_wrong_parameter_is_told(simulator: SimulatorProcess) -> None:
    wrong = {
        "windows?second=3": "unknown parameter second",
        "windows?seconds=x": "not a number",
        "windows?seconds=0": "above 0",
        "arrivals?since=-1": "0 or more",
        "arrivals?format=xml": "neither json nor ndjson",
        "arrivals?status=ok": "whole number",
    }
    for query, said in wrong.items():
        status, _, body = post(simulator.url, f"/_sim/{query}", b"", method="GET")
        assert (status, said in json.loads(body)["error"]) == (400, True), query


def test_a_prompt_of_many_megabytes_is_taken(simulator: SimulatorProcess) -> None:
    status, _, _ = post(simulator.url, PATHS["openai"], body_of("openai", "word " * 2_000_000))
    assert (status, simulator.arrivals()[0]["tokens_in"]) == (200, 2_500_004)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_at_once_with_calls_under_way(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "echelon_producers.simulator", "--latency", "30"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().removeprefix("simulator: ").strip()
        address = urlsplit(url)
        payload = json.dumps(body_of("openai", stream=True)).encode()
        head = f"POST {PATHS['openai']} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\n"
        place = (address.hostname or "", address.port or 0)
        with socket.create_connection(place) as waiting, socket.create_connection(place):
            waiting.sendall(f"{head}content-length: {len(payload)}\r\n\r\n".encode() + payload)
            control = SimulatorProcess()
            control.url = url
            until(lambda: control.counts()["in_flight"] == 1)
            process.send_signal(number)
            assert process.wait(timeout=2) == 0
        assert process.stderr.read() == ""


def test_a_port_that_is_taken_is_said(simulator: SimulatorProcess) -> None:
    with pytest.raises(RuntimeError, match="cannot listen on"):
        SimulatorProcess("--port", str(urlsplit(simulator.url).port)).start()
