"""Failures find another way: real workers over a provider whose instances go down and come back."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.events.receiver import EventReceiver
from waiting import until
from worker_process import FAST, SLOW, WorkerProcess, start_worker, write_configs

from echelon_configs import load
from echelon_producers import Client, JobDied
from echelon_workers.app import make_app
from echelon_workers.ledger import revisions
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.settings import WorkerSettings

BREAKER = "circuit_breaker: {failure_threshold: 3, recovery_time: 2, half_open_requests: 1}"
#: fast_group of the tests with a breaker and a budget that leads through both its echelons
GROUP = f"""\
    fallback_config: {{strategy: echelon_down, max_attempts: 4, retry_delay: 0.05}}
    {BREAKER}
"""


class Scene:
    """A cluster whose instances go down and come back as told."""

    def __init__(self, ledger: Ledger, client: Client, folder: Path) -> None:
        self.ledger, self.client, self.folder = ledger, client, folder

    def down(self, *instances: str, code: str = "server_failed") -> None:
        (self.folder / "down").write_text("".join(f"{name} {code}\n" for name in instances))

    def arrivals(self) -> Counter[str]:
        file = self.folder / "arrivals"
        return Counter(file.read_text().split() if file.exists() else [])

    def breaker(self, instance: str) -> dict[str, int]:
        fields = self.ledger.redis.hgetall(self.ledger.keys.of("scope", f"model:{instance}"))
        return {name.decode(): int(value) for name, value in fields.items() if name in (b"bo", b"bf", b"bp")}

    def publish(self, old: str, new: str) -> None:
        file = self.folder / "configs" / "llms" / "groups" / "_task_groups.yaml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
        revisions.publish(self.ledger, load(self.folder / "configs").configuration)


@pytest.fixture
def scene(address: Address, tmp_path: Path) -> Iterator[Scene]:
    ledger = Ledger(address)
    write_configs(tmp_path / "configs")
    with Client(address.url, namespace=address.namespace) as client:
        scene = Scene(ledger, client, tmp_path)
        scene.publish("    fallback_strategy: echelon_down\n", GROUP)
        scene.publish("max_retries: 2", "max_retries: 1")
        yield scene
    ledger.close()


@pytest.fixture
def start(address: Address, scene: Scene, tmp_path: Path) -> Iterator[Callable[[], WorkerProcess]]:
    workers: list[WorkerProcess] = []

    def start_one() -> WorkerProcess:
        log = tmp_path / f"w{len(workers)}.log"
        workers.append(start_worker(address, log, SCRIPTED_DOWN=str(tmp_path / "down")))
        return workers[-1]

    yield start_one
    for worker in workers:
        worker.kill()
        assert "Traceback" not in worker.output(), worker.output()


def test_a_job_moves_to_the_next_echelon_when_all_instances_of_its_own_have_failed(
    start: Callable[[], WorkerProcess], scene: Scene
) -> None:
    scene.down("openai-one", "openai-two")
    start()
    job = scene.client.submit(FAST, "say hello")
    assert scene.client.result(job, 20).instance == "openai-three"
    record = scene.client.status(job)
    assert (record.queue, record.home, record.attempts) == (SLOW, FAST, 3)
    assert [(entry["queue"], entry["outcome"], entry["decision"]) for entry in record.trail] == [
        (FAST, "server_failed", "retry"),
        (FAST, "server_failed", "move"),
        (SLOW, "answered", "answer"),
    ]
    assert (record.trail[1]["to"], record.trail[1]["strategy"]) == (SLOW, "echelon_down")
    keys, redis = scene.ledger.keys, scene.ledger.redis
    (line,) = [json.loads(line) for line in redis.lrange(keys.of("history"), 0, -1)]
    assert (line["job"], line["from"], line["to"], line["strategy"]) == (job, FAST, SLOW, "echelon_down")
    assert redis.hgetall(keys.of("moves"))[b"answer echelon_down"] == b"1"


def test_in_flower_a_fallback_shows_just_before_its_retry(
    start: Callable[[], WorkerProcess], scene: Scene, address: Address
) -> None:
    environment = {"ECHELON_REDIS_URL": address.url, "ECHELON_NAMESPACE": address.namespace}
    app = make_app(WorkerSettings.from_environment(environment))
    heard: list[tuple[str, str, str]] = []

    def hear(event: dict[str, Any]) -> None:
        heard.append((event["uuid"], event["type"], event.get("to", "")))

    with app.connection() as connection:
        receiver = EventReceiver(connection, handlers={"task-fallback": hear, "task-retried": hear}, app=app)
        ready = threading.Event()

        def listen() -> None:
            ready.set()
            receiver.capture(limit=None, timeout=None, wakeup=False)

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        ready.wait(5)
        scene.down("openai-one", "openai-two")
        start()
        job = scene.client.submit(FAST, "say hello")
        scene.client.result(job, 20)
        until(lambda: len(heard) >= 3, what="the events are here")
        receiver.should_stop = True
        thread.join(10)
    app.close()
    assert heard == [(job, "task-retried", ""), (job, "task-fallback", SLOW), (job, "task-retried", "")]


def test_in_an_outage_no_more_calls_are_wasted_than_the_threshold_and_all_are_answered(
    start: Callable[[], WorkerProcess], scene: Scene
) -> None:
    scene.down("openai-one", "openai-two")
    start()
    for number in range(3):  # one after the other, so that none is under way when the breakers open
        scene.client.result(scene.client.submit(FAST, f"say {number}"), 20)
    assert scene.breaker("openai-one")["bo"] > 0
    assert scene.breaker("openai-two")["bo"] > 0
    wasted = scene.arrivals()["openai-one"] + scene.arrivals()["openai-two"]
    assert wasted == 6
    jobs = scene.client.submit_many([f"say {number}" for number in range(40)], target=FAST)
    answers = {scene.client.result(job, 20).instance for job in jobs}
    assert answers == {"openai-three"}
    probes = scene.arrivals()["openai-one"] + scene.arrivals()["openai-two"] - wasted
    assert probes <= 4, "only probes go to instances that are out"
    sent_on = [record.trail[0] for record in map(scene.client.status, jobs) if record.attempts == 1]
    assert sent_on, "most went straight on"
    assert {(entry["outcome"], entry["to"]) for entry in sent_on} == {("instances_out", SLOW)}


def test_traffic_is_home_again_when_its_instances_have_recovered(
    start: Callable[[], WorkerProcess], scene: Scene
) -> None:
    scene.down("openai-one", "openai-two")
    start()
    for number in range(3):
        scene.client.result(scene.client.submit(FAST, f"say {number}"), 20)
    scene.down()

    def is_home() -> bool:
        return scene.client.result(scene.client.submit(FAST, "say hello"), 20).instance != "openai-three"

    until(is_home, timeout_s=20, what="a job is answered at home")


def test_with_nowhere_to_go_jobs_wait_for_a_probe_to_succeed(start: Callable[[], WorkerProcess], scene: Scene) -> None:
    scene.publish(GROUP, GROUP.replace("strategy: echelon_down", "strategy: model_rotate"))
    scene.down("openai-three")
    start()
    dead = [scene.client.submit(SLOW, "say no") for _ in range(3)]
    for job in dead:
        with pytest.raises(JobDied):
            scene.client.result(job, 20)
    assert scene.breaker("openai-three")["bo"] > 0
    jobs = scene.client.submit_many(["say patience"] * 5, target=SLOW)
    scene.down()
    for job in jobs:
        assert scene.client.result(job, 30).text == "patience"
    assert scene.breaker("openai-three").get("bo", 0) == 0


def test_a_refused_key_takes_its_instance_out_at_once(start: Callable[[], WorkerProcess], scene: Scene) -> None:
    scene.down("openai-one", code="authentication_failed")
    start()
    jobs = scene.client.submit_many([f"say {number}" for number in range(10)], target=FAST)
    assert {scene.client.result(job, 20).instance for job in jobs} == {"openai-two"}
    more = scene.client.submit_many([f"say {number}" for number in range(10)], target=FAST)
    before = scene.arrivals()["openai-one"]
    assert {scene.client.result(job, 20).instance for job in more} == {"openai-two"}
    assert scene.arrivals()["openai-one"] == before


def test_jobs_that_died_are_answered_when_they_are_sent_again(start: Callable[[], WorkerProcess], scene: Scene) -> None:
    scene.down("openai-one", "openai-two", "openai-three", code="bad_request")
    start()
    jobs = scene.client.submit_many(["say now"] * 3, target=FAST)
    for job in jobs:
        with pytest.raises(JobDied):
            scene.client.result(job, 20)
    scene.down()
    assert scene.client.redrive_dead(code="bad_request") == dict.fromkeys(jobs, "done")
    for job in jobs:
        assert scene.client.result(job, 20).text == "now"
    record = scene.client.status(jobs[0])
    assert (record.attempts, [entry["outcome"] for entry in record.trail]) == (1, ["bad_request", "answered"])
    assert scene.client.jobs("dead") == []
