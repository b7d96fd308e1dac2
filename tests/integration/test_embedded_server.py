"""The embedded server: shared, kept alive while it is held, stopped with the last holder, never orphaned."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kombu
import pytest
from waiting import until

from echelon_workers.ledger import server, server_guardian
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.server import ServerHold, ServerUnavailable, open_server
from echelon_workers.ledger.server_binary import find_server_binary
from echelon_workers.ledger.server_folder import ServerFolder, _command
from echelon_workers.ledger.server_lock import opened

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends a child with its parent on Linux only")

#: A process that holds the server of a folder until its input ends. `fork` and `run`: with a child that outlives it.
HOLDER = """
import os, pathlib, subprocess, sys
from echelon_workers.ledger.server import open_server
hold = open_server(pathlib.Path(sys.argv[1]))
children = []
if "fork" in sys.argv:
    children.append(os.fork())
    if not children[0]:
        os.execvp("sleep", ["sleep", "60"]) if "exec" in sys.argv else __import__("time").sleep(60)
if "run" in sys.argv:
    children.append(subprocess.Popen(["sleep", "60"]).pid)
print(int(hold.started), *children, flush=True)
sys.stdin.read()
if "close" in sys.argv:
    hold.close()
os._exit(0)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for a server, which must not have a guardian once the test is over."""
    path = tmp_path / "server"
    yield path
    if path.exists():
        until(lambda: not ServerFolder(path).has_guardian(), what="the guardian has left")


@contextlib.contextmanager
def holder(folder: Path, *words: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", HOLDER, str(folder), *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def said(process: "subprocess.Popen[str]") -> list[int]:
    assert process.stdout is not None
    return [int(word) for word in process.stdout.readline().split()]


def pid_of(hold: ServerHold) -> int:
    return int(asked(hold, "INFO", "server")["process_id"])


def asked(hold: ServerHold, *command: str) -> Any:
    with contextlib.closing(hold.address.client()) as client:
        return client.execute_command(*command)


def stat_of(pid: int) -> list[str]:
    """Fields 3 and on of /proc/PID/stat: state, parent, ...; a zombie is as good as gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["Z"]


def is_gone(pid: int) -> bool:
    if sys.platform == "linux":
        return stat_of(pid)[0] == "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def is_being_stopped(folder: Path) -> bool:
    with opened(folder / "holders") as lock:
        return not lock.try_shared()


def test_it_stops_with_its_last_holder_and_its_data_is_there_the_next_time(folder: Path) -> None:
    with open_server(folder) as first:
        pid = pid_of(first)
        with open_server(folder) as second:
            assert (first.started, second.started) == (True, False)
            assert second.address == first.address
            asked(second, "SET", "kept", "yes")
        assert asked(first, "GET", "kept") == b"yes"
    assert is_gone(pid)
    with open_server(folder) as third:
        assert third.started
        assert asked(third, "GET", "kept") == b"yes"


def test_it_is_set_up_to_keep_everything_and_to_be_reached_by_its_owner_only(folder: Path) -> None:
    with open_server(folder) as hold:
        wanted = {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "aof-use-rdb-preamble": "no",
            "maxmemory-policy": "noeviction",
            "port": "0",
        }
        with contextlib.closing(hold.address.client()) as client:
            assert {name: client.config_get(name)[name] for name in wanted} == wanted
        path = Path(json.loads((folder / "server.json").read_text())["socket"])
        assert path.stat().st_mode & 0o777 == 0o700
        assert path.parent.stat().st_mode & 0o777 == 0o700


def test_many_who_start_at_once_share_one_server(folder: Path) -> None:
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(holder(folder)) for _ in range(3)]
        with ThreadPoolExecutor(8) as threads:
            holds = list(threads.map(lambda _: stack.enter_context(open_server(folder)), range(8)))
        started = [said(process)[0] for process in processes] + [int(hold.started) for hold in holds]
        assert sum(started) == 1
        assert len({pid_of(hold) for hold in holds}) == 1


def test_closing_again_or_from_several_threads_is_harmless(folder: Path) -> None:
    other = open_server(folder)
    hold = open_server(folder)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: hold.close(), range(4)))
    assert asked(other, "PING")
    other.close()
    other.close()


def test_it_goes_when_every_holder_is_killed(folder: Path) -> None:
    with holder(folder) as first, holder(folder) as second:
        said(first)
        said(second)
        with open_server(folder) as hold:
            pid = pid_of(hold)
        assert not is_gone(pid)
        first.kill()
        second.kill()
        until(lambda: is_gone(pid), what="the server has gone with its holders")


