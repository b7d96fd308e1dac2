"""One worker process as Celery's command line starts it, on a real Redis, over the scripted provider."""

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.events.receiver import EventReceiver
from waiting import until
from worker_process import FAST, SLOW, WorkerProcess, start_worker, write_configs

from echelon_configs import load
from echelon_producers import Client, JobDied
from echelon_workers.app import make_app
from echelon_workers.ledger import revisions
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.verbs import steer
from echelon_workers.settings import WorkerSettings

Start = Callable[..., WorkerProcess]
Arrivals = Callable[[], Counter[str]]


@pytest.fixture
def ledger(address: Address, tmp_path: Path) -> Iterator[Ledger]:
    """The ledger, with the tests' configuration published."""
    ledger = Ledger(address)
    configuration = load(write_configs(tmp_path / "configs")).configuration
    revisions.publish(ledger, configuration)
    yield ledger
    ledger.close()


@pytest.fixture
def client(ledger: Ledger, address: Address) -> Iterator[Client]:
    with Client(address.url, namespace=address.namespace) as client:
        yield client


@pytest.fixture
def start(address: Address, ledger: Ledger, tmp_path: Path) -> Iterator[Start]:
    """Starts workers; what still runs at the end is killed, and a worker's traceback fails the test."""
    workers: list[WorkerProcess] = []

    def start_one(*queues: str, name: str = "", **options: Any) -> WorkerProcess:
        log = tmp_path / f"{name or f'w{len(workers)}'}.log"
        workers.append(start_worker(address, log, *queues, **options))
        return workers[-1]

    yield start_one
    for worker in workers:
        worker.kill()
        assert "Traceback" not in worker.output(), worker.output()


@pytest.fixture
def app(address: Address) -> Iterator[Celery]:
    """Our Celery app, for remote control and AsyncResult."""
    environment = {"ECHELON_REDIS_URL": address.url, "ECHELON_NAMESPACE": address.namespace}
    app = make_app(WorkerSettings.from_environment(environment))
    yield app
    app.close()


@pytest.fixture
def arrivals(tmp_path: Path) -> Arrivals:
    """How many calls arrived for each job, counted by the provider."""
    file = tmp_path / "arrivals"
    return lambda: Counter(file.read_text().split() if file.exists() else [])


def counts(ledger: Ledger) -> dict[str, int]:
    found = {name.decode(): int(n) for name, n in ledger.redis.hgetall(ledger.keys.of("counts")).items()}
    return {name: n for name, n in found.items() if n}


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


def test_sigterm_finishes_what_runs(start: Start, client: Client, ledger: Ledger, arrivals: Arrivals) -> None:
    worker = start(slots=5)
    jobs = client.submit_many(["nap 1"] * 8, target=FAST)
    until(lambda: len(arrivals()) == 5, what="five calls are in flight")
    assert worker.stop(signal.SIGTERM) == 0
    states = Counter(client.status(job).state for job in jobs)
    assert states == {"answered": 5, "queued": 3}
    assert counts(ledger) == {}


def test_sigterm_gives_back_what_does_not_finish_within_the_grace(
    start: Start, client: Client, ledger: Ledger, arrivals: Arrivals
) -> None:
    worker = start(ECHELON_GRACE_S="0.2")
    jobs = client.submit_many(["nap 60"] * 4, target=FAST)
    until(lambda: len(arrivals()) == 4, what="four calls are in flight")
    assert worker.stop(signal.SIGTERM) == 0
    assert {(client.status(job).state, client.status(job).attempts) for job in jobs} == {("queued", 0)}
    assert counts(ledger) == {}
    assert ledger.redis.zcard(ledger.keys.of("running")) == 0


def test_sigquit_gives_everything_back_at_once(
    start: Start, client: Client, ledger: Ledger, arrivals: Arrivals
) -> None:
    worker = start()
    jobs = client.submit_many(["nap 60"] * 4, target=FAST)
    until(lambda: len(arrivals()) == 4, what="four calls are in flight")
    worker.stop(signal.SIGQUIT)
    assert {client.status(job).state for job in jobs} == {"queued"}
    assert counts(ledger) == {}


