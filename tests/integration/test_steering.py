"""Draining queues, moving their jobs, and queues that a new revision drops: nothing is lost, and all is shown."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from byhand import QUEUES, Hands, answering, configuration, publish
from click.testing import CliRunner, Result
from waiting import until
from worker_process import SLOW, WorkerProcess, start_worker, write_configs

from echelon_configs import Configuration, Limits, Node, UnknownTarget, load
from echelon_producers import AsyncClient, Client
from echelon_producers.cli.program import program
from echelon_producers.steering import UnknownQueue
from echelon_workers.ledger import revisions
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.verbs import Grant

FAST, LOWER, PLAN = QUEUES[:3]
#: without the one that is dropped
KEPT = (FAST, PLAN)
Invoke = Callable[..., Result]


def without(*queues: str, what: Configuration | None = None) -> Configuration:
    """The configuration without some queues."""
    whole = what or configuration()
    return whole.model_copy(
        update={"queues": {name: queue for name, queue in whole.queues.items() if name not in queues}}
    )


@pytest.fixture
def environment(published: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECHELON_REDIS_URL", published.url)
    monkeypatch.setenv("ECHELON_NAMESPACE", published.namespace)


@pytest.fixture
def invoke(environment: None) -> Invoke:
    """Runs a command in an empty folder, against the tests' server."""
    return lambda *arguments: CliRunner().invoke(program, arguments)


def submit(producer: Client, *ids: str, queue: str = FAST, **job: Any) -> None:
    for id in ids:
        producer.submit(queue, "hi", id=id, **job)


def state(producer: Client, *ids: str) -> list[tuple[str, str]]:
    return [(record.state, record.queue) for record in map(producer.status, ids)]


class TestDrain:
    def test_it_waits_until_the_queue_is_empty(self, invoke: Invoke, published: Address, producer: Client) -> None:
        submit(producer, "a", "b")
        with Hands(published) as hands, answering(published):
            hands.beat()
            result = invoke("queue", "drain", FAST, "--timeout", "20")
        assert (result.exit_code, result.stdout) == (
            0,
            f"drained: {FAST} (no new jobs until echelon queue resume {FAST})\n",
        )
        assert [queue.draining for queue in producer.cluster_status().queues] == [True, False, False, False]
        assert state(producer, "a", "b") == [("answered", FAST)] * 2

    def test_without_waiting_it_says_what_there_is(self, invoke: Invoke, producer: Client, hands: Hands) -> None:
        submit(producer, "a", "b", "c")
        hands.beat()
        first, _ = hands.take(want=2)
        hands.retry(first, delay_ms=60_000)
        result = invoke("queue", "drain", FAST, "--no-wait")
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout == f"draining: {FAST}: 1 waiting, 1 running, 1 delayed\n"
        shown = json.loads(invoke("queue", "drain", FAST, LOWER, "--no-wait", "--json").stdout)
        assert (shown["draining"], shown["empty"]) == ([FAST, LOWER], False)
        rows = [(queue["name"], queue["waiting"], queue["running"], queue["delayed"]) for queue in shown["queues"]]
        assert rows == [(FAST, 1, 1, 1), (LOWER, 0, 0, 0)]

    def test_resume_ends_it(self, invoke: Invoke, producer: Client) -> None:
        invoke("queue", "drain", FAST, "--no-wait")
        with pytest.raises(Exception, match=FAST):
            submit(producer, "a")
        assert json.loads(invoke("queue", "resume", FAST, "--json").stdout) == {
            "order": "resume",
            "queues": [FAST],
            "changed": 1,
        }
        submit(producer, "a")
        assert state(producer, "a") == [("queued", FAST)]

    def test_a_time_that_is_over_is_a_failure_and_it_drains_on(self, invoke: Invoke, producer: Client) -> None:
        submit(producer, "a")
        result = invoke("queue", "drain", FAST, "--timeout", "0")
        assert result.exit_code == 1
        assert f"not empty after 0 s; it goes on: {FAST}" in result.stderr
        assert producer.cluster_status().queues[0].draining

    def test_it_says_when_no_worker_serves_the_queue(self, invoke: Invoke, producer: Client) -> None:
        submit(producer, "a")
        result = invoke("queue", "drain", FAST, "--timeout", "0.1")
        assert result.stderr.count(f"no worker serves {FAST}, so its jobs do not start") == 1
        assert f"would be right: echelon worker {FAST}" in result.stderr

    def test_it_says_when_the_queue_is_paused(self, invoke: Invoke, producer: Client, hands: Hands) -> None:
        submit(producer, "a")
        hands.beat()
        producer.steer("pause", [FAST])
        result = invoke("queue", "drain", FAST, "--no-wait")
        assert f"{FAST} is paused, so its jobs do not start" in result.stderr
        assert f"draining: {FAST}: 1 waiting, 0 running, 0 delayed (paused)" in result.stdout

    def test_an_unknown_queue_is_wrong_input(self, invoke: Invoke) -> None:
        result = invoke("queue", "drain", "fast_group.echelon3")
        assert result.exit_code == 2
        assert "there is no queue 'fast_group.echelon3' (did you mean" in result.stderr
        assert f"(would be right: {FAST})" in invoke("queue", "pause", "fast_group").stderr

    def test_ctrl_c_ends_the_waiting_and_not_the_draining(self, environment: None, producer: Client) -> None:
        submit(producer, "a")
        command = [sys.executable, "-m", "echelon_producers", "queue", "drain", FAST]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            lines = [process.stderr.readline() for _ in range(2)]
            process.send_signal(signal.SIGINT)
            rest = process.stderr.read()
        assert process.wait(20) == 130
        assert any("draining: fast_group.echelon1: 1 waiting" in line for line in lines), lines
        assert rest == (
            f"echelon: they go on draining: {FAST} (to accept new jobs again: echelon queue resume {FAST})\n"
        )
        assert producer.cluster_status().queues[0].draining

    def test_the_async_client_steers_too(self, published: Address, producer: Client) -> None:
        async def use() -> list[int]:
            async with AsyncClient(published.url, namespace=published.namespace) as client:
                submit(producer, "a")
                changed = [await client.steer("drain", [FAST]), await client.steer("drain", [FAST])]
                with pytest.raises(UnknownTarget):
                    await client.steer("drain", ["nowhere"])
                return [*changed, await client.move(FAST, PLAN), await client.steer("resume", [FAST])]

        assert asyncio.run(use()) == [1, 0, 1, 1]


