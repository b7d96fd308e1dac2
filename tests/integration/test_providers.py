"""Calls over real sockets: our simulator, llmock (a fake provider that is not ours), and servers that misbehave."""

import asyncio
import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from waiting import until, until_async

from echelon_configs import CallSettings, Instance, SecretReference, Timeouts
from echelon_producers.simulator.process import SimulatorProcess
from echelon_workers import errors
from echelon_workers.errors import AttemptFailed
from echelon_workers.ledger.job import Answer, parse_request
from echelon_workers.providers import Call, Providers

T = TypeVar("T")
Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

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


class Desk:
    """Providers on one event loop for the whole module: one through the simulator, one with keys of its own."""

    def __init__(self, simulator_url: str) -> None:
        self._runner = asyncio.Runner()
        self.simulated = Providers(environment={}, max_connections=200, simulator_url=simulator_url)
        self.keyed = Providers(environment={"KEY": "sk-llmock"}, max_connections=20)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def complete(self, one: Call) -> Answer:
        return self.run(self.simulated.complete(one)).answer

    def failure(self, one: Call) -> AttemptFailed:
        return self.run(failure_of(self.simulated, one))

    def close(self) -> None:
        self.run(self.simulated.aclose())
        self.run(self.keyed.aclose())
        self._runner.close()


@pytest.fixture(scope="module")
def desk(simulator: SimulatorProcess) -> Iterator[Desk]:
    """Where calls are made from."""
    made = Desk(simulator.url)
    yield made
    made.close()


def call(provider: str, *, timeout_s: float = 10, name: str = "one", instance: Any = None, **request: Any) -> Call:
    return Call(
        instance=Instance(name=name, provider=provider, vendor=provider, model=MODELS[provider], **(instance or {})),
        request=parse_request({"prompt": "Hello there", **request}),
        settings=CallSettings(),
        timeout_s=timeout_s,
        job_id="job-1",
        attempt=2,
    )


async def failure_of(providers: Providers, one: Call) -> AttemptFailed:
    with pytest.raises(AttemptFailed) as caught:
        await providers.complete(one)
    failure: AttemptFailed = caught.value
    return failure


def test_a_look_finds_the_models_without_a_call(sim: SimulatorProcess, desk: Desk, provider: str) -> None:
    assert desk.run(desk.simulated.look(call(provider).instance, 5.0))
    assert [arrival for arrival in sim.arrivals() if arrival["operation"] != "models"] == []


def test_a_call_is_answered_and_arrives_once_with_instance_job_and_attempt(
    sim: SimulatorProcess, desk: Desk, provider: str
) -> None:
    answer = desk.complete(call(provider))
    assert "Hello there" in answer.text
    assert answer.finish_reason == "stop"
    assert answer.usage.output_tokens == 40
    (arrival,) = sim.arrivals()
    assert (arrival["instance"], arrival["job"], arrival["attempt"]) == ("one", "job-1", 2)
    assert (arrival["model"], arrival["status"], arrival["streamed"]) == (MODELS[provider], 200, False)
    assert arrival["tokens_in"] == answer.usage.input_tokens


@pytest.mark.parametrize("fault", list(FAULTS))
def test_every_fault_is_the_error_that_it_is_and_is_not_retried(
    sim: SimulatorProcess, desk: Desk, provider: str, fault: str
) -> None:
    delay = {"delay_s": 5} if fault in ("slow", "stall") else {}
    sim.load({"faults": [{"kind": fault, "count": 1, **delay}]})
    failure = desk.failure(call(provider, timeout_s=0.3 if delay else 10))
    assert type(failure) is FAULTS[fault]
    assert failure.__cause__ is None
    assert len(sim.arrivals()) == 1


def test_a_rate_limit_says_how_long_to_wait(sim: SimulatorProcess, desk: Desk, provider: str) -> None:
    sim.load({"models": {"*": {"limits": {"rpm": 1}}}})
    first = desk.run(desk.simulated.complete(call(provider)))
    assert provider == "gemini" or any(name.endswith(("requests", "remaining")) for name in first.rate_limits)
    failure = desk.failure(call(provider))
    assert isinstance(failure, errors.RateLimited)
    assert failure.retry_after_s is not None
    assert 50 < failure.retry_after_s <= 60


@pytest.mark.usefixtures("sim")
def test_json_of_a_schema_and_a_tool_call_come_back(desk: Desk, provider: str) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}
    person = desk.complete(call(provider, response_format=form))
    assert set(json.loads(person.text)) == {"name", "age"}
    called = desk.complete(call(provider, tools=[TOOL], function_calling="required"))
    (weather,) = called.tool_calls
    assert weather.name == "get_weather"
    assert isinstance(json.loads(weather.arguments)["city"], str)
    assert called.finish_reason == "tool_calls"


@pytest.mark.usefixtures("sim")
def test_what_a_tool_returned_goes_back_to_the_model(desk: Desk, provider: str) -> None:
    function = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
    messages = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "c1", "content": "3 degrees"},
    ]
    assert desk.complete(call(provider, prompt=None, messages=messages, tools=[TOOL])).text


def test_many_calls_at_once_are_all_answered(sim: SimulatorProcess, desk: Desk) -> None:
    sim.load({"models": {"*": {"latency_s": 0.5}}})

    async def many() -> list[Answer]:
        calls = [call(list(MODELS)[n % 4], prompt=f"number {n}", name=f"i{n % 4}") for n in range(200)]
        return [found.answer for found in await asyncio.gather(*map(desk.simulated.complete, calls))]

    answers = desk.run(many())
    assert [f"number {n}" in answer.text for n, answer in enumerate(answers)] == [True] * 200
    assert sim.counts()["max_in_flight"] > 100


