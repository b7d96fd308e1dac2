"""What a cluster's processes are made of: their logs, their ports, their commands."""

import os
import socket
from pathlib import Path

import pytest

from echelon_producers.cluster import log as log_module
from echelon_producers.cluster.log import Log
from echelon_producers.cluster.parts import Place, api_part, flower_part, worker_part
from echelon_producers.cluster.ports import PortTaken, choose_port
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger

SECRET = "redis://:hunter2@127.0.0.1:1/0"


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_a_log_tells_whole_lines_once(tmp_path: Path) -> None:
    log = Log(tmp_path / "logs" / "worker1.log")
    os.close(log.open())
    append(log.path, "größer\nhal")
    assert log.news() == ["größer"]
    assert log.news() == []
    append(log.path, "f\n\n")
    assert log.news() == ["half", ""]
    assert log.last_lines() == ["größer", "half"]


def test_a_log_begins_where_the_process_begins(tmp_path: Path) -> None:
    path = tmp_path / "worker1.log"
    path.write_text("of another life\n")
    log = Log(path)
    append(path, "of this one\n")
    assert log.text() == "of this one\n"
    assert log.news() == ["of this one"]
    assert path.stat().st_mode & 0o777


def test_a_log_stays_bounded_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "MOST_BYTES", 10)
    log = Log(tmp_path / "worker1.log")
    writer = log.open()
    os.write(writer, b"short\n")
    log.trim()
    assert log.path.read_bytes() == b"short\n"
    os.write(writer, b"too long by now\n")
    log.trim()
    os.write(writer, b"new\n")
    os.close(writer)
    assert (tmp_path / "worker1.log.1").read_bytes() == b"short\ntoo long by now\n"
    assert log.path.read_bytes() == b"new\n"
    assert log.news() == ["new"]


def test_a_port_in_use_is_replaced_unless_it_was_asked_for() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert choose_port(port, asked=False, option="--api-port") > port
        with pytest.raises(PortTaken, match=rf"port {port} is in use \(would be right: another --api-port"):
            choose_port(port, asked=True, option="--api-port")
    assert choose_port(port, asked=True, option="--api-port") == port
    assert choose_port(0, asked=True, option="--api-port") > 0


def test_no_secret_stands_on_a_command_line() -> None:
    place = Place(address=Address(SECRET, "space"), configs=Path("configs"), simulator_url="http://s")
    ledger = Ledger(place.address)
    worker = worker_part(place, ledger, "worker1", slots=7, queues=["fast_group.echelon1", "model.m"])
    for part in (worker, api_part(place, 8000), flower_part(place, 5555)):
        assert "hunter2" not in " ".join(part.arguments)
        assert part.environment["ECHELON_REDIS_URL"] == SECRET
        assert part.environment["ECHELON_NAMESPACE"] == "space"
        assert part.environment["ECHELON_SIMULATOR_URL"] == "http://s"
    assert worker.environment["ECHELON_SLOTS"] == "7"
    assert "--queues=fast_group.echelon1,model.m" in worker.arguments
    ledger.close()
