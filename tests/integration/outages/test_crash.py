"""Redis is killed and comes back with all that it had acknowledged (`appendfsync always`)."""

from collections import Counter

from outage_server import OutageServer
from waiting import until
from worker_process import FAST

from echelon_workers.ledger.address import Address

from .conftest import Cluster

JOBS = 200


def test_of_jobs_under_way_when_redis_is_killed_each_is_called_once_and_answered(
    server: OutageServer, cluster: Cluster
) -> None:
    ids = cluster.client.submit_many(["nap 0.3"] * JOBS, target=FAST)
    worker = cluster.work(slots=20)
    cluster.until_arrived(60)
    with server.away():
        until(lambda: "outcomes wait" in worker.output(), what="the worker keeps outcomes")
        before = len(cluster.arrived())
        until(lambda: worker.output().count("Trying again in") >= 2, what="the worker has tried to come back")
        assert len(cluster.arrived()) == before < JOBS
    cluster.until_answered(ids)
    assert Counter(cluster.arrived()) == Counter(ids)
    assert "Redis is back: all outcomes are delivered" in worker.output()


def test_calls_that_end_while_redis_is_away_for_longer_than_their_leases_count_and_are_not_made_again(
    server: OutageServer, cluster: Cluster
) -> None:
    """Other workers are there to take the jobs over, and may not."""
    first = cluster.work("first", slots=10, ECHELON_LEASE_S="2")
    ids = cluster.client.submit_many(["nap 1"] * 5 + ["nap 4"] * 5, target=FAST)
    cluster.until_arrived(10)
    other = cluster.work("other", slots=10, ECHELON_LEASE_S="2")
    with server.away():
        until(lambda: "outcomes wait" in first.output(), what="the first worker keeps outcomes")
        until(lambda: other.output().count("Trying again in") >= 3, what="more than a lease has passed")
    cluster.until_answered(ids)
    assert Counter(cluster.arrived()) == Counter(ids)


def test_a_server_that_is_killed_time_and_again_loses_nothing(server: OutageServer, cluster: Cluster) -> None:
    ids = cluster.client.submit_many(["nap 0.05"] * JOBS, target=FAST)
    cluster.work(slots=5)
    for many in (20, 60, 120):
        cluster.until_arrived(many)
        server.kill()
        server.start()
    cluster.until_answered(ids, timeout_s=30)


def test_a_worker_that_is_started_while_redis_is_away_works_when_it_is_there(
    server: OutageServer, cluster: Cluster
) -> None:
    ids = cluster.client.submit_many(["say here"] * 3, target=FAST)
    with server.away():
        worker = cluster.work(wait=False)
        until(lambda: "Trying again in" in worker.output(), what="it has tried to connect", timeout_s=30)
    cluster.until_answered(ids)


def test_a_script_cache_that_is_lost_is_loaded_again(server: OutageServer, cluster: Cluster) -> None:
    ids = cluster.client.submit_many(["nap 0.2"] * 40, target=FAST)
    cluster.work(slots=5)
    for many in (5, 15, 25):
        cluster.until_arrived(many)
        server.redis.script_flush()
    cluster.until_answered(ids)
    assert Counter(cluster.arrived()) == Counter(ids)


def test_a_client_goes_on_by_itself_after_the_server_is_back(server: OutageServer, cluster: Cluster) -> None:
    with server.away():
        pass
    assert cluster.client.address == Address(server.url, "outage")
    assert cluster.client.status(cluster.client.submit(FAST, "say hello")).state == "queued"