class TestMove:
    def test_all_that_waits_or_is_delayed_is_moved(self, invoke: Invoke, producer: Client, hands: Hands) -> None:
        submit(producer, "delayed", "running")
        hands.retry(hands.take(want=1)[0], delay_ms=60_000)
        (running,) = hands.take()
        submit(producer, "low", "low2")
        submit(producer, "high", priority=9)
        result = invoke("queue", "move", FAST, PLAN)
        assert result.exit_code == 0, result.output
        assert result.stdout == (
            f"moved: 4 jobs from {FAST} to {PLAN}\n1 still runs from {FAST}; what is to be tried again returns there\n"
        )
        assert f"no worker serves {PLAN}" in result.stderr
        assert state(producer, "delayed", "running", "low", "high") == [
            ("delayed", PLAN),
            ("running", FAST),
            ("queued", PLAN),
            ("queued", PLAN),
        ]
        hands.retry(running)
        assert json.loads(invoke("queue", "move", FAST, PLAN, "--json").stdout) == {
            "from": FAST,
            "to": PLAN,
            "moved": 1,
            "running": 0,
            "left": 0,
        }
        assert [grant.id for grant in hands.take()] == ["high", "low", "low2", "running"]

    def test_more_than_one_call_moves_are_moved(self, producer: Client) -> None:
        producer.submit_many(["hi"] * 1_203, target=FAST)
        assert producer.move(FAST, PLAN) == 1_203
        assert producer.move(FAST, PLAN) == 0
        assert [queue.counts.waiting for queue in producer.cluster_status().queues] == [0, 0, 1_203, 0]

    @pytest.mark.parametrize(
        ("names", "said"),
        [
            ((FAST, FAST), f"FROM and TO are both {FAST}"),
            (
                (FAST, "plan_group.echelon2"),
                "there is no queue 'plan_group.echelon2' (did you mean plan_group.ech",
            ),
            (("fast_group.echelon3", PLAN), "there is no queue 'fast_group.echelon3' (did you mean fast_group.echelon"),
            ((FAST, "plan_group"), f"there is no queue 'plan_group' (would be right: {PLAN})"),
        ],
    )
    def test_names_that_cannot_be_are_wrong_input(self, invoke: Invoke, names: tuple[str, str], said: str) -> None:
        result = invoke("queue", "move", *names)
        assert (result.exit_code, result.stdout) == (2, "")
        assert said in result.stderr

    def test_a_queue_is_not_moved_to_itself(self, producer: Client) -> None:
        with pytest.raises(ValueError, match="another queue"):
            producer.move(FAST, FAST)

    def test_the_life_of_a_job_shows_that_it_was_moved(self, invoke: Invoke, producer: Client, hands: Hands) -> None:
        submit(producer, "a")
        producer.move(FAST, PLAN)
        hands.answer(hands.take()[0])
        told = " ".join(invoke("job", "show", "a").stdout.split())
        assert f"by an operator, from {FAST} to {PLAN}" in told
        assert "why an operator moved it there" in told
        (event,) = producer.status("a").events
        assert (event["decision"], event["after"], event["from"], event["to"]) == ("relocate", 0, FAST, PLAN)


