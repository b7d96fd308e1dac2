"""Every service of docker-compose.yml as a process of this machine: its own command, its own environment and no other.

What is adapted: the host `redis` is 127.0.0.1, ports are free ones, files lie in the test's folder, and the workers
call the scripted provider.
"""

import base64
import http.client
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from compose_file import ROOT, filled, read, served
from waiting import until

from echelon_producers import Client
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.server_binary import find_server_binary

LOGIN = "someone:a-login"
PASSWORD = secrets.token_hex(24)
#: All workers start at once, on a machine that may be busy.
READY_S = 120.0
STOP_S = 60.0

Run = Callable[[str], "subprocess.Popen[bytes]"]


class Place:
    """Where the services run here, and their commands and environments as they are here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {inside: _free_port() for inside in (6379, 8000, 5555)}
        server, api, flower = self.ports.values()
        self._here = {
            "@redis:6379/": f"@127.0.0.1:{server}/",
            "port 6379": f"port {server}",
            "bind * -::*": "bind 127.0.0.1",
            "dir /data": f"dir {folder}",
            "/etc/valkey.conf": str(folder / "valkey.conf"),
            "/app/configs": str(ROOT / "configs"),
            "=0.0.0.0": "=127.0.0.1",
            "--port=8000": f"--port={api}",
            "--port=5555": f"--port={flower}",
            "127.0.0.1:8000/": f"127.0.0.1:{api}/",
            "127.0.0.1:5555/": f"127.0.0.1:{flower}/",
        }
        document = filled(read(), {"REDIS_PASSWORD": PASSWORD, "FLOWER_BASIC_AUTH": LOGIN})
        self.services: dict[str, Any] = document["services"]
        self.workers = {name: served(one["command"]) for name, one in self.services.items() if served(one["command"])}
        (folder / "valkey.conf").write_text(self._adapted(document["configs"]["valkey"]["content"]))
        (folder / "valkey-server").symlink_to(find_server_binary().path)

    @property
    def address(self) -> Address:
        """The server, for the test itself."""
        return Address(f"redis://:{PASSWORD}@127.0.0.1:{self.ports[6379]}/0")

    def run(self, name: str, command: list[str], out: Path) -> "subprocess.Popen[bytes]":
        """Start a command as in the container of the service."""
        path = f"{Path(sys.executable).parent}:{self.folder}:{os.defpath}"
        program = shutil.which(command[0], path=path)
        assert program, f"{command[0]} is not installed"
        given = {key: self._adapted(value) for key, value in self.services[name].get("environment", {}).items()}
        scripted = {
            "PYTHONPATH": str(ROOT / "tests"),
            "ECHELON_PROVIDERS": "scripted_provider:Providers",
            "SCRIPTED_ARRIVALS": str(self.folder / "arrivals"),
        }
        with out.open("ab") as log:
            return subprocess.Popen(
                [program, *map(self._adapted, command[1:])],
                env={"PATH": path, "HOME": str(self.folder), **given, **scripted},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def log(self, name: str) -> Path:
        """What a service said."""
        return self.folder / f"{name}.log"

    def is_healthy(self, name: str) -> bool:
        """Run the service's health check once."""
        kind, *command = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        return self.run(name, command, self.log(f"{name}-health")).wait(30) == 0

    def _adapted(self, text: str) -> str:
        for inside, here in self._here.items():
            text = text.replace(inside, here)
        return text


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("compose"))


@pytest.fixture(scope="module")
def run(place: Place) -> Iterator[Run]:
    """Starts a service; what still runs at the end is killed, the last one first."""
    with ExitStack() as stack:

        def start(name: str) -> "subprocess.Popen[bytes]":
            process = place.run(name, place.services[name]["command"], place.log(name))
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture(scope="module")
def client(place: Place, run: Run) -> Iterator[Client]:
    """A client of the cluster in which the server runs and the configuration is in force."""
    run("redis")
    with place.address.client(retries=0) as server:

        def answers() -> bool:
            try:
                return bool(server.ping())
            except (redis.ConnectionError, redis.BusyLoadingError):
                return False

        until(answers, what="the server answers")
        assert server.config_get("appendonly") == {"appendonly": "yes"}
    assert run("publish").wait(60) == 0, place.log("publish").read_text()
    with Client(place.address.url) as client:
        yield client


def test_the_server_lets_nobody_in_without_the_password(place: Place, client: Client) -> None:
    address = Address(f"redis://127.0.0.1:{place.ports[6379]}/0")
    with address.client(retries=0) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


def test_the_worker_services_together_answer_every_queue_and_stop_cleanly(
    place: Place, client: Client, run: Run
) -> None:
    queues = sorted(client.configuration().queues)
    workers = {name: run(name) for name in place.workers}

    def all_serve() -> bool:
        for name, process in workers.items():
            assert process.poll() is None, place.log(name).read_text()[-4000:]
        return sorted(queue for worker in client.cluster_status().workers for queue in worker.queues) == queues

    until(all_serve, timeout_s=READY_S, every_s=0.2, what="every queue is served by one worker")
    jobs = client.submit_many({"target": queue, "prompt": f"say {queue}"} for queue in queues)
    assert [client.result(job, READY_S).text for job in jobs] == queues
    for process in workers.values():
        process.send_signal(signal.SIGTERM)
    for name, process in workers.items():
        assert process.wait(STOP_S) == 0, place.log(name).read_text()[-4000:]
        assert PASSWORD not in place.log(name).read_text()


def test_the_api_becomes_healthy_and_stops_cleanly(place: Place, client: Client, run: Run) -> None:
    api = run("api")
    until(lambda: _ends(api, place, "api") or place.is_healthy("api"), timeout_s=60, what="the API is healthy")
    assert get(place.ports[8000], "/v1/status") == 200
    api.send_signal(signal.SIGTERM)
    assert api.wait(STOP_S) == 0


def test_flower_becomes_healthy_asks_for_the_login_and_stops_cleanly(place: Place, client: Client, run: Run) -> None:
    flower = run("flower")
    until(lambda: _ends(flower, place, "flower") or place.is_healthy("flower"), timeout_s=60, what="Flower is healthy")
    port = place.ports[5555]
    assert [get(port, path) for path in ("/", "/workers", "/api/workers", "/api/tasks")] == [401] * 4
    assert [get(port, path, LOGIN) for path in ("/workers", "/api/tasks")] == [200] * 2
    assert get(port, "/workers", "someone:else") == 401
    flower.send_signal(signal.SIGTERM)
    assert flower.wait(STOP_S) == 0
    assert PASSWORD not in place.log("flower").read_text()


def _ends(process: "subprocess.Popen[bytes]", place: Place, name: str) -> bool:
    assert process.poll() is None, place.log(name).read_text()
    return False


def get(port: int, path: str, login: str = "") -> int:
    """The status of a GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        basic = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"} if login else {}
        connection.request("GET", path, headers=basic)
        return connection.getresponse().status
    finally:
        connection.close()
