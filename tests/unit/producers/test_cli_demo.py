"""The demo's prompts and its report."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from byhand import configuration as other_configuration

from echelon_configs import Configuration, load
from echelon_producers.demo.prompts import chosen, prompts
from echelon_producers.demo.report import percentile, report_of, table_of
from echelon_producers.demo.script import UNRELIABLE, script
from echelon_producers.draft import Drafter
from echelon_producers.simulator.script import parse_script
from echelon_workers.ledger.job import Answer, Usage
from echelon_workers.ledger.record import JobRecord

CONFIGS = Path(__file__).parents[3] / "configs"
GROUPS = ("fast", "plan", "thinking", "execute", "review", "high_payload", "fast_small")


@pytest.fixture(scope="module")
def configuration() -> Configuration:
    return load(CONFIGS, environment={}).configuration


def test_there_are_more_prompts_than_jobs_and_no_two_are_the_same() -> None:
    texts = [json.dumps([job.get("prompt"), job.get("messages")]) for job in prompts()]
    assert len(texts) >= 300
    assert len(set(texts)) == len(texts)


def test_every_prompt_is_a_job_of_this_configuration(configuration: Configuration) -> None:
    drafter = Drafter(configuration)
    queues = Counter(drafter.draft(job).queue for job in prompts()[:300])
    for group in GROUPS:
        assert sum(many for queue, many in queues.items() if queue.startswith(f"{group}_group.")) >= 10, group
    assert {queue.partition(".")[0] for queue in queues} >= {"pool", "model"}


def test_targets_of_every_kind_and_requests_of_every_kind_are_there() -> None:
    jobs = prompts()[:300]
    targets = {str(job["target"]) for job in jobs}
    assert {target.partition(".")[0] for target in targets} >= {"pool", "node", "model", "fast_group"}
    assert any("." not in target for target in targets)
    for field in ("system", "messages", "tools", "response_format", "thinking", "node", "priority", "temperature"):
        assert any(field in job for job in jobs), field


def test_a_job_for_a_single_model_has_somewhere_to_go(configuration: Configuration) -> None:
    single = [job for job in chosen(300, configuration) if job["target"].startswith("model.")]
    assert single
    assert all(job["fallback_groups"][0] in configuration.groups for job in single)


def test_the_prompts_are_in_many_languages() -> None:
    text = "".join(str(job.get("prompt") or job["messages"]) for job in prompts())
    scripts = {"Chinese": "的", "Japanese": "ください", "Korean": "번역", "Cyrillic": "ы", "Devanagari": "अनुवाद"}
    for language, sample in {**scripts, "German": "Über", "French": "bibliothèque", "Spanish": "¿"}.items():
        assert sample in text, language


def test_prompts_for_targets_that_are_not_there_go_to_those_that_are() -> None:
    other = other_configuration()
    drafter = Drafter(other)
    queues = Counter(drafter.draft(job).queue for job in chosen(400, other))
    assert queues.keys() == other.queues.keys()
    assert queues.total() == 400


def test_the_unreliable_instance_is_never_the_only_one(configuration: Configuration) -> None:
    parse_script(script())
    served = [queue for queue in configuration.queues.values() if UNRELIABLE in {m.instance for m in queue.members}]
    sent = {configuration.resolve(str(job["target"]), job.get("node")).queue for job in prompts()}
    assert served
    for queue in served:
        assert len({member.instance for member in queue.members}) > 1 or queue.name not in sent, queue.name


def entry(started_ms: int, decision: str = "answer") -> dict[str, Any]:
    return {"started_ms": started_ms, "instance": "one", "decision": decision}


def record(job_id: str, queue: str, ended_ms: int | None = 1_400, **changes: Any) -> JobRecord:
    usage = Usage(input_tokens=3, output_tokens=4)
    answer = Answer(text="x", finish_reason="stop", usage=usage, cost_usd="0.5", model="m", instance="i", latency_ms=1)
    found = JobRecord(
        id=job_id,
        state="answered",
        queue="elsewhere",
        home=queue,
        target=queue,
        created_ms=1_000,
        ended_ms=ended_ms or 0,
        answer=answer,
        trail=[entry(1_100)],
    )
    return replace(found, **changes)


def test_the_report_counts_answered_dead_and_lost_jobs() -> None:
    found = [
        record("1", "b"),
        record("2", "a", 3_000, trail=[entry(1_200, "move"), entry(2_000)]),
        record("3", "a", answer=None, state="dead", trail=[]),
        record("4", "a", None, answer=None, state="running", trail=[]),
    ]
    report = report_of(found, 5, ["a", "b"])
    assert report.last_line() == "demo: 5 jobs, 2 answered, 1 dead, 2 lost"
    assert report.total.fell_back == 1
    assert not report.is_clean
    first, second = report.queues
    assert (first.queue, first.jobs, first.answered, first.dead, first.attempts) == ("a", 3, 1, 1, 2)
    assert (second.latencies_ms, second.waits_ms, second.tokens, str(second.cost_usd)) == ([400], [100], 7, "0.5")
    assert report.total.latencies_ms == [400, 2_000]
    assert table_of(report).row_count == 3


def test_a_report_without_a_flaw_is_clean() -> None:
    report = report_of([record("1", "a")], 1, ["a"])
    assert report.is_clean
    assert report.last_line() == "demo: 1 jobs, 1 answered, 0 dead, 0 lost"


@pytest.mark.parametrize(
    ("values", "percent", "expected"), [([], 50, 0), ([7], 99, 7), (list(range(1, 101)), 99, 99), ([4, 1, 3], 50, 3)]
)
def test_percentiles_are_values_that_occurred(values: list[int], percent: float, expected: int) -> None:
    assert percentile(values, percent) == expected