class TestDropped:
    @pytest.fixture
    def held(self) -> dict[str, Grant]:
        """What runs in the queue that is dropped."""
        return {}

    @pytest.fixture
    def dropped(self, published: Address, producer: Client, hands: Hands, held: dict[str, Grant]) -> Client:
        """A queue that has a job in every place, and then is dropped."""
        nodes = {"summary": Node(name="summary", target=LOWER, limits=Limits(concurrency=1))}
        publish(published, configuration().model_copy(update={"nodes": nodes}))
        submit(producer, "delayed", "running", queue=LOWER)
        hands.retry(hands.take(want=1)[0], delay_ms=60_000)
        held.update({grant.id: grant for grant in hands.take()})
        submit(producer, "holder", "parked", queue=LOWER, node="summary")
        held.update({grant.id: grant for grant in hands.take()})
        assert list(held) == ["running", "holder"]
        submit(producer, "waiting", "high", queue=LOWER, priority=3)
        submit(producer, "guest")
        hands._finish(hands.take(queues=KEPT)[0], "move", "{}", move_to=LOWER, strategy="echelon_down", history="{}")
        kept = configuration().model_copy(update={"nodes": nodes})
        publish(published, without(LOWER, what=kept))
        producer.configuration(fresh=True)
        return producer

    def test_its_jobs_are_parked_and_shown(self, invoke: Invoke, dropped: Client, hands: Hands) -> None:
        assert hands.take(queues=KEPT) == []
        (queue,) = [queue for queue in dropped.cluster_status().queues if queue.dropped]
        counts = queue.counts
        assert (queue.name, counts.waiting, counts.delayed, counts.running) == (LOWER, 4, 1, 2)
        shown = json.loads(invoke("status", "--json").stdout)["queues"]
        assert [each["name"] for each in shown if each["dropped"]] == [LOWER]
        result = invoke("status")
        assert f"{LOWER} is dropped: 5 jobs wait and 2 run; echelon queue move {LOWER} TARGET\n" in result.stdout
        assert "all 3 queues" in result.stdout

    def test_its_jobs_are_listed(self, invoke: Invoke, dropped: Client) -> None:
        all_of_them = {"delayed", "running", "holder", "parked", "waiting", "high", "guest"}
        assert {job.id for job in dropped.jobs(queue=LOWER)} == all_of_them
        assert {job.id for job in dropped.jobs()} == all_of_them
        assert {job.waits_for for job in dropped.jobs("queued") if job.id != "parked"} == {"dropped"}
        result = invoke("jobs", "--queue", LOWER, "--state", "queued")
        assert (result.exit_code, len(result.stdout.splitlines())) == (0, 4)
        assert "its queue is dropped" in result.stdout
        with pytest.raises(UnknownTarget):
            dropped.jobs(queue="fast_group.echelon9")

    def test_the_dead_of_a_dropped_queue_are_listed(self, published: Address, producer: Client, hands: Hands) -> None:
        submit(producer, "a", queue=LOWER)
        hands.bury(hands.take()[0])
        publish(published, without(LOWER))
        assert [job.id for job in producer.jobs("dead", queue=LOWER)] == ["a"]
        assert producer.redrive_dead(queue=LOWER) == {"a": "no queue"}

    def test_all_of_them_are_moved_and_answered(
        self, invoke: Invoke, dropped: Client, published: Address, hands: Hands, held: dict[str, Grant]
    ) -> None:
        result = invoke("queue", "move", LOWER, PLAN)
        assert result.stdout.startswith(f"moved: 5 jobs from {LOWER} to {PLAN}\n2 still run from {LOWER}")
        hands.answer(held["holder"])
        with answering(published):
            for id in ("parked", "waiting", "high", "guest"):
                assert dropped.result(id, timeout_s=20).text == "answer to: hi"
        assert dropped.status("delayed").queue == PLAN

    def test_what_ran_and_is_tried_again_waits_with_the_others(
        self, published: Address, producer: Client, hands: Hands
    ) -> None:
        submit(producer, "a", "b", queue=LOWER)
        first, second = hands.take()
        publish(published, without(LOWER))
        hands.retry(first)
        hands.answer(second)
        assert state(producer, "a", "b") == [("queued", LOWER), ("answered", LOWER)]
        assert producer.move(LOWER, FAST) == 1
        hands.answer(hands.take()[0])
        assert state(producer, "a") == [("answered", FAST)]
        with pytest.raises(UnknownQueue, match="there is no queue"):
            producer.move(LOWER, FAST)

    def test_a_delay_that_is_over_ends_in_the_dropped_queue(
        self, published: Address, producer: Client, hands: Hands
    ) -> None:
        submit(producer, "a", queue=LOWER)
        hands.retry(hands.take()[0], delay_ms=1)
        publish(published, without(LOWER))
        until(lambda: hands.take(queues=KEPT) or producer.status("a").state == "queued", what="its delay is over")
        assert [job.id for job in producer.jobs("queued", queue=LOWER)] == ["a"]

    def test_who_publishes_is_told_what_to_do(self, invoke: Invoke, published: Address, tmp_path: Path) -> None:
        configs = write_configs(tmp_path / "configs")
        assert invoke("config", "publish").stderr.count("is dropped") == 0
        with Client(published.url, namespace=published.namespace) as producer:
            submit(producer, "a", queue=SLOW)
        file = configs / "llms" / "groups" / "_task_groups.yaml"
        file.write_text("".join(line for line in file.read_text().splitlines(True) if "echelon2" not in line))
        told = f"echelon: {SLOW} is dropped: 1 job waits; echelon queue move {SLOW} TARGET\n"
        assert told in invoke("config", "publish").stderr
        assert told in invoke("config", "publish").stderr


