"""A server that may have forgotten what it granted last: every rate counts that as used."""

import asyncio

import pytest
from configured import configured
from outage_server import OutageServer
from waiting import until

from echelon_workers.ledger import revisions
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.arrival import arrives
from echelon_workers.ledger.client import AsyncLedger, Ledger

from .conftest import NewServer

GROUPS = """\
task_groups:
  fast_group:
    echelon1: {models: [openai-one], priority: 1, rpm_limit: 600}
    fallback_strategy: echelon_down
"""
#: 600 a minute, two seconds of it.
CHARGED = 20


def publish(address: Address) -> None:
    ledger = Ledger(address)
    revisions.publish(ledger, configured(GROUPS))
    ledger.close()


def arrive(address: Address, times: int = 1) -> None:
    """As a worker comes to the server: on each of these connections it is told which one it is."""

    async def connect() -> None:
        ledger = AsyncLedger(address, address.async_client(connected=arrives(address.keys)))
        try:
            for _ in range(times):
                assert await ledger.redis.ping()
                await ledger.redis.connection_pool.disconnect()
        finally:
            await ledger.aclose()

    asyncio.run(connect())


def charged(server: OutageServer, address: Address) -> int:
    return int(server.redis.llen(address.keys.of("log", "echelon:fast_group.echelon1")))


def restart(server: OutageServer) -> None:
    """Killed, when all that was written so far is on disk."""
    until(lambda: server.info("persistence")["aof_pending_bio_fsync"] == 0, what="it is on disk")
    server.kill()
    server.start()


@pytest.mark.parametrize("spelling", ["", "?protocol=2", "?protocol=3"])
def test_a_server_that_writes_every_second_counts_two_seconds_as_used_once_after_it_was_killed(
    spelling: str, new_server: NewServer
) -> None:
    server = new_server(appendfsync="everysec")
    server.start()
    address = Address(f"{server.url}{spelling}", "one")
    publish(address)
    arrive(address)
    assert charged(server, address) == 0
    restart(server)
    arrive(address, times=3)
    assert charged(server, address) == CHARGED
    restart(server)
    arrive(address)
    assert charged(server, address) == 2 * CHARGED


def test_a_server_that_writes_at_once_counts_nothing(server: OutageServer) -> None:
    address = Address(server.url, "one")
    publish(address)
    arrive(address)
    restart(server)
    arrive(address)
    assert charged(server, address) == 0


def test_a_server_that_writes_nothing_at_once_while_it_rewrites_its_file_is_not_trusted(new_server: NewServer) -> None:
    server = new_server(no_appendfsync_on_rewrite="yes")
    server.start()
    address = Address(server.url, "one")
    publish(address)
    arrive(address)
    restart(server)
    arrive(address)
    assert charged(server, address) == CHARGED


def test_each_cluster_of_a_server_counts_for_itself(new_server: NewServer) -> None:
    server = new_server(appendfsync="everysec", unixsocket="s.sock")
    server.start()
    one = Address(server.url, "one")
    two = Address(f"redis+socket://{server.folder / 's.sock'}?virtual_host=0", "two")
    for address in (one, two):
        publish(address)
        arrive(address)
    restart(server)
    arrive(one)
    assert [charged(server, address) for address in (one, two)] == [CHARGED, 0]
    arrive(two)
    assert [charged(server, address) for address in (one, two)] == [CHARGED, CHARGED]


def test_leases_have_time_to_be_renewed_after_the_server_was_killed(server: OutageServer) -> None:
    address = Address(server.url, "one")
    publish(address)
    arrive(address)
    assert not server.redis.exists(address.keys.of("calm"))
    restart(server)
    arrive(address)
    assert server.redis.exists(address.keys.of("calm"))


def test_who_may_not_ask_the_server_which_one_it_is_works_all_the_same(server: OutageServer) -> None:
    server.redis.acl_setuser("app", enabled=True, nopass=True, keys="*", channels="*", commands=["+@all", "-info"])
    address = Address(server.url.replace("redis://", "redis://app:x@"), "one")
    publish(address)
    arrive(address)
    server.redis.acl_setuser("app", enabled=True, commands=["+info", "-config"])
    arrive(address)
    assert server.redis.exists(address.keys.of("server"))
