"""`echelon up --simulate` and the commands beside it, as real processes in one folder."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from echelon_configs.starter import write_starter

ECHELON = [sys.executable, "-m", "echelon_producers"]


class Up:
    """A cluster that runs in a folder."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.output = folder / f"up-{'-'.join(options) or 'plain'}.txt"
        with self.output.open("wb") as out:
            self.process = subprocess.Popen(
                [*ECHELON, "up", "--simulate", "--slots", "20", *options],
                cwd=folder,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        until(lambda: "ready: " in self.said or self.process.poll() is not None, timeout_s=40, what="it is up")
        assert self.process.poll() is None, self.said

    @property
    def said(self) -> str:
        return self.output.read_text()

    def told(self, name: str) -> str:
        """What the table says of a part."""
        return next(line.split()[1] for line in self.said.splitlines() if line.startswith(f"{name} "))

    def children(self) -> list[int]:
        """The processes that it has started and that run, other than the server's guardian."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if int(parent) == self.process.pid and state != "Z":
                found.append(int(stat.parent.name))
        return found

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def cluster(*options: str) -> Iterator[Up]:
    # A short path: the server's socket has to fit into one.
    with tempfile.TemporaryDirectory(prefix="echelon-test-") as name:
        folder = Path(name)
        write_starter(folder / "configs")
        up = Up(folder, *options)
        try:
            yield up
        finally:
            if up.process.poll() is None:
                up.process.kill()
                up.process.wait(10)
            until(lambda: not (folder / ".echelon" / "s.sock").exists(), what="the server has stopped")


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    with cluster("--api-port", "0", "--flower-port", "0", "--workers", "2") as up:
        yield up


def echelon(up: Up, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*ECHELON, *arguments], cwd=up.folder, input=stdin, capture_output=True, text=True, timeout=30, check=False
    )


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.read().decode()


def test_a_job_from_the_command_line_is_answered(up: Up) -> None:
    ended = echelon(up, "submit", "node.planning_node", "-", "--wait", "--json", stdin="Wie plane ich ein Fest?")
    assert ended.returncode == 0, ended.stderr
    record = json.loads(ended.stdout)
    assert record["queue"] == "plan_group.echelon1"
    assert "Wie plane ich ein Fest?" in record["answer"]["text"]


def test_a_job_that_dies_tells_every_attempt(up: Up) -> None:
    ended = echelon(up, "submit", "fast_group.echelon2", "[[sim:fault=503]] hi", "--wait")
    assert ended.returncode == 1
    lines = ended.stderr.splitlines()
    assert len(lines) >= 3
    assert all(line.startswith(f"attempt {number}: ") for number, line in enumerate(lines[:-1], 1))
    assert " is dead: " in lines[-1]


def test_a_whole_file_is_answered(up: Up) -> None:
    lines = [{"prompt": f"number {number}"} for number in range(200)]
    (up.folder / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "{\n")
    ended = echelon(up, "run", "in.jsonl", "--target", "fast_small_group.execute", "--out", "out.jsonl", "--json")
    assert ended.returncode == 1
    totals = json.loads(ended.stdout)
    assert (totals["answered"], totals["failed"], totals["wrong_lines"]) == (200, 0, 1)
    assert "line 201: not JSON" in ended.stderr
    answers = [json.loads(line) for line in (up.folder / "out.jsonl").read_text().splitlines()]
    assert {answer["custom_id"] for answer in answers} == {f"line-{number}" for number in range(1, 201)}


def test_the_http_api_answers(up: Up) -> None:
    assert get(f"{up.told('api')}/healthz")
    body = json.dumps({"target": "fast_group", "prompt": "hello"}).encode()
    request = urllib.request.Request(f"{up.told('api')}/v1/jobs", data=body, headers={"Prefer": "wait=10"})
    request.add_header("content-type", "application/json")
    with urllib.request.urlopen(request, timeout=15) as response:
        assert json.loads(response.read())["state"] == "answered"


def test_flower_shows_the_workers_and_each_echelon_by_name(up: Up) -> None:
    echelon(up, "submit", "review_group.echelon3", "Is this right?", "--wait")
    assert "worker1." in get(f"{up.told('flower')}/workers")
    until(lambda: "review_group.echelon3" in get(f"{up.told('flower')}/tasks/datatable?{DATATABLE}"), what="the task")
    for queue in ("fast_group.echelon1", "fast_small_group.translation", "pool.single_turn_pool", "model.gemini-pro"):
        until(lambda queue=queue: f"<td>{queue}</td>" in get(f"{up.told('flower')}/broker"), what=f"{queue} is shown")  # type: ignore[misc]


#: What Flower's own page asks for.
DATATABLE = (
    "draw=1&start=0&length=50&search%5Bvalue%5D=&order%5B0%5D%5Bcolumn%5D=0&order%5B0%5D%5Bdir%5D=desc"
    "&columns%5B0%5D%5Bdata%5D=name"
)


def test_status_counts_both_workers(up: Up) -> None:
    def both_serve_all() -> bool:
        status = json.loads(echelon(up, "status", "--json").stdout)
        counts = [len(worker["queues"]) for worker in status["workers"]]
        return counts == [len(status["queues"])] * 2

    until(both_serve_all, what="both workers have said what they serve")


def test_a_worker_from_the_command_line_joins_and_leaves(up: Up) -> None:
    environment = {**os.environ, "ECHELON_SIMULATOR_URL": up.told("simulator")}
    with subprocess.Popen(
        [*ECHELON, "worker", "fast_group.echelon1", "--name", "mine"],
        cwd=up.folder,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    ) as worker:
        until(lambda: "mine@" in echelon(up, "status", "--json").stdout, every_s=0.2, what="it has joined")
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=20)
    assert worker.returncode == 0
    until(lambda: "mine@" not in echelon(up, "status", "--json").stdout, every_s=0.2, what="it has left")


def test_a_port_that_was_asked_for_and_is_in_use_is_wrong_input(up: Up) -> None:
    port = up.told("api").rpartition(":")[2]
    ended = echelon(up, "up", "--simulate", "--api-port", port)
    assert ended.returncode == 2
    assert (
        ended.stderr
        == f"echelon: port {port} is in use (would be right: another --api-port, or 0 for any that is free)\n"
    )


def test_a_worker_that_is_killed_is_started_again(up: Up) -> None:
    status = json.loads(echelon(up, "status", "--json").stdout)
    killed = next(worker["pid"] for worker in status["workers"] if worker["hostname"].startswith("worker2."))
    os.kill(killed, signal.SIGKILL)

    def is_back() -> bool:
        workers = json.loads(echelon(up, "status", "--json").stdout)["workers"]
        return any(w["hostname"].startswith("worker2.") and w["pid"] != killed for w in workers)

    until(is_back, every_s=0.2, timeout_s=20, what="it is back")
    assert "worker2 ended by SIGKILL; it is started again in 0.5 s" in up.said


@pytest.mark.skipif(sys.platform != "linux", reason="it looks at /proc")
def test_one_signal_stops_everything(up: Up) -> None:
    """The last test of this cluster."""
    children = up.children()
    assert len(children) == 5
    assert up.stop() == 0
    assert up.said.endswith("stopped: nothing is left running\n")
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    assert not (up.folder / ".echelon" / "s.sock").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="it looks at /proc")
def test_nothing_is_left_when_up_itself_is_killed() -> None:
    with cluster("--no-flower", "--api-port", "0") as up:
        children = up.children()
        assert len(children) == 3
        up.process.kill()
        until(lambda: not [pid for pid in children if Path(f"/proc/{pid}").exists()], what="all have gone")


@pytest.mark.parametrize("arguments", [["up"], ["worker"]])
def test_a_setting_in_the_environment_that_is_wrong_is_told(arguments: list[str], tmp_path: Path) -> None:
    write_starter(tmp_path / "configs")
    environment = {**os.environ, "ECHELON_LEASE_S": "soon"}
    ended = subprocess.run(
        [*ECHELON, *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert "echelon: ECHELON_LEASE_S='soon': not a number" in ended.stderr
    assert "Traceback" not in ended.stderr
