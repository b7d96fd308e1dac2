"""Calls over real sockets: our simulator, llmock (a fake provider that is not ours), and servers that misbehave."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from waiting import until, until_async

from echelon_configs import CallSettings, Instance, SecretReference, Timeouts
from echelon_producers.simulator.process import SimulatorProcess
from echelon_workers import errors
from echelon_workers.errors import AttemptFailed
from echelon_workers.ledger.job import Answer, parse_request
from echelon_workers.providers import Call, ProviderAnswer, Providers

MODELS = {
    "openai": "gpt-4o",
    "openai_compatible": "my-llama",
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-2.5-flash",
}
FAULTS: dict[str, type[AttemptFailed]] = {
    "400": errors.BadRequest,
    "401": errors.AuthenticationFailed,
    "403": errors.AuthenticationFailed,
    "404": errors.InstanceUnusable,
    "408": errors.TimedOut,
    "413": errors.ContextTooLong,
    "429": errors.RateLimited,
    "500": errors.ServerFailed,
    "502": errors.ServerFailed,
    "503": errors.ServerFailed,
    "504": errors.ServerFailed,
    "529": errors.ServerFailed,
    "quota": errors.QuotaExhausted,
    "context_too_long": errors.ContextTooLong,
    "refusal": errors.ContentRefused,
    "stall": errors.TimedOut,
    "slow": errors.TimedOut,
    "cut": errors.ConnectionFailed,
    "cut_stream": errors.ConnectionFailed,
    "broken_body": errors.InvalidOutput,
    "wrong_shape": errors.InvalidOutput,
    "outage": errors.ConnectionFailed,
}
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    """One simulator for the module."""
    with SimulatorProcess() as running:
        yield running


@pytest.fixture
def sim(simulator: SimulatorProcess) -> SimulatorProcess:
    """The simulator without script and without memory."""
    simulator.unload()
    simulator.reset()
    return simulator


@pytest.fixture(params=list(MODELS))
def provider(request: pytest.FixtureRequest) -> str:
    """Each provider in turn."""
    name: str = request.param
    return name


def call(provider: str, *, timeout_s: float = 10, name: str = "one", instance: Any = None, **request: Any) -> Call:
    return Call(
        instance=Instance(name=name, provider=provider, vendor=provider, model=MODELS[provider], **(instance or {})),
        request=parse_request({"prompt": "Hello there", **request}),
        settings=CallSettings(),
        timeout_s=timeout_s,
        job_id="job-1",
        attempt=2,
    )


def over(url: str | None, work: Callable[[Providers], Awaitable[Any]], connections: int = 10, **given: Any) -> Any:
    """Run `work` with providers of its own, and close them."""

    async def whole() -> Any:
        environment = given.pop("environment", {})
        providers = Providers(environment=environment, max_connections=connections, simulator_url=url)
        try:
            return await work(providers)
        finally:
            await providers.aclose()

    return asyncio.run(whole())


def complete(url: str, one: Call) -> ProviderAnswer:
    answer: ProviderAnswer = over(url, lambda providers: providers.complete(one))
    return answer


def test_a_call_is_answered_and_arrives_once_with_instance_job_and_attempt(
    sim: SimulatorProcess, provider: str
) -> None:
    answer = complete(sim.url, call(provider)).answer
    assert "Hello there" in answer.text
    assert answer.finish_reason == "stop"
    assert answer.usage.output_tokens == 40
    (arrival,) = sim.arrivals()
    assert (arrival["instance"], arrival["job"], arrival["attempt"]) == ("one", "job-1", 2)
    assert (arrival["model"], arrival["status"], arrival["streamed"]) == (MODELS[provider], 200, False)
    assert arrival["tokens_in"] == answer.usage.input_tokens


@pytest.mark.parametrize("fault", list(FAULTS))
def test_every_fault_is_the_error_that_it_is_and_is_not_retried(
    sim: SimulatorProcess, provider: str, fault: str
) -> None:
    delay = {"delay_s": 5} if fault in ("slow", "stall") else {}
    sim.load({"faults": [{"kind": fault, "count": 1, **delay}]})
    timeout_s = 0.3 if delay else 10
    with pytest.raises(AttemptFailed) as caught:
        complete(sim.url, call(provider, timeout_s=timeout_s))
    assert type(caught.value) is FAULTS[fault]
    assert caught.value.__cause__ is None
    assert len(sim.arrivals()) == 1


def test_a_rate_limit_says_how_long_to_wait(sim: SimulatorProcess, provider: str) -> None:
    sim.load({"models": {"*": {"limits": {"rpm": 60, "window_s": 1}}}})

    async def twice(providers: Providers) -> AttemptFailed:
        first = await providers.complete(call(provider))
        assert provider == "gemini" or any(name.endswith(("requests", "remaining")) for name in first.rate_limits)
        with pytest.raises(errors.RateLimited) as caught:
            await providers.complete(call(provider))
        return caught.value

    failure = over(sim.url, twice)
    assert failure.status == 429
    assert 0 < failure.retry_after_s <= 1.01


def test_json_of_a_schema_and_a_tool_call_come_back(sim: SimulatorProcess, provider: str) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}
    person = complete(sim.url, call(provider, response_format=form)).answer
    assert set(json.loads(person.text)) == {"name", "age"}
    called = complete(sim.url, call(provider, tools=[TOOL], function_calling="required")).answer
    (weather,) = called.tool_calls
    assert weather.name == "get_weather"
    assert isinstance(json.loads(weather.arguments)["city"], str)
    assert called.finish_reason == "tool_calls"


def test_what_a_tool_returned_goes_back_to_the_model(sim: SimulatorProcess, provider: str) -> None:
    function = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
    messages = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "c1", "content": "3 degrees"},
    ]
    answer = complete(sim.url, call(provider, prompt=None, messages=messages, tools=[TOOL])).answer
    assert answer.text


def test_many_calls_at_once_are_all_answered(sim: SimulatorProcess) -> None:
    sim.load({"models": {"*": {"latency_s": 0.2}}})

    async def many(providers: Providers) -> list[Answer]:
        calls = [call(list(MODELS)[n % 4], prompt=f"number {n}", name=f"i{n % 4}") for n in range(200)]
        return [found.answer for found in await asyncio.gather(*map(providers.complete, calls))]

    answers = over(sim.url, many, connections=200)
    assert [f"number {n}" in answer.text for n, answer in enumerate(answers)] == [True] * 200
    assert max(row["in_flight"] for row in sim.arrivals()) > 100


def test_cancelling_a_call_closes_its_connection_and_spoils_no_other(sim: SimulatorProcess, provider: str) -> None:
    sim.load({"models": {"*": {"latency_s": 30}}})

    async def cancelled(providers: Providers) -> Answer:
        running = asyncio.create_task(providers.complete(call(provider, timeout_s=60)))
        await until_async(lambda: sim.counts()["in_flight"] == 1, what="the call is in flight")
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await until_async(lambda: sim.arrivals()[0]["client_gone"], what="the far side sees the connection closed")
        sim.unload()
        return (await providers.complete(call(provider))).answer

    assert over(sim.url, cancelled).text


def test_a_call_out_of_time_closes_its_connection(sim: SimulatorProcess, provider: str) -> None:
    sim.load({"models": {"*": {"latency_s": 30}}})
    with pytest.raises(errors.TimedOut, match=r"no whole answer within 0.2 s"):
        complete(sim.url, call(provider, timeout_s=0.2))
    until(lambda: sim.arrivals()[0]["client_gone"], what="the far side sees the connection closed")


@asynccontextmanager
async def server(handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    """A server on 127.0.0.1 that does what `handle` does with each connection."""

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(guarded, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()


async def failure_of(url: str, one: Call) -> AttemptFailed:
    providers = Providers(environment={}, max_connections=2, simulator_url=url)
    try:
        with pytest.raises(AttemptFailed) as caught:
            await providers.complete(one)
        return caught.value
    finally:
        await providers.aclose()


def test_a_server_that_hangs_up_before_answering_is_a_failed_connection(provider: str) -> None:
    """Over aiohttp this arrives dressed as a connect time-out."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async def go() -> AttemptFailed:
        async with server(hang_up) as url:
            return await failure_of(url, call(provider))

    failure = asyncio.run(go())
    assert isinstance(failure, errors.ConnectionFailed)
    assert "disconnected" in failure.message.lower()