def test_the_jobs_of_a_killed_worker_are_answered_by_another(
    start: Start, client: Client, ledger: Ledger, arrivals: Arrivals
) -> None:
    worker = start(ECHELON_LEASE_S="1")
    jobs = client.submit_many(["nap 3"] * 4, target=FAST)
    until(lambda: len(arrivals()) == 4, what="four calls are in flight")
    worker.kill()
    start(ECHELON_LEASE_S="1")
    for job in jobs:
        client.result(job, 20)
    assert arrivals() == dict.fromkeys(jobs, 2)
    assert counts(ledger) == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_gives_back_what_the_first_would_have_waited_for(
    start: Start, client: Client, ledger: Ledger, arrivals: Arrivals, number: signal.Signals
) -> None:
    worker = start(slots=5)
    jobs = client.submit_many(["nap 60"] * 8, target=FAST)
    until(lambda: len(arrivals()) == 5, what="five calls are in flight")
    worker.send(number)
    until(lambda: "shutdown" in worker.output().lower(), what="the worker has heard the first")
    worker.stop(signal.SIGQUIT if number == signal.SIGTERM else number)
    assert {(client.status(job).state, client.status(job).attempts) for job in jobs} == {("queued", 0)}
    assert counts(ledger) == {}
    start()
    assert client.cluster_status().totals.dead == 0


def test_a_worker_that_was_stopped_for_longer_than_its_leases_starts_nothing_and_its_late_answers_are_refused(
    start: Start, client: Client, ledger: Ledger, arrivals: Arrivals
) -> None:
    stopped = start(slots=4, ECHELON_LEASE_S="1")
    jobs = client.submit_many(["nap 1.5"] * 8, target=FAST)
    until(lambda: len(arrivals()) == 4, what="four calls are in flight")
    stopped.send(signal.SIGSTOP)
    start(slots=8, ECHELON_LEASE_S="1")
    answers = [client.result(job, 20) for job in jobs]
    before = arrivals()
    stopped.send(signal.SIGCONT)
    until(lambda: client.cluster_status().totals.late == 4, what="its four answers were refused")
    assert arrivals() == before, "it started nothing when it went on"
    assert sorted(before.values()) == [1] * 4 + [2] * 4
    assert [client.result(job) for job in jobs] == answers, "the answers that were accepted stay"
    assert client.cluster_status().totals.lapsed == 4
    assert counts(ledger) == {}
    more = client.submit_many(["say again"] * 20, target=FAST)
    assert {client.result(job, 20).text for job in more} == {"again"}


def test_cut_connections_neither_lose_nor_repeat_a_job(
    start: Start, client: Client, ledger: Ledger, arrivals: Arrivals
) -> None:
    start(slots=50)
    jobs = client.submit_many(["nap 0.3"] * 400, target=FAST)
    answered = ledger.keys.of("totals", FAST)

    def cut_and_look() -> bool:
        mine = ledger.redis.client_id()
        for other in ledger.redis.client_list():
            if int(other["id"]) != mine:
                ledger.redis.client_kill_filter(_id=other["id"])
        return int(ledger.redis.hget(answered, "answered") or 0) == 400

    until(cut_and_look, timeout_s=40, every_s=0.3, what="all are answered although every connection is cut")
    assert arrivals() == Counter(jobs)
    assert counts(ledger) == {}
    assert ledger.redis.zcard(ledger.keys.of("running")) == 0


def test_slots_grow_and_shrink_by_remote_control(start: Start, client: Client, app: Celery, arrivals: Arrivals) -> None:
    start(slots=1)
    client.submit_many(["nap 2"] * 6, target=FAST)
    until(lambda: len(arrivals()) == 1, what="one call is in flight")
    app.control.pool_grow(3)
    until(lambda: len(arrivals()) == 4, what="four calls are in flight")
    app.control.pool_shrink(3)
    (stats,) = until(lambda: app.control.inspect().stats(), what="the worker answers").values()
    assert stats["pool"]["max-concurrency"] == 1


def test_queues_are_added_and_cancelled_by_remote_control(start: Start, client: Client, app: Celery) -> None:
    start(FAST)
    waiting = client.submit(SLOW, "say later")
    client.result(client.submit(FAST, "say now"), 20)
    assert client.status(waiting).state == "queued"
    app.control.add_consumer(SLOW, reply=True)
    assert client.result(waiting, 20).text == "later"
    app.control.cancel_consumer(SLOW, reply=True)
    (queues,) = until(lambda: app.control.inspect().active_queues(), what="the worker answers").values()
    assert [queue["name"] for queue in queues] == [FAST]
    waiting = client.submit(SLOW, "say never")
    client.result(client.submit(FAST, "say now"), 20)
    assert client.status(waiting).state == "queued"


def test_a_queue_that_there_is_not_cannot_be_added_and_the_worker_lives(
    start: Start, client: Client, app: Celery
) -> None:
    start(FAST)
    (reply,) = app.control.add_consumer("nope", reply=True)
    assert "error" in next(iter(reply.values()))
    assert client.result(client.submit(FAST, "say alive"), 20).text == "alive"


