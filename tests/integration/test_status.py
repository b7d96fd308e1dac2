"""The cluster's status: every number of one moment, each job in one place."""

import asyncio
import io
import json

import pytest
from byhand import QUEUES, Hands, configuration, limited, publish
from rich.console import Console

from echelon_configs import Limits
from echelon_producers import AsyncClient, Client, NoConfiguration
from echelon_producers.cli.status import tables
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import AsyncLedger, Ledger
from echelon_workers.ledger.scripts import script
from echelon_workers.ledger.status import ClusterStatus, Counts, cluster_status, cluster_status_async, dropped_queues
from echelon_workers.ledger.verbs import Order

NAMED = [(name, "model" if name.startswith("model.") else "echelon") for name in QUEUES]


@pytest.fixture
def worked(address: Address) -> Address:
    """A cluster in which something of every kind has happened."""
    publish(address)
    with Client(address.url, namespace=address.namespace) as producer, Hands(address) as hands:
        producer.submit_many(["one", "two", "three", "four", "five"], target=QUEUES[0])
        answered, dead, retried, late, running = hands.take(want=5)
        hands.answer(answered)
        hands.bury(dead)
        hands.retry(retried, delay_ms=60_000)
        hands.retry(late)
        with pytest.raises(AssertionError, match="lost"):
            hands.answer(type(late)(**{name: getattr(late, name) for name in late.__slots__} | {"lease": "99"}))
        assert running.queue == QUEUES[0]
        producer.submit_many([{"prompt": "high", "priority": 9}, {"prompt": "low"}], target=QUEUES[1])
        hands.beat(queues=QUEUES[:2], slots=7)
    return address


def read(address: Address, revision: int = 4) -> ClusterStatus:
    ledger = Ledger(address)
    try:
        return cluster_status(ledger, configuration(), revision)
    finally:
        ledger.close()


def shown(status: ClusterStatus) -> str:
    """As `echelon status` prints it."""
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(tables(status))
    return console.export_text()


def test_every_job_is_counted_where_it_is(worked: Address) -> None:
    first, second, *others = read(worked).queues
    assert (first.name, first.kind) == NAMED[0]
    assert first.counts == Counts(
        waiting=1,
        delayed=1,
        running=1,
        submitted=5,
        answered=1,
        dead=1,
        attempts=4,
        retries=2,
        late=1,
        input_tokens=3,
        output_tokens=5,
        cost_usd="0.001",
    )
    assert (second.counts.waiting, second.waiting_by_priority) == (2, {0: 1, 9: 1})
    assert [queue.counts for queue in others] == [Counts(), Counts()]


def test_totals_add_all_queues_up(worked: Address) -> None:
    totals = read(worked).totals
    assert (totals.waiting, totals.submitted, totals.answered, totals.cost_usd) == (3, 7, 1, "0.001")


def test_live_workers_are_shown_and_counted_at_their_queues(worked: Address) -> None:
    status = read(worked)
    (worker,) = status.workers
    assert (worker.name, worker.host, worker.pid, worker.slots, worker.busy) == ("by-hand", "host", 7, 7, 1)
    assert worker.queues == QUEUES[:2]
    assert 0 <= worker.heartbeat_age_ms < 10_000
    assert [queue.served_by for queue in status.queues] == [1, 1, 0, 0]


def test_a_worker_whose_entry_has_expired_is_not_live(worked: Address) -> None:
    with Hands(worked, "dead-one") as hands:
        hands.beat(lasting_ms=20_000)
        hands.ledger.redis.delete(hands.ledger.keys.of("worker", "dead-one"))
    assert [worker.name for worker in read(worked).workers] == ["by-hand"]


def test_a_worker_of_another_version_may_say_more_or_less(worked: Address) -> None:
    with Hands(worked, "other") as hands:
        hands.beat()
        hands.ledger.redis.set(hands.ledger.keys.of("worker", "other"), json.dumps({"pid": 9, "novelty": True}))
    other = next(worker for worker in read(worked).workers if worker.name == "other")
    assert (other.pid, other.slots, other.queues) == (9, 0, ())


def test_the_server_is_named_with_its_version_and_memory(worked: Address) -> None:
    server = read(worked).server
    assert server.name in ("valkey", "redis")
    assert int(server.version.split(".")[0]) >= 7
    assert server.memory_bytes > 100_000
    assert server.max_memory_bytes == 0


def test_a_cost_has_no_trace_of_binary_addition(worked: Address) -> None:
    ledger = Ledger(worked)
    for _ in range(3):
        ledger.redis.hincrbyfloat(ledger.keys.of("totals", QUEUES[2]), "cost_usd", 0.1)
    ledger.close()
    status = read(worked)
    assert (status.queues[2].counts.cost_usd, status.totals.cost_usd) == ("0.3", "0.301")


def test_the_json_is_flat_and_whole(worked: Address) -> None:
    shown = json.loads(json.dumps(read(worked).to_json()))
    assert list(shown) == ["revision", "now_ms", "server", "totals", "queues", "scopes", "instances", "workers"]
    assert shown["revision"] == 4
    queue = shown["queues"][1]
    assert (queue["name"], queue["waiting"], queue["waiting_by_priority"]) == (QUEUES[1], 2, {"0": 1, "9": 1})
    assert shown["workers"][0]["queues"] == list(QUEUES[:2])


