"""Workers of two versions side by side on the same queues: their scripts have other hashes, and the same ledger."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from waiting import until
from worker_process import FAST, Start, WorkerProcess

import echelon_workers
from echelon_producers import Client
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.scripts import script


@pytest.fixture
def other_version(tmp_path: Path) -> Path:
    """A copy of the workers' code in which every script has another text, as after an upgrade."""
    copy = tmp_path / "other"
    package = Path(echelon_workers.__file__).parent
    shutil.copytree(package, copy / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / package.name / "ledger" / "lua" / "parts" / "time.lua").open("a") as time:
        time.write("-- another version\n")
    return copy


@pytest.fixture
def workers(start: Start, other_version: Path) -> list[WorkerProcess]:
    """One worker of each version."""
    path = os.pathsep.join([str(other_version), str(Path(__file__).parents[2])])
    return [start(name="this"), start(name="other", PYTHONPATH=path)]


def sha_of_take(version: Path) -> str:
    program = "from echelon_workers.ledger.scripts import script; print(script('take').sha)"
    environment = {**os.environ, "PYTHONPATH": str(version)}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_both_versions_work_on_the_same_queue_and_one_takes_over_what_the_other_gives_back(
    workers: list[WorkerProcess], other_version: Path, address: Address
) -> None:
    with Client(address.url, namespace=address.namespace) as client:
        ids = client.submit_many([f"question {number}" for number in range(200)], target=FAST)
        for worker in workers[:1]:
            worker.send(signal.SIGQUIT)  # gives back what it holds
        answers = [client.result(id, timeout_s=30) for id in ids]
        assert len(answers) == 200
        names = {client.status(id).worker.partition("@")[0] for id in ids}
        assert "other" in names
        known = client._ledger.redis.script_exists(script("take").sha, sha_of_take(other_version))
        assert known == [True, True]
        more = client.submit_many([f"more {number}" for number in range(50)], target=FAST)
        assert all(client.result(id, timeout_s=30).text for id in more)
        status = client.cluster_status()
        assert (status.totals.answered, status.totals.running, status.totals.waiting) == (250, 0, 0)
        assert all(scope.in_use == 0 for scope in status.scopes)


def put_in_force(ledger: Ledger, document: dict[str, Any]) -> int:
    """As a version would that knows more than this one, or less."""
    keys = ledger.keys
    ledger.redis.hset(keys.of("revision"), mapping={"document": json.dumps(document), "digest": "other"})
    number = int(ledger.redis.hincrby(keys.of("revision"), "number", 1))
    ledger.redis.publish(keys.of("published"), str(number))
    return number


def test_a_configuration_of_a_newer_version_is_followed_without_what_is_new_in_it(
    start: Start, client: Client, ledger: Ledger
) -> None:
    worker = start()
    document = json.loads(ledger.redis.hget(ledger.keys.of("revision"), "document") or "")
    document["of_tomorrow"] = document["defaults"]["of_tomorrow"] = {"any": "thing"}
    number = put_in_force(ledger, document)
    until(lambda: f"revision {number} of the configuration is in force" in worker.output(), what="it follows")
    assert client.result(client.submit(FAST, "say on"), 20).text == "on"


def test_a_configuration_that_cannot_be_read_leaves_the_one_before_in_force_in_the_worker(
    start: Start, client: Client, ledger: Ledger
) -> None:
    worker = start()
    client.configuration()
    number = put_in_force(ledger, {"queues": 7})
    until(lambda: f"revision {number} of the configuration cannot be read here" in worker.output(), what="it says so")
    assert client.result(client.submit(FAST, "say on"), 20).text == "on"
