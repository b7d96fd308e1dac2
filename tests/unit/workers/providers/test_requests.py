"""A job's request: what is accepted, and what is said about what is not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echelon_workers.ledger.job import Answer, JobRequest, RequestInvalid, ToolCall, Usage, parse_request

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "default": None}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "p", "schema": {"enum": [None, 1], "default": None}}}
USER = {"role": "user", "content": "x"}


def problems(**given: Any) -> list[str]:
    with pytest.raises(RequestInvalid) as caught:
        parse_request(given)
    assert str(caught.value).split("\n") == list(caught.value.problems)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    "given",
    [
        {"prompt": "x"},
        {"prompt": "x", "system": "s", "temperature": 0, "max_tokens": 1, "metadata": {"a": "b"}},
        {"messages": [USER]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}], "name": "ann"}]},
        {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None}]},
        {"messages": [{"role": "tool", "content": "x", "tool_call_id": "c1"}]},
        {"prompt": "x", "tools": [TOOL], "function_calling": "required"},
        {"prompt": "x", "response_format": "json_object"},
        {"prompt": "x", "response_format": SCHEMA},
        {"prompt": "x", "thinking": {"enabled": True, "budget_tokens": 1024}},
        {"prompt": "x", "thinking": {"enabled": False, "budget_tokens": None}},
    ],
)
def test_a_request_comes_back_from_its_json_as_it_was(given: dict[str, Any]) -> None:
    request = parse_request(given)
    again = JobRequest.from_json(request.to_json())
    assert again.to_json() == request.to_json()
    assert again.prompt == given.get("prompt")


def test_the_json_is_compact_and_leaves_out_what_was_not_said() -> None:
    assert parse_request({"prompt": "x"}).to_json() == '{"prompt":"x"}'
    assert parse_request({"prompt": "x", "system": None}).to_json() == '{"prompt":"x"}'


def test_nulls_inside_a_schema_stay() -> None:
    written = parse_request({"prompt": "x", "response_format": SCHEMA, "tools": [TOOL]}).to_json()
    assert '"enum":[null,1],"default":null' in written
    assert '{"type":"object","default":null}' in written


def test_exactly_one_of_prompt_and_messages_is_required() -> None:
    assert problems() == ["prompt, messages: neither given (give exactly one of the two)"]
    assert problems(prompt="x", messages=[USER]) == ["prompt, messages: both given (give exactly one of the two)"]
    assert problems(messages=[]) == ["messages: an empty list (at least one message)"]


def test_every_problem_is_named_at_once() -> None:
    assert problems(promt="x", temperature=3, max_tokens=0, metadata={"a": 1}, prompt=5) == [
        "prompt: wrong value (input should be a valid string)",
        "temperature: wrong value (input should be less than or equal to 2)",
        "max_tokens: wrong value (input should be greater than or equal to 1)",
        "metadata.a: wrong value (input should be a valid string)",
        "promt: unknown field (did you mean prompt?)",
    ]


def test_a_wrong_message_is_found_by_its_number() -> None:
    image = {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}
    said = problems(
        messages=[
            {"role": "bot", "content": "x"},
            {"role": "user", "content": [{"type": "sound"}]},
            {"role": "user", "content": [image]},
            {"role": "tool", "content": "x"},
            {"role": "assistant"},
            {**USER, "foo": 1},
        ]
    )
    assert [problem.split(": ")[0] for problem in said] == [
        "messages.0",
        "messages.1.content.0",
        "messages.2.content.0.image_url.url",
        "messages.3.tool_call_id",
        "messages.4",
        "messages.5.foo",
    ]
    assert "system, developer, user, assistant, tool" in said[0]
    assert said[3] == "messages.3.tool_call_id: missing (a value is required)"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"response_format": "json"}, "response_format: unknown format"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema: missing"),
        ({"function_calling": "required"}, "function_calling: 'required' without tools"),
        ({"function_calling": "always"}, "function_calling: wrong value"),
        ({"temperature": float("nan")}, "temperature: wrong value"),
        ({"max_tokens": True}, "max_tokens: wrong value"),
        ({"thinking": {"enabled": True, "budget_tokens": 0}}, "thinking.budget_tokens: wrong value"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name: wrong value"),
        ({"tools": [{"type": "search"}]}, "tools.0.type: wrong value"),
    ],
)
def test_a_wrong_wish_is_named(given: dict[str, Any], said: str) -> None:
    assert problems(prompt="x", **given)[0].startswith(said)


def test_what_was_given_is_not_quoted() -> None:
    assert "hunter2" not in str(problems(prompt=["hunter2"], system={"hunter2": 1}, temperature="hunter2"))


def test_many_problems_are_counted_after_the_first_twenty() -> None:
    said = problems(messages=[{"role": "x"}] * 100)
    assert len(said) == 21
    assert said[-1] == "request: 80 more problems (mend these first)"


def test_text_that_is_not_unicode_is_refused() -> None:
    assert problems(prompt="a\ud800")[0].startswith("prompt: ")
    lurking = {"type": "json_schema", "json_schema": {"name": "p", "schema": {"title": "\ud800"}}}
    with pytest.raises(RequestInvalid, match="not Unicode"):
        parse_request({"prompt": "x", "response_format": lurking}).to_json()


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "null", "[" * 100_000, b"\xff", '{"prompt": 1}'])
def test_json_that_is_no_request_is_refused(text: str | bytes) -> None:
    with pytest.raises(RequestInvalid):
        JobRequest.from_json(text)


def test_a_schema_nested_without_end_is_refused_with_a_short_message() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5_000):
        deep = {"a": deep}
    form = {"type": "json_schema", "json_schema": {"name": "p", "schema": deep}}
    (said,) = problems(prompt="x", response_format=form)
    assert len(said) < 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
FIELDS = st.sampled_from([*JobRequest.model_fields, "other"])


@given(st.dictionaries(FIELDS, JSON, max_size=6))
def test_no_json_breaks_the_validation(fields: dict[str, Any]) -> None:
    try:
        request = parse_request(fields)
    except RequestInvalid as invalid:
        for problem in invalid.problems:
            assert ": " in problem
            assert problem.endswith(")")
    else:
        assert JobRequest.from_json(request.to_json()).to_json() == request.to_json()


def test_a_request_and_an_answer_are_frozen() -> None:
    answer = Answer(text="x", finish_reason="stop", usage=Usage(), model="m", instance="i", latency_ms=1, tool_calls=())
    for frozen, field in ((parse_request({"prompt": "x"}), "prompt"), (answer, "text"), (answer.usage, "input_tokens")):
        with pytest.raises(ValueError, match="frozen"):
            setattr(frozen, field, "y")


def test_an_answer_comes_back_from_its_json() -> None:
    answer = Answer(
        text="x",
        tool_calls=(ToolCall(id="1", name="f", arguments="{}"),),
        finish_reason="tool_calls",
        usage=Usage(input_tokens=1, output_tokens=2, cached_tokens=1, reasoning_tokens=1),
        cost_usd="0.001",
        model="m",
        instance="i",
        latency_ms=12,
    )
    assert Answer.model_validate_json(answer.model_dump_json()) == answer
