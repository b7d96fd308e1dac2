"""Workers of two versions side by side on the same queues: their scripts have other hashes, and the same ledger."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from worker_process import FAST, WorkerProcess, start_worker, write_configs

import echelon_workers
from echelon_configs import load
from echelon_producers import Client
from echelon_workers.ledger import revisions
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
def workers(address: Address, tmp_path: Path, other_version: Path) -> Iterator[list[WorkerProcess]]:
    """One worker of each version."""
    ledger = Ledger(address)
    revisions.publish(
        ledger, load(write_configs(tmp_path / "configs"), environment={"OPENAI_API_KEY": "k"}).configuration
    )
    ledger.close()
    path = os.pathsep.join([str(other_version), str(Path(__file__).parents[2])])
    started: list[WorkerProcess] = []
    try:
        started.append(start_worker(address, tmp_path / "this.log", OPENAI_API_KEY="k"))
        started.append(start_worker(address, tmp_path / "other.log", OPENAI_API_KEY="k", PYTHONPATH=path))
        yield started
    finally:
        for worker in started:
            worker.kill()


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
