"""A server that is there and refuses: full, read-only, unable to write its disk, or still loading."""

import asyncio
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from byhand import QUEUES, publish
from waiting import until

from echelon_producers import AsyncClient, Client, Unavailable
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.server_binary import find_server_binary

QUEUE = QUEUES[0]
JOBS = [{"prompt": "x", "id": f"j{number}"} for number in range(600)]


@pytest.fixture
def server(tmp_path: Path, free_port: int) -> Iterator[redis.Redis]:
    """A server of this test's own."""
    options = (
        "--port",
        str(free_port),
        "--bind",
        "127.0.0.1",
        "--dir",
        str(tmp_path),
        "--save",
        "",
        "--logfile",
        "log",
    )
    command = [str(find_server_binary().path), *options]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True) as process:
        with redis.Redis(port=free_port) as client:
            until(lambda: _answers(client), what="the server answers")
            yield client
        process.kill()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def fill(server: redis.Redis) -> None:
    server.config_set("maxmemory", 1)


def replicate(server: redis.Redis) -> None:
    server.replicaof("127.0.0.1", 1)


def break_disk(server: redis.Redis) -> None:
    Path(str(server.config_get("dir")["dir"]), "dump.rdb").mkdir()
    server.config_set("save", "3600 1")
    server.bgsave()
    until(lambda: server.info("persistence")["rdb_last_bgsave_status"] == "err", what="the snapshot fails")


def mend(server: redis.Redis) -> None:
    server.config_set("maxmemory", 0)
    server.config_set("save", "")
    server.replicaof("NO", "ONE")


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (fill, r"its memory is full: .*\(would be right: try again when"),
        (replicate, r"it is a read-only replica: .*\(would be right: the URL of its primary"),
        (break_disk, r"it cannot write its disk: .*\(would be right: room on its disk"),
    ],
)
def test_nothing_is_half_submitted_and_the_same_ids_go_on_when_it_is_mended(
    server: redis.Redis, spoil: Callable[[redis.Redis], None], what: str
) -> None:
    address = Address(f"redis://127.0.0.1:{server.connection_pool.connection_kwargs['port']}/0")
    publish(address)
    with Client(address.url) as producer:
        producer.submit_many(JOBS[:2], target=QUEUE)
        spoil(server)
        began = time.monotonic()
        with pytest.raises(Unavailable, match=what) as caught:
            producer.submit_many(JOBS, target=QUEUE)
        assert time.monotonic() - began < 2
        assert caught.value.job_ids == tuple(job["id"] for job in JOBS)
        assert producer.status("j0").state == "queued", "reading goes on"
        assert server.llen(QUEUE) == 2
        mend(server)
        producer.submit_many(JOBS, target=QUEUE)
        assert server.llen(QUEUE) == len(JOBS)


def test_jobs_are_cancelled_in_a_server_that_is_full(server: redis.Redis) -> None:
    address = Address(f"redis://127.0.0.1:{server.connection_pool.connection_kwargs['port']}/0")
    publish(address)
    with Client(address.url) as producer:
        job = producer.submit(QUEUE, "hello")
        fill(server)
        assert producer.cancel(job) == "cancelled"


@contextmanager
def saying(reply: bytes) -> Iterator[str]:
    """The URL of a server that answers everything so."""

    class Answer(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.request.recv(65536):
                self.wfile.write(reply)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answer) as fake:
        fake.daemon_threads = True
        thread = threading.Thread(target=fake.serve_forever)
        thread.start()
        try:
            yield f"redis://127.0.0.1:{fake.server_address[1]}/0"
        finally:
            fake.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("reply", "what"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", "it still loads its data"),
        (b"-NOAUTH Authentication required.\r\n", "it does not accept the user or the password"),
        (b"-ERR max number of clients reached\r\n", "max number of clients reached"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "cannot be used"),
    ],
)
def test_one_that_lets_nobody_in_is_said_so_within_seconds(reply: bytes, what: str) -> None:
    async def main(url: str) -> None:
        async with AsyncClient(url) as producer:
            await producer.status("j1")

    with saying(reply) as url:
        calls: list[Callable[[], Any]] = [lambda: Client(url).status("j1"), lambda: asyncio.run(main(url))]
        for call in calls:
            began = time.monotonic()
            with pytest.raises(Unavailable, match=what):
                call()
            assert time.monotonic() - began < 5
