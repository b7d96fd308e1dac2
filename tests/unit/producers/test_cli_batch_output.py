"""The output file of `echelon run`, and going on from it."""

import json
from pathlib import Path
from typing import Any

import pytest

from echelon_producers.cli.batch.answers import answer_line, successor
from echelon_producers.cli.batch.output import Output, OutputBusy
from echelon_workers.ledger.job import Answer, ToolCall, Usage
from echelon_workers.ledger.record import JobRecord

TRAIL = [{"attempt": 1, "queue": "fast_group.echelon1", "instance": "openai-gpt4", "outcome": "answered"}]


def record(job_id: str, **changes: Any) -> JobRecord:
    answer = Answer(
        text="an answer",
        finish_reason="stop",
        usage=Usage(input_tokens=3, output_tokens=4, cached_tokens=1, reasoning_tokens=2),
        cost_usd="0.01",
        model="gpt-4",
        instance="openai-gpt4",
        latency_ms=10,
    )
    known: dict[str, Any] = {"state": "answered", "answer": answer, "ended_ms": 5_000, "trail": TRAIL}
    return JobRecord(id=job_id, queue="q", home="q", target="q", **{**known, **changes})


def dead(job_id: str) -> JobRecord:
    return record(job_id, state="dead", answer=None, error={"code": "server_failed", "message": "HTTP 503"})


def test_an_answer_has_the_form_of_openais_batch_output() -> None:
    line = json.loads(answer_line(record("j1"), "mine"))
    body = line["response"]["body"]
    assert (line["id"], line["custom_id"], line["error"]) == ("j1", "mine", None)
    assert line["response"]["status_code"] == 200
    assert (body["object"], body["model"], body["created"]) == ("chat.completion", "gpt-4", 5)
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "an answer"}
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"]["total_tokens"] == 7
    assert body["usage"]["completion_tokens_details"] == {"reasoning_tokens": 2}
    assert line["attempts"] == TRAIL


def test_tool_calls_are_in_the_answer() -> None:
    called = record("j1").answer
    assert called is not None
    called = called.model_copy(update={"text": "", "tool_calls": (ToolCall(id="c", name="f", arguments="{}"),)})
    message = json.loads(answer_line(record("j1", answer=called), "mine"))["response"]["body"]["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


def test_a_job_without_an_answer_has_its_error_and_its_attempts() -> None:
    line = json.loads(answer_line(dead("j2"), "mine"))
    assert line["response"] is None
    assert line["error"] == {"code": "server_failed", "message": "HTTP 503"}
    assert line["attempts"] == TRAIL


def test_a_failed_job_has_successors_in_a_row() -> None:
    assert successor("abc") == "abc.1"
    assert successor(successor("abc")) == "abc.2"


def test_a_resumed_run_keeps_answers_and_drops_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    good = answer_line(record("a"), "1") + answer_line(record("b.2"), "2")
    path.write_bytes(good + answer_line(dead("c"), "3") + b"not json\n" + answer_line(record("d"), "4")[:-20])
    path.chmod(0o640)
    with Output(path) as output:
        assert output.answered == {"a", "b"}
        output.write([answer_line(record("e"), "5")])
    assert path.read_bytes() == good + answer_line(record("e"), "5")
    assert path.stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_file_of_answers_only_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(answer_line(record("a"), "1"))
    before = path.stat().st_ino
    with Output(path) as output:
        assert output.answered == {"a"}
    assert path.stat().st_ino == before


def test_two_runs_never_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(answer_line(dead("c"), "3"))
    with Output(path), pytest.raises(OutputBusy, match="another run"):
        Output(path)
    Output(path).close()
