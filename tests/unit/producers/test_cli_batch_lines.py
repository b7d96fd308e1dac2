"""The lines of an input file of `echelon run`, and the ids of their jobs."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from echelon_configs import Configuration, load
from echelon_producers.cli.batch.lines import BadLine, Line, LineReader, count_lines, read_lines

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.fixture(scope="module")
def configuration() -> Configuration:
    return load(CONFIGS, environment={}).configuration


def read(configuration: Configuration, said: Any, target: str | None = "fast_group", number: int = 1) -> Line | BadLine:
    raw = said if isinstance(said, bytes) else json.dumps(said).encode()
    return LineReader(configuration, target).read(raw, number)


def request_of(line: Line | BadLine) -> dict[str, Any]:
    assert isinstance(line, Line), line
    found: dict[str, Any] = json.loads(line.job.request)
    return found


def why(line: Line | BadLine) -> str:
    assert isinstance(line, BadLine), line
    return line.why


def openai_line(**body: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "hi"}]
    whole = {"model": "gpt-4o", "messages": messages, **body}
    return {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": whole}


def test_a_prompt_goes_to_the_target_of_the_command(configuration: Configuration) -> None:
    line = read(configuration, {"prompt": "hi"})
    assert request_of(line) == {"prompt": "hi"}
    assert isinstance(line, Line)
    assert (line.custom_id, line.job.queue, line.job.target) == ("line-1", "fast_group.echelon1", "fast_group")


def test_a_target_of_the_lines_own_wins(configuration: Configuration) -> None:
    line = read(configuration, {"messages": [{"role": "user", "content": "x"}], "target": "plan_group.echelon2"})
    assert isinstance(line, Line)
    assert line.job.queue == "plan_group.echelon2"


def test_a_line_may_name_its_node_only(configuration: Configuration) -> None:
    line = read(configuration, {"prompt": "x", "node": "planning_node", "priority": 3, "deadline_s": 5}, target=None)
    assert isinstance(line, Line)
    assert (line.job.node, line.job.queue, line.job.priority) == ("planning_node", "plan_group.echelon1", 3)
    assert line.job.deadline_ms == 5000


def test_an_openai_batch_line_is_read_with_its_options(configuration: Configuration) -> None:
    line = read(
        configuration,
        openai_line(
            max_completion_tokens=9,
            temperature=0.5,
            tool_choice="auto",
            response_format={"type": "json_object"},
            stream=False,
            n=1,
            tools=[{"type": "function", "function": {"name": "f"}}],
        ),
    )
    request = request_of(line)
    assert isinstance(line, Line)
    assert line.custom_id == "a"
    assert (request["max_tokens"], request["temperature"]) == (9, 0.5)
    assert (request["function_calling"], request["response_format"]) == ("auto", "json_object")
    assert "model" not in request


def test_the_model_of_an_openai_line_counts_where_it_is_a_target(configuration: Configuration) -> None:
    line = read(configuration, openai_line(model="review_group.echelon3"))
    assert isinstance(line, Line)
    assert line.job.queue == "review_group.echelon3"
    other = read(configuration, openai_line(model="gpt-4o"))
    assert isinstance(other, Line)
    assert other.job.queue == "fast_group.echelon1"
    assert "not a target" in why(read(configuration, openai_line(model="gpt-4o"), target=None))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"{", "not JSON"),
        (b"[1]", "not an object"),
        (b'"text"', "not an object"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b"[" * 100_000, "not JSON"),
        (b"1" * 5_000, "not JSON that can be read"),
        (b"{}", "neither given"),
        (b'{"prompt": "x", "promt": "y"}', "did you mean prompt?"),
        (b'{"prompt": "x", "target": "fast_grup"}', "did you mean fast_group?"),
        (b'{"prompt": "x", "target": 7}', "target: not a name"),
        (b'{"prompt": "x", "id": "mine"}', "did you mean custom_id?"),
        (b'{"prompt": "x", "custom_id": 7}', "custom_id: not a text"),
        (b'{"prompt": "x", "temperature": NaN}', "temperature"),
        (b'{"prompt": "\\ud800"}', "unicode"),
        (json.dumps({**openai_line(), "url": "/v1/embeddings"}).encode(), "not a chat completion"),
        (json.dumps({**openai_line(), "extra": 1}).encode(), "extra: unknown field"),
        (json.dumps({"custom_id": "a", "url": "/v1/chat/completions"}).encode(), "body: not an object"),
        (json.dumps(openai_line(n=2)).encode(), "body.n: not 1"),
        (json.dumps(openai_line(logit_bias={"1": 2})).encode(), "body.logit_bias: not supported"),
        (json.dumps(openai_line(tool_choice={"type": "function"})).encode(), "body.tool_choice"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(configuration: Configuration, raw: bytes, said: str) -> None:
    assert said in why(read(configuration, raw))


def test_the_same_line_of_the_same_file_is_the_same_job(configuration: Configuration) -> None:
    def id_of(raw: bytes, target: str = "fast_group", number: int = 1) -> str:
        line = read(configuration, raw, target, number)
        assert isinstance(line, Line)
        return line.job.id

    raw = b'{"prompt": "hi"}'
    assert id_of(raw) == id_of(raw + b"\r\n")
    others = [id_of(raw, number=2), id_of(raw, "plan_group"), id_of(b'{"prompt": "ho"}')]
    assert len({id_of(raw), *others}) == 4


def test_blank_lines_are_passed_over_and_counted() -> None:
    file = io.BytesIO(b'\xef\xbb\xbf{"prompt": "a"}\n\n  \r\n{"prompt": "b"}')
    assert list(read_lines(file)) == [(1, b'{"prompt": "a"}\n'), (4, b'{"prompt": "b"}')]


def test_a_line_without_end_is_not_read_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echelon_producers.cli.batch.lines._MOST_BYTES", 100)
    file = io.BytesIO(b"x" * 1000 + b"\n" + b"short\n")
    (first, begun), (second, short) = read_lines(file)
    assert (first, len(begun), second, short) == (1, 101, 2, b"short\n")


def test_lines_are_counted_without_the_blank_ones(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(b"a\n\n \nb")
    assert count_lines(tmp_path / "in.jsonl") == 2
