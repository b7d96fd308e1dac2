"""Answers: the same for the same request, as long as asked, cut where the request says."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echelon_producers.simulator.answers import compose, input_tokens
from echelon_producers.simulator.exchange import Ask, Reply, Tool
from echelon_producers.simulator.markers import UNMARKED, read_markers
from echelon_producers.simulator.script import AnswerShape

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

WEATHER = Tool(name="get_weather", schema={"type": "object", "properties": {"city": {"type": "string"}}})
TIME = Tool(name="get_time", schema={"type": "object"})


def ask(text: str = "How deep is the harbour?", **more: object) -> Ask:
    return Ask(**{"model": "m", "text": text, "last": text, "messages": 1, **more})  # type: ignore[arg-type]


def answer(asked: Ask, shape: AnswerShape | None = None, number: int = 0) -> Reply:
    return compose(asked, input_tokens(asked), shape or AnswerShape(), read_markers(asked.text), number)


@quick
@given(st.text(max_size=80), st.integers(0, 500))
def test_an_answer_depends_on_the_prompt_alone(text: str, tokens: int) -> None:
    shape = AnswerShape.model_validate({"tokens": tokens})
    asked = Ask(model="m", text=text, last=text, messages=1)
    one = compose(asked, 5, shape, UNMARKED, 1)
    two = compose(asked, 5, shape, UNMARKED, 2)
    assert one.text == two.text
    assert one.id != two.id
    assert one.output_tokens == tokens
    assert abs(len(one.text) - tokens * 4) < 40


def test_an_answer_echoes_the_first_words_without_markers() -> None:
    reply = answer(ask("[[sim:tokens=30]] Tell me about tides and ships and the moon tonight please"))
    assert "Tell me about tides and ships and the." in reply.text
    assert "[[sim" not in reply.text
    assert reply.output_tokens == 30


def test_an_answer_longer_than_max_tokens_is_cut_and_says_so() -> None:
    reply = answer(ask(max_tokens=10))
    assert (reply.finish, reply.output_tokens, len(reply.text)) == ("length", 10, 40)
    assert answer(ask(max_tokens=40)).finish == "stop"


def test_reasoning_comes_out_of_the_budget_and_of_max_tokens() -> None:
    reply = answer(ask(max_tokens=50, thinking_budget=1024), AnswerShape.model_validate({"reasoning_tokens": 45}))
    assert (reply.reasoning_tokens, reply.output_tokens, reply.finish) == (45, 50, "length")
    assert answer(ask(thinking_budget=8)).reasoning_tokens == 8
    assert answer(ask()).reasoning_tokens == 0


def test_json_is_an_instance_of_the_schema_or_any_object() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    assert json.loads(answer(ask(json=True, schema=schema)).text) == {"n": 0}
    assert isinstance(json.loads(answer(ask(json=True)).text), dict)


@pytest.mark.parametrize(
    ("text", "choice", "named", "called"),
    [
        ("hello", "auto", None, None),
        ("please use get_time now", "auto", None, "get_time"),
        ("please use get_time now", "none", None, None),
        ("hello", "required", None, "get_weather"),
        ("hello", "required", "get_time", "get_time"),
        ("hello [[sim:tool=get_time]]", "auto", None, "get_time"),
        ("hello [[sim:tool]]", "auto", None, "get_weather"),
    ],
)
def test_a_tool_is_called_when_forced_or_named(text: str, choice: str, named: str | None, called: str | None) -> None:
    reply = answer(ask(text, tools=(WEATHER, TIME), tool_choice=choice, tool_named=named))
    assert reply.tool == called
    assert reply.finish == ("tool_calls" if called else "stop")


def test_after_a_tools_result_the_marker_calls_no_tool_again() -> None:
    assert answer(ask("x [[sim:tool]]", last="", tools=(WEATHER,))).tool is None


def test_cached_tokens_are_a_share_of_the_input() -> None:
    reply = answer(ask("x" * 400), AnswerShape(cached_share=0.5))
    assert (reply.input_tokens, reply.cached_tokens) == (104, 52)


def test_text_beyond_ascii_is_counted_by_its_bytes() -> None:
    assert input_tokens(ask("港" * 4)) == 3 + 4
