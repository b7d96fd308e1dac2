"""Workers as Celery's command line starts them, on a real Redis, over the scripted provider: jobs and attempts."""

from collections import Counter

import pytest
from worker_ledger import counts
from worker_process import FAST, SLOW, Arrivals, Start

from echelon_producers import Client, JobDied
from echelon_workers.ledger.client import Ledger


def test_a_job_is_answered_by_the_queue_of_its_target(start: Start, client: Client) -> None:
    start()
    answer = client.result(client.submit("fast_group", "say hello"), 20)
    assert (answer.text, answer.usage.input_tokens) == ("hello", 10)
    job = client.submit("pool.all_pool", "say pooled")
    assert client.result(job, 20).text == "pooled"
    record = client.status(job)
    assert (record.queue, record.state, record.attempts) == ("pool.all_pool", "answered", 1)
    assert record.trail[0]["outcome"] == "answered"
    assert record.trail[0]["instance"] == record.answer.instance  # type: ignore[union-attr]


def test_a_node_brings_its_system_prompt(start: Start, client: Client) -> None:
    start()
    assert client.result(client.submit("node.polite_node", "say hello"), 20).text == "Be polite. hello"
    assert client.result(client.submit(FAST, "say hello", node="polite_node"), 20).text == "Be polite. hello"


def test_many_jobs_on_many_queues_are_each_called_once(
    start: Start, client: Client, ledger: Ledger, arrivals: Arrivals
) -> None:
    start(slots=50)
    targets = [FAST, SLOW, "pool.all_pool", "model.openai-one"]
    jobs = client.submit_many([{"target": targets[i % 4], "prompt": f"say {i}"} for i in range(400)])
    assert [client.result(job, 20).text for job in jobs] == [str(i) for i in range(400)]
    assert arrivals() == Counter(jobs)
    assert counts(ledger) == {}


def test_a_failure_that_passes_is_tried_again_elsewhere(start: Start, client: Client) -> None:
    start()
    job = client.submit(FAST, "fail server_failed 2")
    client.result(job, 20)
    trail = client.status(job).trail
    assert [attempt["outcome"] for attempt in trail] == ["server_failed", "server_failed", "answered"]
    assert trail[0]["instance"] != trail[1]["instance"] != trail[2]["instance"]


def test_a_job_whose_attempts_are_used_up_is_dead_with_every_error(start: Start, client: Client) -> None:
    start()
    job = client.submit(FAST, "fail server_failed")
    with pytest.raises(JobDied, match="scripted server_failed") as death:
        client.result(job, 20)
    assert [attempt["outcome"] for attempt in death.value.record.trail] == ["server_failed"] * 3
    assert "all 3 attempts are spent" in death.value.record.error["because"]  # type: ignore[index]


def test_a_failure_of_the_job_itself_is_not_retried(start: Start, client: Client) -> None:
    start()
    with pytest.raises(JobDied) as death:
        client.result(client.submit(FAST, "fail bad_request"), 20)
    assert death.value.record.attempts == 1


def test_a_key_of_another_type_holds_up_its_own_queue_only(start: Start, client: Client, ledger: Ledger) -> None:
    ledger.redis.set(ledger.keys.queue(SLOW), "not a list")
    worker = start()
    jobs = client.submit_many(["say on"] * 20, target=FAST)
    assert {client.result(job, 20).text for job in jobs} == {"on"}
    assert "cannot be served, because somebody wrote to their keys" in worker.output()
    ledger.redis.delete(ledger.keys.queue(SLOW))
    assert client.result(client.submit(SLOW, "say again"), 20).text == "again"


def test_an_unknown_queue_is_refused_by_name(start: Start) -> None:
    worker = start("fast_group.echelon9", wait=False)
    assert worker.process.wait(30) == 2
    assert "unknown queues: fast_group.echelon9 (there are: fast_group.echelon1," in worker.output()


def test_a_queue_without_a_key_on_this_worker_is_left_to_others(start: Start, client: Client) -> None:
    worker = start(SCRIPTED_WITHOUT_KEY="openai-three,openai-one")
    assert "no key on this worker for any instance of: fast_group.echelon2" in worker.output()
    waiting = client.submit(SLOW, "say later")
    answers = [client.result(job, 20) for job in client.submit_many(["say now"] * 4, target=FAST)]
    assert {answer.instance for answer in answers} == {"openai-two"}
    assert client.status(waiting).state == "queued"
    start(SLOW)
    assert client.result(waiting, 20).text == "later"


def test_two_workers_share_a_queue_without_running_a_job_twice(
    start: Start, client: Client, arrivals: Arrivals
) -> None:
    for number in range(2):
        start(wait=False, name=f"w{number}")
    jobs = client.submit_many(["nap 0.01"] * 300, target=FAST)
    for job in jobs:
        client.result(job, 30)
    assert arrivals() == Counter(jobs)
    assert len({client.status(job).worker for job in jobs}) == 2
