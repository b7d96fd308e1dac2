"""Redis has no memory left, or no disk: nothing new is accepted or started, and what runs comes to its end."""

import sys
from collections import Counter

import pytest
from outage_server import OutageServer
from waiting import until
from worker_process import FAST

from echelon_producers import Unavailable
from echelon_workers.ledger.address import Address

from .conftest import Cluster, NewCluster, NewServer


def fill(server: OutageServer) -> None:
    """Allow no more memory than is in use now."""
    server.redis.config_set("maxmemory", int(server.info("memory")["used_memory"]) // 2)


def test_at_maxmemory_submits_are_refused_nothing_is_started_and_what_runs_ends(
    server: OutageServer, cluster: Cluster
) -> None:
    ids = cluster.client.submit_many(["nap 1"] * 10, target=FAST)
    worker = cluster.work(slots=5, ECHELON_LEASE_S="1")
    cluster.until_arrived(5)
    fill(server)
    with pytest.raises(Unavailable, match="maxmemory"):
        cluster.client.submit(FAST, "say one too many")
    until(lambda: cluster.answered() == 5, what="what ran has ended")
    until(lambda: worker.output().count("nothing can be taken") >= 3, what="it has tried to take")
    until(cluster.holds_nothing, what="its permits are back")
    assert len(cluster.arrived()) == 5
    server.redis.config_set("maxmemory", 0)
    cluster.until_answered(ids)
    assert Counter(cluster.arrived()) == Counter(ids)


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")
def test_while_the_disk_is_full_outcomes_wait_and_submits_are_refused(
    new_server: NewServer, new_cluster: NewCluster
) -> None:
    """With `appendfsync everysec`; with `always` such a server ends, as when it is killed."""
    server = new_server(appendfsync="everysec")
    server.start()
    cluster = new_cluster(Address(server.url, "outage"))
    ids = cluster.client.submit_many(["nap 1"] * 10, target=FAST)
    worker = cluster.work(slots=5)
    cluster.until_arrived(5)
    server.disk_full()
    until(lambda: server.info("persistence")["aof_last_write_status"] == "err", what="the server cannot write")
    with pytest.raises(Unavailable, match="MISCONF"):
        cluster.client.submit(FAST, "say one too many")
    until(lambda: "outcomes wait" in worker.output(), what="the worker keeps outcomes")
    assert cluster.answered() == 0
    assert len(cluster.arrived()) == 5
    server.disk_full(False)
    cluster.until_answered(ids)
    assert Counter(cluster.arrived()) == Counter(ids)


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")
def test_a_server_that_ends_because_its_disk_is_full_has_lost_nothing_when_there_is_room_again(
    server: OutageServer, cluster: Cluster
) -> None:
    ids = cluster.client.submit_many(["nap 0.2"] * 60, target=FAST)
    cluster.work(slots=10)
    cluster.until_arrived(20)
    server.disk_full()
    assert server.process is not None
    server.process.wait(10)
    server.start()
    cluster.until_answered(ids)
