"""The processes of a cluster: started, watched, stopped, and never left behind."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import until

from echelon_producers.cluster import cluster as cluster_module
from echelon_producers.cluster.cluster import Cluster
from echelon_producers.cluster.interrupts import Interrupts
from echelon_producers.cluster.process import Part, Process, ProcessFailed
from echelon_producers.cluster.ready import announces, answers_at

#: Says that it is there, and notes what it is told; `stubborn` goes on all the same.
ACTOR = """
import signal, sys, time
name, notes, *manners = sys.argv[1:]

def note(number, frame):
    with open(notes, "a") as file:
        print(name, signal.Signals(number).name, file=file)
    if "stubborn" not in manners or number == signal.SIGQUIT:
        sys.exit(0)

signal.signal(signal.SIGTERM, note)
signal.signal(signal.SIGQUIT, note)
print("ready", flush=True)
if "short-lived" in manners:
    sys.exit("out of breath")
while True:
    time.sleep(0.05)
"""


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "actor.py").write_text(ACTOR)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "notes"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def cluster(tmp_path: Path, said: list[str]) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path / "logs", said.append)
    yield cluster
    for process in cluster:
        process.send(signal.SIGKILL)
    until(lambda: not any(process.runs for process in cluster), what="everything is stopped")


def has_said(process: Process) -> str:
    return "yes" if "ready" in process.log.text() else ""


def actor(name: str, notes: Path, *manners: str, revives: bool = False, stop_s: float = 5.0) -> Part:
    arguments = ("actor", name, str(notes), *manners)
    return Part(name=name, arguments=arguments, ready=has_said, works=revives, revives=revives, stop_s=stop_s)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_process_is_ready_when_it_answers(cluster: Cluster) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    arguments = ("http.server", "--bind", "127.0.0.1", str(port))
    (server,) = cluster.start([Part(name="server", arguments=arguments, ready=answers_at(url, "/"))])
    assert server.told == url
    assert os.getsid(server.pid) == server.pid


def test_a_process_that_announces_its_address_is_asked_there(cluster: Cluster) -> None:
    arguments = ("echelon_producers.simulator", "--port", "0")
    part = Part(name="simulator", arguments=arguments, ready=announces("simulator", "/_sim/ready"))
    (simulator,) = cluster.start([part])
    assert simulator.told.startswith("http://127.0.0.1:")


def test_a_process_that_does_not_come_up_is_quoted(cluster: Cluster, notes: Path) -> None:
    never = Part(name="api", arguments=("actor", "api", str(notes), "short-lived"), ready=lambda _: "")
    with pytest.raises(ProcessFailed, match=r"api ended with exit code 1\n  api: ready\n  api: out of breath\n"):
        cluster.start([never])


def test_a_process_that_is_never_ready_is_given_up(
    cluster: Cluster, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echelon_producers.cluster.process.READY_S", 0.2)
    never = Part(name="api", arguments=("actor", "api", str(notes)), ready=lambda _: "")
    with pytest.raises(ProcessFailed, match=r"api was not ready after 0.2 s"):
        cluster.start([never])


def test_a_wish_for_an_end_ends_the_waiting(cluster: Cluster, notes: Path) -> None:
    never = Part(name="api", arguments=("actor", "api", str(notes)), ready=lambda _: "")
    wishes = iter([0, 0, 1])
    (process,) = cluster.start([never], urgency=lambda: next(wishes))
    assert process.told == ""
    assert cluster.start([never], urgency=lambda: 1) == []


def test_workers_stop_first_and_the_first_started_last(cluster: Cluster, notes: Path) -> None:
    cluster.start([actor("simulator", notes)])
    cluster.start([actor("worker1", notes, revives=True), actor("api", notes), actor("flower", notes)])
    cluster.stop()
    assert notes.read_text().splitlines() == [f"{name} SIGTERM" for name in ("worker1", "flower", "api", "simulator")]
    assert [process.exit_code for process in cluster] == [0, 0, 0, 0]


def test_a_second_wish_hastens_and_a_third_one_kills(cluster: Cluster, notes: Path, said: list[str]) -> None:
    def urgency() -> int:
        """Another wish each time that the last one has been heard of."""
        heard = notes.read_text().count("SIG") if notes.exists() else 0
        return 1 + (heard >= 1) + (heard >= 3)

    cluster.start([actor("worker1", notes, "stubborn", revives=True), actor("api", notes, "stubborn")])
    cluster.stop(urgency=urgency)
    heard = ["worker1 SIGTERM", "worker1 SIGQUIT", "api SIGTERM"]
    assert notes.read_text().splitlines()[:3] == heard
    assert [process.exit_code for process in cluster] == [0, -signal.SIGKILL]
    assert "api is killed" in said


def test_a_process_that_does_not_stop_in_time_is_killed(cluster: Cluster, notes: Path, said: list[str]) -> None:
    cluster.start([actor("api", notes, "stubborn", stop_s=0.2)])
    cluster.stop()
    assert said[-1] == "api is killed"


def test_a_worker_that_dies_is_started_again_and_others_are_told_of(
    cluster: Cluster, notes: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "FIRST_BACK_OFF_S", 0.05)
    worker, api = cluster.start([actor("worker1", notes, revives=True), actor("api", notes)])
    first = worker.pid
    worker.send(signal.SIGKILL)
    api.send(signal.SIGKILL)

    def looked() -> bool:
        cluster.look()
        return worker.pid != first and worker.runs and len(said) >= 2

    until(looked, what="the worker runs again")
    assert sorted(line.partition("\n")[0] for line in said) == [
        "api ended by SIGKILL; it is not restarted",
        "worker1 ended by SIGKILL; it is started again in 0.05 s",
    ]
    assert not api.runs


def test_a_worker_that_dies_again_and_again_is_given_more_and_more_time(
    cluster: Cluster, notes: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "FIRST_BACK_OFF_S", 0.05)
    arguments = ("actor", "worker1", str(notes), "short-lived")
    cluster.start([Part(name="worker1", arguments=arguments, ready=lambda _: "yes", revives=True)])

    def died_three_times() -> bool:
        cluster.look()
        return len(said) >= 3

    until(died_three_times, what="it died three times")
    waits = [line.partition("started again in ")[2].partition(" s")[0] for line in said[:3]]
    assert waits == ["0.05", "0.1", "0.2"]
    assert "out of breath" in said[0]


def test_with_verbose_every_line_is_shown_with_its_process(tmp_path: Path, notes: Path, said: list[str]) -> None:
    cluster = Cluster(tmp_path / "logs", said.append, verbose=True)
    cluster.start([actor("worker1", notes)])
    cluster.stop()
    assert said == ["worker1 | ready"]


def test_signals_are_counted_and_change_nothing_else() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts() as wishes:
        assert not wishes.wait(0)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)
        assert wishes.wait(5)
        until(lambda: wishes() == 3, what="all are counted")
    assert signal.getsignal(signal.SIGTERM) is before


#: Starts a child that heeds no SIGTERM, tells its process id, and waits to be killed.
PARENT = """
import os, subprocess, sys
environment = {**os.environ, "ECHELON_PARENT_PID": str(os.getpid())}
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], env=environment, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""
CHILD = """
import signal, time
from echelon_producers.cluster import lifeline
lifeline.GRACE_S = 0.2
signal.signal(signal.SIGTERM, signal.SIG_IGN)
lifeline.hold()
print("ready", flush=True)
time.sleep(60)
"""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # One that has ended and that nobody waits for is still there, as a zombie.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("heeds", [True, False])
def test_a_child_does_not_outlive_its_parent(heeds: bool) -> None:
    code = CHILD.replace("signal.SIG_IGN", "signal.SIG_DFL") if heeds else CHILD
    with subprocess.Popen([sys.executable, "-c", PARENT, code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.kill()
    until(lambda: not is_alive(child), timeout_s=5, what="the child is gone")


def test_a_child_whose_parent_has_gone_already_ends_at_once() -> None:
    code = "from echelon_producers.cluster import lifeline; lifeline.hold(); print('it went on')"
    ended = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "ECHELON_PARENT_PID": "1"}, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout) == (1, "")