def test_a_key_of_another_type_holds_up_its_own_queue_only(start: Start, client: Client, ledger: Ledger) -> None:
    ledger.redis.set(ledger.keys.queue(SLOW), "not a list")
    worker = start()
    jobs = client.submit_many(["say on"] * 20, target=FAST)
    assert {client.result(job, 20).text for job in jobs} == {"on"}
    assert "cannot be served, because somebody wrote to their keys" in worker.output()
    ledger.redis.delete(ledger.keys.queue(SLOW))
    assert client.result(client.submit(SLOW, "say again"), 20).text == "again"


def test_terminating_a_task_cancels_its_job(
    start: Start, client: Client, ledger: Ledger, app: Celery, arrivals: Arrivals
) -> None:
    start()
    job, other = client.submit_many(["nap 60", "nap 2"], target=FAST)
    until(lambda: len(arrivals()) == 2, what="both calls are in flight")
    app.control.revoke(job, terminate=True)
    until(lambda: client.status(job).state == "cancelled", what="the job is cancelled")
    client.result(other, 20)
    assert counts(ledger) == {}


def test_revoking_a_job_that_waits_cancels_it_when_its_turn_comes(start: Start, client: Client, app: Celery) -> None:
    start(SLOW)
    job, other = client.submit_many(["say never", "say now"], target=FAST)
    app.control.revoke(job, reply=True)
    app.control.add_consumer(FAST, reply=True)
    assert client.result(other, 20).text == "now"
    until(lambda: client.status(job).state == "cancelled", what="the job is cancelled")


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


def test_a_worker_waits_for_redis_instead_of_giving_up(start: Start, address: Address, tmp_path: Path) -> None:
    worker = start(ECHELON_REDIS_URL="redis://127.0.0.1:1/0", wait=False)
    until(lambda: "Cannot connect" in worker.output(), what="it says that it cannot connect")
    assert worker.process.poll() is None
    worker.kill()


def test_async_result_of_our_app_reads_the_record(start: Start, client: Client, app: Celery) -> None:
    start()
    job = client.submit(FAST, "say hello")
    assert app.AsyncResult(job).get(timeout=20)["text"] == "hello"
    dead = client.submit(FAST, "fail bad_request")
    with pytest.raises(RuntimeError, match="bad_request: scripted bad_request"):
        app.AsyncResult(dead).get(timeout=20)
    assert app.AsyncResult(dead).state == "FAILURE"
    assert app.AsyncResult("nothing").state == "PENDING"


@pytest.fixture
def foreign(address: Address) -> Iterator[Celery]:
    """A Celery app that has nothing of ours; the namespace stands where its own key prefix would."""
    app = Celery("foreign", broker=address.url, backend=address.url, set_as_current=False)
    options = {"global_keyprefix": f"{address.namespace}:"}
    app.conf.update(broker_transport_options=options, result_backend_transport_options=options)
    yield app
    app.close()


def test_a_plain_celery_app_sends_and_gets_its_answer(start: Start, foreign: Celery, client: Client) -> None:
    start()
    sent = [
        foreign.send_task("fast_group.echelon1", kwargs={"prompt": "say inbox"}),
        foreign.send_task("fast_group", kwargs={"prompt": "say routed"}, queue=FAST, priority=9),
        foreign.send_task("node.polite_node", kwargs={"prompt": "say node"}),
    ]
    assert [result.get(timeout=20)["text"] for result in sent] == ["inbox", "routed", "Be polite. node"]
    assert client.status(sent[1].id).priority == 9


def test_a_plain_celery_app_is_told_when_its_job_expired(start: Start, foreign: Celery) -> None:
    sent = foreign.send_task(FAST, kwargs={"prompt": "say late"}, queue=FAST, expires=datetime(2001, 1, 1, tzinfo=UTC))
    start()
    with pytest.raises(RuntimeError, match="expired"):
        sent.get(timeout=20)


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("fast_group.echelon1", {"kwargs": {}}, "prompt"),
        ("fast_group.echelon1", {"args": ["hello"]}, "positional arguments are not understood"),
        ("fast_group.echelon1", {"kwargs": {"prompt": "x"}, "countdown": 60}, "countdown and eta are not supported"),
        ("fast_group.echelon7", {"kwargs": {"prompt": "x"}}, r"fast_group\.echelon1"),
        ("some.task", {"kwargs": {"prompt": "x"}}, r"some\.task"),
    ],
)
def test_a_message_that_cannot_be_a_job_is_buried_and_its_sender_told(
    start: Start, foreign: Celery, client: Client, name: str, options: dict[str, Any], why: str
) -> None:
    start()
    sent = foreign.send_task(name, **options)
    with pytest.raises(ValueError, match=why):
        sent.get(timeout=20)
    assert client.status(sent.id).state == "dead"


