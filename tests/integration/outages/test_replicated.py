"""`durability: replicated`: what is acknowledged is on a replica too."""

import asyncio
import time
from uuid import uuid4

import pytest
from outage_server import OutageServer
from waiting import until
from worker_process import FAST

from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import AsyncLedger, Ledger, NotReplicated
from echelon_workers.ledger.verbs import NewJob, Verb, submit

from .conftest import NewServer


def new_job() -> NewJob:
    return NewJob(id=uuid4().hex, queue=FAST, request="{}", target=FAST)


def attach_replica(new_server: NewServer, primary: OutageServer) -> OutageServer:
    primary.redis.config_set("repl-diskless-sync-delay", 0)
    replica = new_server(replicaof=f"127.0.0.1 {primary.port}")
    replica.start()
    until(lambda: replica.info("replication")["master_link_status"] == "up", what="the replica follows")
    return replica


def run_in_loop(address: Address, verb: Verb[object]) -> object:
    async def run() -> object:
        ledger = AsyncLedger(address)
        try:
            return await ledger.run(verb, replicated=True)
        finally:
            await ledger.aclose()

    return asyncio.run(run())


def run_in_thread(address: Address, verb: Verb[object]) -> object:
    ledger = Ledger(address)
    try:
        return ledger.run(verb, replicated=True)
    finally:
        ledger.close()


@pytest.mark.parametrize("run", [run_in_loop, run_in_thread])
def test_a_submit_without_a_replica_says_so_within_seconds_and_is_acknowledged_when_repeated_with_one(
    run, server: OutageServer, new_server: NewServer
) -> None:
    address, verb = Address(server.url, "outage"), submit([new_job()])
    began = time.monotonic()
    with pytest.raises(NotReplicated, match="the same call again is safe"):
        run(address, verb)
    assert 1 <= time.monotonic() - began < 4  # twice a second, where the script had to be loaded first
    replica = attach_replica(new_server, server)
    assert run(address, verb) == [False]
    assert replica.redis.llen(address.keys.queue(FAST)) == 1


def test_a_replica_that_stands_still_acknowledges_nothing(server: OutageServer, new_server: NewServer) -> None:
    replica = attach_replica(new_server, server)
    address = Address(server.url, "outage")
    assert run_in_thread(address, submit([new_job()])) == [True]
    with replica.stopped(), pytest.raises(NotReplicated):
        run_in_thread(address, submit([new_job()]))
    assert run_in_thread(address, submit([new_job()])) == [True]


def test_a_script_that_the_server_does_not_know_is_replicated_like_any_other(
    server: OutageServer, new_server: NewServer
) -> None:
    replica = attach_replica(new_server, server)
    address = Address(server.url, "outage")
    server.redis.script_flush()
    assert run_in_loop(address, submit([new_job()])) == [True]
    assert replica.redis.llen(address.keys.queue(FAST)) == 1