@pytest.fixture
def worker(address: Address, tmp_path: Path) -> Iterator[Callable[[], WorkerProcess]]:
    workers: list[WorkerProcess] = []

    def start() -> WorkerProcess:
        workers.append(start_worker(address, tmp_path / f"w{len(workers)}.log"))
        return workers[-1]

    yield start
    for each in workers:
        each.kill()
        assert "Traceback" not in each.output(), each.output()


def test_jobs_of_a_queue_that_was_dropped_are_answered_by_a_worker_once_they_are_moved(
    address: Address, tmp_path: Path, worker: Callable[[], WorkerProcess]
) -> None:
    """Running, delayed, waiting, parked for a node and guests: the worker goes on, and no job is lost."""
    groups = """\
task_groups:
  fast_group:
    echelon1: {models: [openai-one, openai-two], priority: 1, timeout: 20, max_retries: 2}
    echelon2: {models: [openai-three], priority: 2, timeout: 20, max_retries: 2, concurrency_limit: 3}
    fallback_strategy: echelon_down
"""
    configs = write_configs(tmp_path / "configs")
    file = configs / "llms" / "groups" / "_task_groups.yaml"
    workflow = configs / "workflows" / "test.yaml"
    workflow.write_text(
        "nodes:\n  polite_node:\n    type: llm_node\n"
        '    config: {llm_group: fast_group.echelon2, system_prompt: "Be polite. ", concurrency_limit: 1}\n'
    )
    file.write_text(groups)
    ledger = Ledger(address)
    revisions.publish(ledger, load(configs).configuration)
    with Client(address.url, namespace=address.namespace) as client:
        worker()
        # Both are under way when their queue goes; one waits for its next attempt.
        running = client.submit(SLOW, "nap 3")
        again = client.submit(SLOW, "fail server_failed 1", node="polite_node")
        until(lambda: client.status(running).state == "running", what="it runs")
        until(lambda: client.status(again).attempts == 1, what="it has failed once")
        client.steer("pause", [SLOW])
        waiting = client.submit_many(["say waiting"] * 20, target=SLOW)
        polite = client.submit_many([{"prompt": "say polite", "node": "polite_node"}] * 3, target=SLOW)
        file.write_text("".join(line for line in groups.splitlines(True) if "echelon2" not in line))
        workflow.unlink()
        revisions.publish(ledger, load(configs).configuration)
        client.configuration(fresh=True)
        assert client.result(client.submit("fast_group", "say meanwhile"), 20).text == "meanwhile"
        (dropped,) = [queue for queue in client.cluster_status().queues if queue.dropped]
        assert dropped.counts.waiting >= 20
        assert client.result(running, 20).text == "3"
        assert client.status(again).queue == SLOW
        assert client.status(again).state in ("delayed", "queued")
        assert client.move(SLOW, FAST) == len(waiting) + len(polite) + 1
        for job in (*waiting, *polite):
            assert client.result(job, 20).text in ("waiting", "polite")
        assert client.result(again, 20).instance in ("openai-one", "openai-two")
        assert [entry["queue"] for entry in client.status(again).trail] == [SLOW, FAST]
        assert not [queue.name for queue in client.cluster_status().queues if queue.dropped]
    ledger.close()