def test_garbage_in_a_queue_is_buried_and_the_worker_lives(start: Start, ledger: Ledger, client: Client) -> None:
    start()
    for garbage in (b"{", b'{"headers": 7}', b'{"headers": {"id": "a b"}}', b'{"body": "%%%"}', b"nonsense"):
        ledger.redis.lpush(ledger.keys.queue(FAST), garbage)
    assert client.result(client.submit(FAST, "say alive"), 20).text == "alive"
    until(lambda: ledger.redis.zcard(ledger.keys.of("dead")) == 4, what="four messages are buried")


@pytest.fixture
def events(app: Celery) -> Iterator[list[tuple[str, str]]]:
    """(task name, event type) of every task event, as Flower would receive them."""
    seen: list[tuple[str, str]] = []
    names: dict[str, str] = {}

    def record(event: dict[str, Any]) -> None:
        if "uuid" in event:
            names.setdefault(event["uuid"], event.get("name", ""))
            seen.append((names[event["uuid"]], event["type"]))

    listening = threading.Event()
    with app.connection_for_read() as connection:
        receiver = EventReceiver(connection, handlers={"*": record}, app=app)
        receiver.on_consume_ready = lambda *_, **__: listening.set()
        thread = threading.Thread(target=lambda: receiver.capture(wakeup=False))
        thread.start()
        assert listening.wait(10)
        yield seen
        receiver.should_stop = True
        thread.join(10)


def test_events_name_each_queue_and_a_retry_shows_as_a_retry(
    start: Start, client: Client, events: list[tuple[str, str]]
) -> None:
    start()
    client.result(client.submit(FAST, "fail server_failed 1"), 20)
    with pytest.raises(JobDied):
        client.result(client.submit(SLOW, "fail bad_request"), 20)
    until(lambda: {(SLOW, "task-failed"), (FAST, "task-succeeded")} <= set(events), what="the last events are here")
    twice = ["task-received", "task-started", "task-retried", "task-received", "task-started", "task-succeeded"]
    assert [kind for name, kind in events if name == FAST] == twice
    assert [kind for name, kind in events if name == SLOW] == ["task-received", "task-started", "task-failed"]


def test_a_429_spends_no_attempt_and_rests_its_instance(start: Start, client: Client, ledger: Ledger) -> None:
    start()
    job = client.submit(SLOW, "limited 3 0.2")  # its echelon has no retries
    assert client.result(job, 20).text == "3 0.2"
    record = client.status(job)
    assert (record.attempts, [entry["outcome"] for entry in record.trail]) == (1, ["rate_limited"] * 3 + ["answered"])
    assert int(ledger.redis.hget(ledger.keys.of("scope", "model:openai-three"), "nb") or 0) > 0
    assert ledger.redis.hget(ledger.keys.of("totals", SLOW), "limited") == b"3"


def test_a_concurrency_limit_holds_across_workers(
    start: Start, client: Client, ledger: Ledger, tmp_path: Path, arrivals: Arrivals
) -> None:
    publish_changed(ledger, tmp_path, "priority: 1,", "priority: 1, concurrency_limit: 3,")
    for number in range(2):
        start(wait=False, name=f"w{number}")
    jobs = client.submit_many(["nap 60"] * 10, target=FAST)
    until(lambda: len(arrivals()) == 3, what="three calls are in flight")
    for job in jobs[:3]:
        ledger.redis.zadd(ledger.keys.of("running"), {job: 1}, xx=True)
    until(lambda: len(arrivals()) >= 3 and counts(ledger) == {f"running:{FAST}": 3}, what="still three")
    until(lambda: held_by(client) == f"echelon:{FAST}", what="the status names what holds the queue back")
    assert ledger.redis.hget(ledger.keys.of("scope", f"echelon:{FAST}"), "cu") == b"3"


def test_a_grant_that_a_stalled_worker_did_not_use_in_time_lapses_and_is_taken_anew(
    start: Start, client: Client, ledger: Ledger, tmp_path: Path, arrivals: Arrivals
) -> None:
    publish_changed(ledger, tmp_path, "priority: 1,", "priority: 1, rpm_limit: 1000,")
    jobs = client.submit_many(["stall 0.5", *["say late"] * 5], target=FAST)
    start()
    for job in jobs:
        client.result(job, 20)
    assert sorted(arrivals()) == sorted(jobs), "each was called once"
    assert {client.status(job).attempts for job in jobs} == {1}
    leases = [int(ledger.redis.hget(ledger.keys.of("job", job), "lease") or 0) for job in jobs]
    assert leases[0] == 1
    assert min(leases[1:]) == 2, "those granted beside the one that stalled were granted again"
    status = client.cluster_status()
    used = {scope.name: scope.rates[0].used for scope in status.scopes if scope.rates and scope.level == "echelon"}
    assert used[FAST] == 6, "what was not used is not counted"


