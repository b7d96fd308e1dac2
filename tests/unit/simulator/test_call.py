"""One call without a network: any body gets an answer or the provider's own error, and places are given back."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echelon_producers.simulator.anthropic import Anthropic
from echelon_producers.simulator.call import Call
from echelon_producers.simulator.gemini import Gemini
from echelon_producers.simulator.openai import OpenAI, duration
from echelon_producers.simulator.script import parse_script
from echelon_producers.simulator.simulation import Simulation
from echelon_producers.simulator.verdict import Verdict
from echelon_producers.simulator.wire import Received, Target, Wire, whole_seconds

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

WIRES: dict[str, tuple[Wire, Received, dict[str, Any]]] = {
    "openai": (
        OpenAI(),
        Received(Target("call"), {"authorization": "Bearer k"}, {}),
        {"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": [], "stream_options": {}},
    ),
    "anthropic": (
        Anthropic(),
        Received(Target("call"), {"x-api-key": "k", "anthropic-version": "2023-06-01"}, {}),
        {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "tools": [], "thinking": {}},
    ),
    "gemini": (
        Gemini(),
        Received(Target("call", "m"), {"x-goog-api-key": "k"}, {"alt": "sse"}),
        {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generationConfig": {}, "tools": []},
    ),
}
FIELDS = ["role", "content", "type", "text", "function", "name", "parts", "format", "schema", "input"]
OPTIONS = ["stream", "tool_choice", "response_format", "output_config", "system", "toolConfig", "max_completion_tokens",
           "reasoning_effort", "systemInstruction"]  # fmt: skip
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3),
    max_leaves=6,
)


def call(provider: str, body: Any, simulation: Simulation | None = None) -> tuple[Call, Verdict]:
    wire, received, _ = WIRES[provider]
    made = Call(simulation or Simulation(parse_script({})), wire, received)
    made.read(body if isinstance(body, bytes) else json.dumps(body).encode())
    made.arrive("job", "1")
    return made, made.judge()


@pytest.mark.parametrize("provider", WIRES)
@quick
@given(data=st.data())
def test_any_body_gets_an_answer_or_a_400(provider: str, data: st.DataObject) -> None:
    wire, _, good = WIRES[provider]
    body = dict(good)
    for name in data.draw(st.sets(st.sampled_from([*good, *OPTIONS]), max_size=3)):
        body[name] = data.draw(ANY_JSON)
    made, verdict = call(provider, body)
    if verdict.failure is not None:
        assert wire.error(verdict.failure)[0] == 400
        return
    assert made.ask is not None
    assert verdict.reply is not None
    json.dumps(wire.plain(made.ask, verdict.reply))
    assert b"".join(wire.frames(made.ask, verdict.reply, 4))


@pytest.mark.parametrize("provider", WIRES)
@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b"[" * 200_000, b'"x"'])
def test_a_body_that_is_no_json_object_gets_a_400(provider: str, raw: bytes) -> None:
    failure = call(provider, raw)[1].failure
    assert failure is not None
    assert failure.kind == "400"


def test_a_call_that_left_gives_its_place_back_once() -> None:
    simulation = Simulation(parse_script({"models": {"m": {"max_concurrency": 1}}}))
    body = WIRES["openai"][2]
    first, _ = call("openai", body, simulation)
    second, refused = call("openai", body, simulation)
    assert refused.failure is not None
    assert (refused.failure.kind, refused.failure.measure) == ("429", "concurrency")
    second.leave(429)
    first.leave(200)
    first.leave(200)
    assert simulation.tallies.calls.in_flight == 0
    assert simulation.tallies.calls.statuses == {429: 1, 200: 1}
    assert call("openai", body, simulation)[1].reply is not None


def test_a_script_replaced_meanwhile_does_not_disturb_the_calls_in_flight() -> None:
    simulation = Simulation(parse_script({"models": {"m": {"max_concurrency": 1}}}))
    body = WIRES["openai"][2]
    old, _ = call("openai", body, simulation)
    simulation.load(simulation.script)
    new, verdict = call("openai", body, simulation)
    assert verdict.reply is not None
    old.leave(200)
    assert call("openai", body, simulation)[1].failure is not None
    new.leave(200)


def test_a_reset_forgets_what_arrived_but_not_what_is_in_flight() -> None:
    simulation = Simulation(parse_script({}))
    body = WIRES["openai"][2]
    open_call, _ = call("openai", body, simulation)
    simulation.reset()
    counts = simulation.tallies.to_json()
    assert (counts["arrivals"], counts["in_flight"], counts["max_in_flight"]) == (0, 1, 1)
    open_call.leave(200)
    assert simulation.tallies.calls.in_flight == 0
    assert simulation.log.next_number == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.0121, "13ms"), (1.2, "1.2s"), (59.9999, "1m0s"), (360, "6m0s"), (3661, "1h1m1s")],
)
def test_a_duration_reads_as_openai_writes_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@quick
@given(st.floats(0, 1e6))
def test_whole_seconds_never_promise_too_early_nor_a_second_too_much(seconds: float) -> None:
    assert seconds - 1e-6 <= int(whole_seconds(seconds)) < seconds + 1
