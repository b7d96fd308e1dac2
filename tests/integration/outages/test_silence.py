"""Redis is there and does not answer: stopped, or told to keep its clients waiting."""

import asyncio
import signal
import time
from collections import Counter

import pytest
import redis
from outage_server import OutageServer
from waiting import until
from worker_process import FAST

from echelon_workers.ledger.address import Address

from .conftest import Cluster


def test_nothing_runs_twice_after_redis_stood_still_for_longer_than_a_lease(
    server: OutageServer, cluster: Cluster
) -> None:
    """The worker that holds the jobs is the last to come back: another one that reaps is there before it."""
    first = cluster.work("first", slots=10, ECHELON_LEASE_S="3")
    ids = cluster.client.submit_many(["nap 1"] * 5 + ["nap 5"] * 5, target=FAST)
    cluster.until_arrived(10)
    cluster.work("other", slots=10, ECHELON_LEASE_S="3")
    beats = cluster.client.address.keys.of("workers")
    with server.stopped():
        first.send(signal.SIGSTOP)
        stopped = time.monotonic()
        until(lambda: time.monotonic() > stopped + 4, what="more than a lease has passed")
        assert len(cluster.arrived()) == 10
    seen = server.redis.zrevrange(beats, 0, 0, withscores=True)
    until(lambda: server.redis.zrevrange(beats, 0, 0, withscores=True) != seen, what="the other worker has reaped")
    first.send(signal.SIGCONT)
    cluster.until_answered(ids, timeout_s=30)
    assert Counter(cluster.arrived()) == Counter(ids)


def test_a_server_that_is_silent_is_given_up_after_twice_the_time_that_one_answer_may_take(
    server: OutageServer,
) -> None:
    async def in_a_loop() -> None:
        client = Address(server.url).async_client(timeout_s=0.3)
        with pytest.raises(redis.TimeoutError):
            await client.ping()
        await client.aclose()

    with server.stopped():
        began = time.monotonic()
        with Address(server.url).client(timeout_s=0.3) as client, pytest.raises(redis.TimeoutError):
            client.ping()
        asyncio.run(in_a_loop())
        assert 4 * 0.3 <= time.monotonic() - began < 5 * 0.3


def test_no_call_is_started_while_redis_keeps_its_clients_waiting_and_all_goes_on_after_it(
    server: OutageServer, cluster: Cluster
) -> None:
    ids = cluster.client.submit_many(["nap 0.2"] * 60, target=FAST)
    cluster.work(slots=10)
    cluster.until_arrived(20)
    server.redis.client_pause(2000)
    paused = time.monotonic()
    # A take whose reply was under way when the pause began may still start its calls.
    until(lambda: time.monotonic() > paused + 0.5, what="half a second has passed")
    before = len(cluster.arrived())
    until(lambda: time.monotonic() > paused + 1.5, what="most of the pause has passed")
    assert len(cluster.arrived()) == before
    cluster.until_answered(ids)
    assert Counter(cluster.arrived()) == Counter(ids)