def test_cancelling_a_call_closes_its_connection_and_spoils_no_other(
    sim: SimulatorProcess, desk: Desk, provider: str
) -> None:
    sim.load({"models": {"*": {"latency_s": 30}}})

    async def cancelled() -> None:
        running = asyncio.create_task(desk.simulated.complete(call(provider, timeout_s=60)))
        await until_async(lambda: sim.counts()["in_flight"] == 1, what="the call is in flight")
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await until_async(lambda: sim.arrivals()[0]["client_gone"], what="the far side sees the connection closed")

    desk.run(cancelled())
    sim.unload()
    assert desk.complete(call(provider)).text


def test_a_call_out_of_time_closes_its_connection(sim: SimulatorProcess, desk: Desk, provider: str) -> None:
    sim.load({"models": {"*": {"latency_s": 30}}})
    failure = desk.failure(call(provider, timeout_s=0.2))
    assert isinstance(failure, errors.TimedOut)
    assert "no whole answer within 0.2 s" in failure.message
    until(lambda: sim.arrivals()[0]["client_gone"], what="the far side sees the connection closed")


def failure_at(desk: Desk, handle: Handle, provider: str, *, timeout_s: float = 10, **instance: Any) -> AttemptFailed:
    """What a call fails with at a server that does what `handle` does with each connection."""

    async def go() -> AttemptFailed:
        async with server(handle) as url:
            at = {"base_url": f"{url}/v1", **instance}
            return await failure_of(desk.keyed, call(provider, timeout_s=timeout_s, instance=at))

    return desk.run(go())


@asynccontextmanager
async def server(handle: Handle) -> AsyncIterator[str]:
    """A server on 127.0.0.1 that does what `handle` does with each connection."""

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(guarded, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()


def test_a_server_that_hangs_up_before_answering_is_a_failed_connection(desk: Desk, provider: str) -> None:
    """Over aiohttp this arrives dressed as a connect time-out."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    failure = failure_at(desk, hang_up, provider)
    assert isinstance(failure, errors.ConnectionFailed)
    assert "disconnected" in failure.message.lower()


def test_nobody_listening_is_a_failed_connection(desk: Desk, provider: str, free_port: int) -> None:
    one = call(provider, instance={"base_url": f"http://127.0.0.1:{free_port}/v1"})
    failure = desk.run(failure_of(desk.keyed, one))
    assert isinstance(failure, errors.ConnectionFailed)
    assert "the connection failed" in failure.message


def test_a_server_that_trickles_is_stopped_at_the_whole_calls_time(desk: Desk, provider: str) -> None:
    """Each read gets a byte in time, so only the whole call's bound ends it."""

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    assert isinstance(failure_at(desk, trickle, provider, timeout_s=0.4), errors.TimedOut)


def test_silence_is_bounded_by_the_instances_own_read_time(desk: Desk, provider: str) -> None:
    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    failure = failure_at(desk, stay_silent, provider, timeout_s=60, timeouts=Timeouts(read_s=0.2))
    assert isinstance(failure, errors.TimedOut)
    assert "no answer in time" in failure.message


LLMOCK_PATHS = {
    "openai": "/v1",
    "openai_compatible": "/groq/openai/v1",
    "anthropic": "/anthropic",
    "gemini": "/gemini/v1beta",
}


@pytest.fixture(scope="module")
def llmock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """llmock, a fake of ten providers that somebody else wrote, with quotas, a context window and a verdict."""
    log = tmp_path_factory.mktemp("llmock") / "log"
    program = Path(sys.executable).with_name("llmock")
    port = _free_port()
    options = ["--host", "127.0.0.1", "--port", str(port), "--rpm", "600", "--context-window", "2000"]
    with log.open("wb") as output:
        running = subprocess.Popen([program, "serve", *options], stdout=output, stderr=output)
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _answers(f"{url}/health", running, log), timeout_s=30, every_s=0.1, what="llmock answers")
        yield url
    finally:
        running.terminate()
        running.wait(10)


def llmock_call(url: str, provider: str, **request: Any) -> Call:
    at = {"api_key": SecretReference(env="KEY"), "base_url": url + LLMOCK_PATHS[provider]}
    return call(provider, instance=at, name=f"llmock-{provider}", **request)


def test_llmock_answers_every_provider_and_finds_nothing_to_blame(llmock: str, desk: Desk, provider: str) -> None:
    _post(f"{llmock}/_llmock/reset")

    async def some() -> list[Answer]:
        calls = [llmock_call(llmock, provider, prompt=f"number {n}") for n in range(20)]
        return [found.answer for found in await asyncio.gather(*map(desk.keyed.complete, calls))]

    assert all(answer.text and answer.usage.output_tokens for answer in desk.run(some()))
    with urllib.request.urlopen(f"{llmock}/_llmock/verdict") as response:
        verdict = json.load(response)
    assert (verdict["passed"], verdict["calls"], verdict["attempts"], verdict["findings"]) == (True, 20, 20, [])


def test_llmocks_context_window_is_too_short(llmock: str, desk: Desk, provider: str) -> None:
    failure = desk.run(failure_of(desk.keyed, llmock_call(llmock, provider, prompt="word " * 20_000)))
    assert isinstance(failure, errors.ContextTooLong)


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