def test_nobody_listening_is_a_failed_connection(provider: str, free_port: int) -> None:
    failure = asyncio.run(failure_of(f"http://127.0.0.1:{free_port}", call(provider)))
    assert isinstance(failure, errors.ConnectionFailed)
    assert "the connection failed" in failure.message


def test_a_server_that_trickles_is_stopped_at_the_whole_calls_time(provider: str) -> None:
    """Each read gets a byte in time, so only the whole call's bound ends it."""

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    async def go() -> AttemptFailed:
        async with server(trickle) as url:
            return await failure_of(url, call(provider, timeout_s=0.4))

    failure = asyncio.run(go())
    assert isinstance(failure, errors.TimedOut)


def test_silence_is_bounded_by_the_instances_own_read_time(provider: str) -> None:
    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def go() -> AttemptFailed:
        async with server(stay_silent) as url:
            return await failure_of(url, call(provider, timeout_s=60, instance={"timeouts": Timeouts(read_s=0.2)}))

    failure = asyncio.run(go())
    assert isinstance(failure, errors.TimedOut)
    assert "no answer in time" in failure.message


@pytest.fixture(scope="module")
def llmock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """llmock, a fake of ten providers that somebody else wrote, with quotas and a context window."""
    log = tmp_path_factory.mktemp("llmock") / "log"
    program = Path(sys.executable).with_name("llmock")
    port = _free_port()
    options = ["--host", "127.0.0.1", "--port", str(port), "--rpm", "600", "--context-window", "2000"]
    with log.open("wb") as output:
        running = subprocess.Popen([program, "serve", *options], stdout=output, stderr=output, env={**os.environ})
    url = f"http://127.0.0.1:{port}"
    try:
        until(
            lambda: _answers(f"{url}/_llmock/verdict", running, log), timeout_s=30, every_s=0.1, what="llmock answers"
        )
        yield url
    finally:
        running.terminate()
        running.wait(10)