@pytest.mark.parametrize("how", [("fork",), ("fork", "exec"), ("run",)], ids="-".join)
def test_a_child_that_outlives_its_parent_does_not_hold_it(folder: Path, how: tuple[str, ...]) -> None:
    with holder(folder, *how) as process:
        _, child = said(process)
        with open_server(folder) as hold:
            pid = pid_of(hold)
        try:
            process.kill()
            until(lambda: is_gone(pid), what="the server has gone with its holder")
            assert not is_gone(child)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_forked_child_that_closes_does_not_take_it_from_its_parent(folder: Path) -> None:
    program = """
import os, pathlib, sys
from echelon_workers.ledger.server import open_server
hold = open_server(pathlib.Path(sys.argv[1]))
child = os.fork()
hold.close()
if not child:
    os._exit(0 if hold.address.client().ping() else 1)
"""
    with open_server(folder) as hold:
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", program, str(folder)], timeout=30, check=False)
        assert done.returncode == 0
        assert asked(hold, "PING")


def test_who_comes_while_it_is_being_stopped_gets_a_new_one_with_the_data(folder: Path) -> None:
    with holder(folder) as last, ThreadPoolExecutor(1) as thread:
        said(last)
        with open_server(folder) as hold:
            asked(hold, "SET", "kept", "yes")
            pid = pid_of(hold)
        os.kill(pid, signal.SIGSTOP)  # it cannot leave until it is let go on
        try:
            last.kill()
            until(lambda: is_being_stopped(folder), what="the guardian is stopping the server")
            coming = thread.submit(open_server, folder)
            with pytest.raises(TimeoutError):
                coming.result(timeout=0.2)
        finally:
            os.kill(pid, signal.SIGCONT)
        with coming.result() as new:
            assert new.started
            assert pid_of(new) != pid
            assert asked(new, "GET", "kept") == b"yes"


def test_a_server_that_is_killed_is_started_again_with_its_data(folder: Path) -> None:
    with open_server(folder) as hold:
        asked(hold, "SET", "kept", "yes")
        for _ in range(2):
            pid = pid_of(hold)
            os.kill(pid, signal.SIGKILL)
            until(lambda: is_gone(pid), what="it has been killed")  # noqa: B023
            with open_server(folder) as joined:  # waits for the new one
                assert not joined.started
                assert pid_of(joined) != pid
                assert asked(joined, "GET", "kept") == b"yes"


@linux_only
def test_a_server_goes_with_a_killed_guardian_and_comes_back_at_its_address_with_the_next_holder(folder: Path) -> None:
    with open_server(folder) as hold:
        asked(hold, "SET", "kept", "yes")
        pid = pid_of(hold)
        os.kill(int(stat_of(pid)[1]), signal.SIGKILL)
        until(lambda: is_gone(pid), what="the server has gone with its guardian")
        with open_server(folder) as next_one:
            assert next_one.started
            assert asked(hold, "GET", "kept") == b"yes"


@linux_only
def test_a_guardian_that_is_told_to_end_stops_the_server_first(folder: Path) -> None:
    with open_server(folder) as hold:
        pid = pid_of(hold)
        guardian = int(stat_of(pid)[1])
        os.kill(guardian, signal.SIGTERM)
        until(lambda: is_gone(guardian), what="the guardian has gone")
        assert is_gone(pid)


@linux_only
@pytest.mark.parametrize("with_a_new_one", [True, False])
def test_a_server_without_a_guardian_is_replaced_or_stopped(folder: Path, with_a_new_one: bool) -> None:
    """As on macOS, where a killed guardian's server goes on; here it is one that the guardian did not start."""
    hold = open_server(folder)
    record = ServerFolder(folder).record()
    assert record is not None
    command = _command(find_server_binary(), record)
    os.kill(int(stat_of(pid_of(hold))[1]), signal.SIGKILL)
    until(lambda: server_guardian.answer(record.socket) == "none", what="the first server has gone")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as leftover:
        until(lambda: server_guardian.answer(record.socket) == "ready", what="the leftover answers")
        asked(hold, "SET", "kept", "yes")
        if with_a_new_one:
            with open_server(folder) as new:
                assert new.started
                assert pid_of(new) != leftover.pid
                assert asked(new, "GET", "kept") == b"yes"
        hold.close()
        assert leftover.wait(5) == 0


