"""Workers follow the configuration in force."""

from pathlib import Path

from waiting import until
from worker_ledger import publish_changed
from worker_process import FAST, SLOW, Arrivals, Start, start_worker, write_configs

from echelon_producers import Client
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.verbs import steer


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


def test_a_configuration_published_after_redis_was_emptied_is_followed_though_its_number_is_the_same(
    start: Start, client: Client, ledger: Ledger, tmp_path: Path
) -> None:
    worker = start()
    number = ledger.redis.hget(ledger.keys.of("revision"), "number")
    for key in ledger.redis.scan_iter(f"{ledger.keys.own}*"):
        ledger.redis.delete(key)
    publish_changed(ledger, tmp_path, "priority: 1,", "priority: 1, max_tokens: 77,")
    assert ledger.redis.hget(ledger.keys.of("revision"), "number") == number == b"1"
    until(lambda: worker.output().count("is in force") > 0, what="it is followed")
    assert client.result(client.submit(FAST, "say on"), 20).text == "on"


def test_nothing_starts_without_a_configuration_and_a_worker_puts_its_own_in_force_again(
    start: Start, client: Client, ledger: Ledger
) -> None:
    start()
    client.configuration()
    for key in ledger.redis.scan_iter(f"{ledger.keys.own}*"):
        ledger.redis.delete(key)
    until(lambda: ledger.redis.exists(ledger.keys.of("revision")), what="there is one again")
    assert client.result(client.submit(FAST, "say on"), 20).text == "on"