LLMOCK_PATHS = {
    "openai": "/v1",
    "openai_compatible": "/groq/openai/v1",
    "anthropic": "/anthropic",
    "gemini": "/gemini/v1beta",
}


def llmock_call(url: str, provider: str, **request: Any) -> Call:
    keyed = {"api_key": SecretReference(env="KEY"), "base_url": url + LLMOCK_PATHS[provider]}
    return call(provider, instance=keyed, **request)


def test_llmock_answers_every_provider_and_finds_nothing_to_blame(llmock: str, provider: str) -> None:
    _post(f"{llmock}/_llmock/reset")

    async def some(providers: Providers) -> list[Answer]:
        calls = [llmock_call(llmock, provider, prompt=f"number {n}") for n in range(20)]
        return [found.answer for found in await asyncio.gather(*map(providers.complete, calls))]

    answers = over(None, some, environment={"KEY": f"sk-{provider}-1"})
    assert all(answer.text and answer.usage.output_tokens for answer in answers)
    with urllib.request.urlopen(f"{llmock}/_llmock/verdict") as response:
        verdict = json.load(response)
    assert (verdict["passed"], verdict["calls"], verdict["attempts"], verdict["findings"]) == (True, 20, 20, [])


def test_llmocks_context_window_is_too_short(llmock: str, provider: str) -> None:
    long = llmock_call(llmock, provider, prompt="word " * 20_000)
    with pytest.raises(errors.ContextTooLong):
        over(None, lambda providers: providers.complete(long), environment={"KEY": f"sk-{provider}-2"})


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(url: str, running: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert running.poll() is None, log.read_text()
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _post(url: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(url, data=b"{}", method="POST")):
        pass