def test_a_folder_that_is_removed_under_it_can_be_opened_anew(folder: Path) -> None:
    old = open_server(folder)
    pid = pid_of(old)
    shutil.rmtree(folder)
    with open_server(folder) as new:
        assert new.started
        old.close()
        until(lambda: is_gone(pid), what="the server of the removed folder has gone")
        assert asked(new, "PING")  # by a new connection: its socket is still there
        assert pid_of(new) != pid


def test_a_copy_of_the_folder_is_a_server_of_its_own(folder: Path, tmp_path: Path) -> None:
    with open_server(folder) as hold:
        asked(hold, "SET", "kept", "yes")
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.sock"))
        with open_server(copy) as other:
            assert other.address != hold.address
            assert asked(other, "GET", "kept") == b"yes"


@pytest.mark.parametrize(
    "name", ["with spaces", "für-çöpy-数据", "quote's\"", "long-" * 25], ids=["spaces", "letters", "quotes", "long"]
)
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    with open_server(tmp_path / name / "server") as hold:
        asked(hold, "SET", "kept", "yes")
        with kombu.Connection(hold.address.broker_url) as connection:
            connection.ensure_connection(max_retries=1)
        path = Path(hold.address.broker_url.removeprefix("redis+socket://").partition("?")[0])
        assert path.is_socket()
    assert not path.parent.exists()  # nothing is left outside of the folder
    with open_server(tmp_path / name / "server") as hold:
        assert asked(hold, "GET", "kept") == b"yes"


def test_who_joins_finds_the_short_socket_path_whatever_their_own_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "with spaces"
    with open_server(folder) as first:
        (tmp_path / "tmp").mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
        with open_server(folder) as second:
            assert second.address == first.address


def test_a_folder_for_the_socket_that_others_can_enter_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with open_server(tmp_path / "with spaces") as hold:
        private = Path(hold.address.broker_url.removeprefix("redis+socket://").partition("?")[0]).parent
    assert private.parent == tmp_path.resolve()
    private.mkdir(mode=0o755)
    with pytest.raises(ServerUnavailable, match="not a folder of yours alone"):
        open_server(tmp_path / "with spaces")


@linux_only
def test_no_secret_of_the_cluster_reaches_the_server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with open_server(folder) as hold:
        pid = pid_of(hold)
        for process in (pid, int(stat_of(pid)[1])):
            assert b"sk-secret" not in Path(f"/proc/{process}/environ").read_bytes()


def test_a_tcp_port_is_opened_when_it_is_asked_for(folder: Path, free_port: int) -> None:
    with open_server(folder, port=free_port) as hold:
        with contextlib.closing(Address(f"redis://127.0.0.1:{free_port}/0").client()) as client:
            assert client.info("server")["process_id"] == pid_of(hold)
        with pytest.raises(ServerUnavailable, match=f"runs on port {free_port}: stop all"):
            open_server(folder, port=free_port + 1)
        with open_server(folder) as joined:
            assert joined.address == hold.address


def test_a_server_that_ends_when_it_is_started_is_quoted(folder: Path) -> None:
    with open_server(folder) as hold:
        asked(hold, "SET", "kept", "yes")
    data = next((folder / "appendonlydir").glob("*.incr.aof"))
    data.write_bytes(b"*3\r\n$3\r\nSET\r\nnonsense" + data.read_bytes())
    with pytest.raises(ServerUnavailable) as raised:
        open_server(folder)
    assert f"the server of {folder} ended when it was started" in str(raised.value)
    assert "Bad file format reading the append only file" in str(raised.value)
    assert str(folder / "server.log") in str(raised.value)


def test_a_port_that_is_taken_is_named(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ServerUnavailable, match=f"{taken.getsockname()[1]}: bind: Address already in use"):
            open_server(folder, port=taken.getsockname()[1])


@pytest.mark.parametrize("said_meanwhile", ["loading", "none"])
def test_a_server_that_reads_its_data_is_waited_for_and_a_silent_one_is_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch, said_meanwhile: str
) -> None:
    """Each look takes 10 s of a clock that the test moves; the server's own time is 15 s."""
    looks = iter(range(5))
    ahead_s = 0.0

    def answer(path: str) -> str:
        nonlocal ahead_s
        if next(looks, None) is None:
            return server_guardian.answer(path)
        ahead_s += 10
        return said_meanwhile

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + ahead_s, sleep=time.sleep)
    monkeypatch.setattr(server, "time", clock)
    monkeypatch.setattr(server, "server_guardian", SimpleNamespace(answer=answer))
    if said_meanwhile == "loading":
        open_server(folder).close()
    else:
        with pytest.raises(ServerUnavailable, match="was silent for 15 s"):
            open_server(folder)
