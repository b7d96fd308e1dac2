"""`echelon explain`: the path of a job, attempt by attempt, as the workers would decide it."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from configured import configured

from echelon_producers.cli.program import program
from echelon_producers.explain import MOST_STEPS, explain

GROUPS = """
task_groups:
  fast:
    first: {models: [openai-a, claude-a], max_retries: 1, timeout: 20, priority: 1}
    second: {models: [gemini-b], max_retries: 1, priority: 2}
    fallback_config: {strategy: echelon_down, max_attempts: 5, retry_delay: 1}
  other: {only: {models: [claude-c], max_retries: 1000}, fallback_config: {max_attempts: 1000, retry_delay: 0}}
workflow_nodes: {planner: {llm_group: fast.first, fallback_groups: [other]}}
defaults: {deadline_s: 60}
"""
WHOLE = configured(GROUPS)


def path(target: str = "fast", **asked: Any) -> list[tuple[int, str, str, str]]:
    steps = explain(WHOLE, target, **asked).steps
    return [(step.attempt, step.queue, step.instance, step.decision.verdict) for step in steps]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "llms" / "groups" / "_task_groups.yaml"
    place.parent.mkdir(parents=True)
    place.write_text(GROUPS)
    return tmp_path


def invoke(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(program, ["--configs", str(folder), "explain", *arguments])


def test_every_attempt_is_told_until_the_job_is_dead() -> None:
    assert path() == [
        (1, "fast.first", "openai-a", "retry"),
        (2, "fast.first", "claude-a", "move"),
        (3, "fast.second", "gemini-b", "retry"),
        (4, "fast.second", "gemini-b", "bury"),
    ]


def test_outcomes_are_taken_in_turn_and_the_last_is_repeated() -> None:
    assert path(outcomes=["server_failed", "answered"])[-1] == (2, "fast.first", "claude-a", "answer")
    assert path(outcomes=["bad_request"]) == [(1, "fast.first", "openai-a", "bury")]
    waits = ["rate_limited", "server_failed", "rate_limited"]
    assert [step[3] for step in path(outcomes=waits)] == ["wait", "retry", "wait"]


def test_timeouts_take_their_time_of_the_deadline() -> None:
    steps = explain(WHOLE, "fast.first", outcomes=["timed_out"]).steps
    assert [step.queue for step in steps] == ["fast.first", "fast.first", "fast.second"]
    assert steps[-1].decision.because.startswith("its deadline has passed")


def test_instances_that_are_out_send_a_job_on_before_any_attempt() -> None:
    assert path(closed=["openai-a", "claude-a"])[:2] == [
        (0, "fast.first", "", "move"),
        (1, "fast.second", "gemini-b", "retry"),
    ]


def test_a_nodes_fallbacks_and_a_jobs_own_are_followed() -> None:
    assert path("node.planner")[2][1] == "other.only"
    assert path("fast", node="planner", fallback_groups=["model.gemini-b"])[2][1] == "model.gemini-b"
    assert len(path("fast", fallback_groups=[])) == 2


def test_a_budget_without_end_is_not_told_to_its_end() -> None:
    assert len(path("other")) == MOST_STEPS


def test_it_is_printed_for_people(folder: Path) -> None:
    result = invoke(folder, "fast")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[:6] == [
        "fast: at most 5 attempts in all, within 60 s",
        "",
        "  1  fast.first  openai-a  server_failed",
        "     again here at once (another instance)",
        "",
        "  2  fast.first  claude-a  server_failed",
    ]
    assert "     on to fast.second at once (strategy echelon_down)" in result.stdout
    assert "     again here after 0.5 to 1 s (it may answer the next time)" in result.stdout
    assert "     dead: there is nowhere left to go" in result.stdout


def test_it_is_one_document_for_programs(folder: Path) -> None:
    told = json.loads(invoke(folder, "fast", "--json", "--outcome", "timed_out", "--closed", "claude-a").stdout)
    assert {name: told[name] for name in ("target", "home", "max_attempts", "deadline_s")} == {
        "target": "fast",
        "home": "fast.first",
        "max_attempts": 5,
        "deadline_s": 60.0,
    }
    assert told["steps"][0]["decision"] == "retry"
    assert told["steps"][0]["delay_ms"] == [500, 1000]
    assert {"queue": "fast.first", "instance": "claude-a", "why": "it is out for now"} in told["steps"][0]["skipped"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["fats"], "did you mean fast"),
        (["fast", "--node", "planer"], "did you mean node.planner"),
        (["fast", "--closed", "openai-b"], "there is no target 'model.openai-b'"),
        (["fast", "--fallback", "othr"], "did you mean other"),
        (["fast", "--fallback", "node.planner"], "--fallback: node.planner has no queue"),
        (["fast", "--outcome", "late"], "timed_out"),
    ],
)
def test_what_is_wrong_is_said_with_what_would_be_right(folder: Path, arguments: list[str], told: str) -> None:
    result = invoke(folder, *arguments)
    assert result.exit_code == 2
    assert told in result.output
