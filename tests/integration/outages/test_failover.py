"""A primary, its replica and a Sentinel: the primary is killed, and work goes on at the replica by itself."""

import asyncio
import contextlib
import threading
from dataclasses import dataclass
from uuid import uuid4

import pytest
import redis
from outage_server import OutageServer, free_port
from waiting import until
from worker_process import FAST

from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import AsyncLedger, Ledger
from echelon_workers.ledger.verbs import NewJob, submit

from .conftest import Cluster, NewCluster, NewServer

PASSWORD = "open sesame/1"


@dataclass
class Watched:
    """Who is watched by whom."""

    primary: OutageServer
    replica: OutageServer
    sentinel: OutageServer

    @property
    def address(self) -> Address:
        nobody = free_port()  # the first Sentinel of the list is away
        place = f":open%20sesame%2F1@127.0.0.1:{nobody},127.0.0.1:{self.sentinel.port}"
        return Address(f"sentinel://{place}/0?master=main", "outage")

    def until_in_step(self) -> None:
        """Until the replica is connected and has all that its primary has."""
        until(lambda: self.primary.info("replication").get("connected_slaves") == 1, what="there is a replica")
        until(lambda: self.replica.info("replication")["master_link_status"] == "up", what="it follows")


@pytest.fixture
def watched(new_server: NewServer) -> Watched:
    login = {"requirepass": PASSWORD, "masterauth": PASSWORD, "repl_diskless_sync_delay": "0"}
    primary = new_server(**login)
    replica = new_server(**login, replicaof=f"127.0.0.1 {primary.port}")
    sentinel = new_server()
    for server in (primary, replica):
        server.redis = redis.Redis(port=server.port, password=PASSWORD, socket_timeout=5)
        server.start()
    watched = Watched(primary, replica, sentinel)
    watched.until_in_step()
    sentinel.start_sentinel(
        f"sentinel monitor main 127.0.0.1 {primary.port} 1",
        f'sentinel auth-pass main "{PASSWORD}"',
        "sentinel down-after-milliseconds main 500",
        "sentinel failover-timeout main 3000",
    )
    until(lambda: sentinel.redis.sentinel_master("main")["num-slaves"] == 1, what="the Sentinel knows the replica")
    return watched


def cluster_time(cluster: Cluster) -> int:
    ledger = Ledger(cluster.address)
    try:
        return int(ledger.redis.get(ledger.keys.of("clock")) or 0)
    finally:
        ledger.close()


def test_work_goes_on_after_a_failover_and_time_does_not_go_back(watched: Watched, new_cluster: NewCluster) -> None:
    cluster = new_cluster(watched.address)
    ids = cluster.client.submit_many(["nap 0.3"] * 100, target=FAST)
    worker = cluster.work(slots=10)
    cluster.until_arrived(30)
    # What the replica takes over is a clock that is ten minutes ahead of its own, as when its host's is behind.
    ahead = cluster_time(cluster) + 600_000
    watched.primary.redis.set("outage:echelon:clock", ahead)
    watched.primary.redis.wait(1, 1000)
    watched.primary.kill()
    with pytest.raises(redis.ConnectionError):
        watched.primary.redis.ping()
    until(lambda: watched.replica.info("replication")["role"] == "master", what="the replica has taken over")
    cluster.until_answered(ids, timeout_s=30)
    assert cluster_time(cluster) > ahead
    assert worker.process.poll() is None
    more = cluster.client.submit(FAST, "say after it")
    assert cluster.client.result(more, timeout_s=20).text == "after it"


def test_a_server_that_became_a_replica_is_left_for_the_one_its_name_leads_to_by_then(
    server: OutageServer, new_server: NewServer
) -> None:
    """Without Sentinel: the connection of somebody who is told READONLY is not used again."""
    address = Address(server.url, "outage")
    other = new_server()
    other.start()
    verb = submit([NewJob(id=uuid4().hex, queue=FAST, request="{}", target=FAST)])

    async def in_a_loop() -> None:
        ledger = AsyncLedger(address)
        for call in (ledger.run(verb), ledger.run_many([verb])):
            before = await ledger.redis.client_id()
            with contextlib.suppress(redis.ReadOnlyError):
                await call
            assert await ledger.redis.client_id() != before
        await ledger.aclose()

    ledger = Ledger(address)
    before = ledger.redis.client_id()
    server.redis.replicaof("127.0.0.1", other.port)
    with pytest.raises(redis.ReadOnlyError):
        ledger.run(verb)
    assert ledger.redis.client_id() != before
    ledger.close()
    asyncio.run(in_a_loop())


def test_what_was_acknowledged_with_a_replica_is_there_after_a_failover(watched: Watched) -> None:
    """A producer submits without a pause while its primary is killed."""
    address = watched.address
    accepted, attempted = [], []
    killing = threading.Timer(0.5, watched.primary.kill)
    ledger = Ledger(address, address.client(retries=0))
    killing.start()
    try:
        while not attempted or attempted[-1] in accepted:
            attempted.append(uuid4().hex)
            with contextlib.suppress(redis.RedisError):
                ledger.run(submit([NewJob(id=attempted[-1], queue=FAST, request="{}", target=FAST)]), replicated=True)
                accepted.append(attempted[-1])
        until(lambda: watched.replica.info("replication")["role"] == "master", what="the replica has taken over")
        there = {id.decode() for id in watched.replica.redis.lrange(address.keys.queue(FAST), 0, -1)}
    finally:
        killing.join()
        ledger.close()
    assert len(accepted) > 10
    assert set(accepted) <= there <= set(attempted)