def test_tokens_are_settled_with_what_the_provider_counted(
    start: Start, client: Client, ledger: Ledger, tmp_path: Path
) -> None:
    publish_changed(ledger, tmp_path, "priority: 1,", "priority: 1, tpm_limit: 5000,")
    start()
    jobs = client.submit_many(["say so"] * 6, target=FAST)
    for job in jobs:
        client.result(job, 20)
    echelon = next(scope for scope in client.cluster_status().scopes if scope.name == FAST and scope.rates)
    assert (echelon.rates[0].unit, echelon.rates[0].used) == ("tokens", 6 * 12)


def held_by(client: Client) -> str:
    return next(queue.held_by for queue in client.cluster_status().queues if queue.name == FAST)


def publish_changed(ledger: Ledger, tmp_path: Path, old: str, new: str) -> None:
    file = tmp_path / "configs" / "llms" / "groups" / "_task_groups.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    revisions.publish(ledger, load(tmp_path / "configs").configuration)


def test_workers_follow_a_new_revision_without_a_restart(
    start: Start, client: Client, ledger: Ledger, tmp_path: Path
) -> None:
    start()
    client.result(client.submit(FAST, "say before"), 20)
    publish_changed(
        ledger, tmp_path, "    echelon2:", "    echelon3: {models: [openai-four], priority: 3}\n    echelon2:"
    )
    client.configuration(fresh=True)
    assert client.result(client.submit("fast_group.echelon3", "say after"), 20).text == "after"


def test_jobs_granted_while_revisions_come_and_go_are_all_answered(
    start: Start, client: Client, ledger: Ledger, tmp_path: Path, arrivals: Arrivals
) -> None:
    start()
    jobs = client.submit_many([f"nap 0.0{number % 10}" for number in range(400)], target="pool.all_pool")
    both, one = "models: [openai-one, openai-two]", "models: [openai-one]"
    for turn in range(12):
        publish_changed(ledger, tmp_path, *((both, one) if turn % 2 == 0 else (one, both)))
        client.result(jobs[turn * 20], 20)
    for job in jobs:
        client.result(job, 20)
    assert set(arrivals().values()) == {1}


def test_a_lowered_limit_binds_the_next_job(
    start: Start, client: Client, ledger: Ledger, tmp_path: Path, arrivals: Arrivals
) -> None:
    start()
    jobs = client.submit_many(["nap 60"] * 4, target=FAST)
    until(lambda: len(arrivals()) == 4, what="four calls are in flight")
    publish_changed(ledger, tmp_path, "priority: 1,", "priority: 1, concurrency_limit: 2,")
    waiting = client.submit(FAST, "say now")
    client.result(client.submit(SLOW, "say other"), 20)
    assert client.status(waiting).state == "queued"
    assert {client.status(job).state for job in jobs} == {"running"}


def test_a_paused_queue_keeps_its_jobs_until_it_is_resumed(start: Start, client: Client, ledger: Ledger) -> None:
    start()
    assert ledger.run(steer("pause", [FAST])) == 1
    waiting = client.submit(FAST, "say later")
    client.result(client.submit(SLOW, "say now"), 20)
    assert client.status(waiting).state == "queued"
    (shown,) = [queue for queue in client.cluster_status().queues if queue.name == FAST]
    assert (shown.paused, shown.counts.waiting) == (True, 1)
    assert ledger.run(steer("resume", [FAST])) == 1
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


def test_a_worker_started_before_anything_is_published_says_so(address: Address, tmp_path: Path) -> None:
    worker = start_worker(address, tmp_path / "w.log", wait=False, ECHELON_CONFIGS=str(tmp_path / "none"))
    assert worker.process.wait(30) == 2
    assert "no configuration is published in this Redis" in worker.output()


def test_the_first_worker_publishes_its_own_configuration(address: Address, tmp_path: Path) -> None:
    configs = write_configs(tmp_path / "configs")
    worker = start_worker(address, tmp_path / "w.log", ECHELON_CONFIGS=str(configs))
    with Client(address.url, namespace=address.namespace) as client:
        assert client.result(client.submit(FAST, "say hello"), 20).text == "hello"
    assert worker.stop() == 0