def test_every_scope_is_shown_with_its_limits_and_their_use(address: Address) -> None:
    publish(address, limited(Limits(concurrency=1, queue_size=5, requests_per_minute=60)))
    with Client(address.url, namespace=address.namespace) as producer, Hands(address) as hands:
        producer.submit_many(["one", "two"], target=QUEUES[0])
        hands.take()
        shown = json.loads(json.dumps(producer.cluster_status().to_json()))
    scopes = {f"{scope['level']}:{scope['name']}": scope for scope in shown["scopes"]}
    assert {scope["level"] for scope in shown["scopes"]} == {"cluster", "group", "echelon", "model", "node"}
    echelon = scopes[f"echelon:{QUEUES[0]}"]
    assert (echelon["concurrency"], echelon["in_use"], echelon["queue_size"], echelon["waiting"]) == (1, 1, 5, 1)
    assert [(rate["unit"], rate["limit"], rate["used"]) for rate in echelon["rates"]] == [("requests", 60, 1)]
    queue = shown["queues"][0]
    assert queue["held_by"] == f"echelon:{QUEUES[0]}"
    assert 0 <= shown["now_ms"] - queue["held_since_ms"] < 10_000


def test_a_lease_that_lapsed_is_counted_and_shown(worked: Address) -> None:
    ledger = Ledger(worked)
    (job,) = ledger.redis.zrange(ledger.keys.of("running"), 0, -1)
    ledger.redis.zadd(ledger.keys.of("running"), {job.decode(): 1})
    assert "lapsed" not in shown(read(worked))
    with Hands(worked) as hands:
        hands.beat()
    status = read(worked)
    assert (status.queues[0].counts.lapsed, status.totals.lapsed, status.totals.running) == (1, 1, 0)
    heads = shown(status).splitlines()[1].split()
    assert [name for name in heads if name in ("lapsed", "late")] == ["lapsed", "late"]
    ledger.close()


@pytest.mark.parametrize(
    ("orders", "said"), [(["drain"], "draining"), (["pause"], "paused"), (["drain", "pause"], "draining, paused")]
)
def test_a_queue_says_that_it_drains_or_is_paused(worked: Address, orders: list[Order], said: str) -> None:
    with Client(worked.url, namespace=worked.namespace) as producer:
        for order in orders:
            producer.steer(order, [QUEUES[0]])
        queue = producer.cluster_status().queues[0]
        assert (queue.draining, queue.paused) == ("drain" in orders, "pause" in orders)
        (line,) = [line for line in shown(producer.cluster_status()).splitlines() if line.startswith(QUEUES[0])]
    assert line.rstrip().endswith(f" {said}")


def test_a_dropped_queue_that_has_no_jobs_is_gone(worked: Address) -> None:
    whole = configuration()
    kept = {name: queue for name, queue in whole.queues.items() if name not in QUEUES[1:3]}
    publish(worked, whole.model_copy(update={"queues": kept}))
    ledger = Ledger(worked)
    assert [(queue.name, queue.dropped) for queue in ledger.run(dropped_queues())] == [(QUEUES[1], True)]
    ledger.close()
    with Client(worked.url, namespace=worked.namespace) as producer:
        assert [queue.name for queue in producer.cluster_status().queues] == [QUEUES[0], QUEUES[3], QUEUES[1]]


def test_what_somebody_damaged_does_not_hide_the_rest(worked: Address) -> None:
    ledger = Ledger(worked)
    ledger.redis.set(ledger.keys.of("worker", "by-hand"), "{half")
    ledger.redis.hset(ledger.keys.of("totals", QUEUES[0]), mapping={"dead": "many", "cost_usd": "much"})
    ledger.close()
    status = read(worked)
    assert [worker.name for worker in status.workers] == ["by-hand"]
    assert (status.totals.dead, status.totals.cost_usd, status.totals.answered) == (0, "0", 1)


def test_an_empty_cluster_has_a_status(address: Address) -> None:
    status = read(address)
    assert (status.totals, status.workers) == (Counts(), ())
    assert len(status.queues) == len(NAMED)


def test_reading_the_status_writes_nothing(worked: Address) -> None:
    ledger = Ledger(worked)
    ledger.redis.script_load(script("status").text)
    before = ledger.redis.info("persistence")["rdb_changes_since_last_save"]
    cluster_status(ledger, configuration(), 1)
    assert ledger.redis.info("persistence")["rdb_changes_since_last_save"] == before
    ledger.close()


def test_in_an_event_loop_it_is_the_same(worked: Address) -> None:
    async def main() -> ClusterStatus:
        ledger = AsyncLedger(worked)
        try:
            return await cluster_status_async(ledger, configuration(), 4)
        finally:
            await ledger.aclose()

    assert asyncio.run(main()).queues == read(worked).queues


def test_both_clients_read_it_with_the_revision_in_force(worked: Address) -> None:
    async def main() -> ClusterStatus:
        async with AsyncClient(worked.url, namespace=worked.namespace) as producer:
            return await producer.cluster_status()

    with Client(worked.url, namespace=worked.namespace) as producer:
        status = producer.cluster_status()
    assert status.revision == 1
    assert [(queue.name, queue.kind) for queue in status.queues] == NAMED
    assert asyncio.run(main()).queues == status.queues


def test_without_a_configuration_there_is_no_status(address: Address) -> None:
    with Client(address.url, namespace=address.namespace) as producer, pytest.raises(NoConfiguration):
        producer.cluster_status()
