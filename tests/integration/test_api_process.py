"""The HTTP API without Redis, and as the process that a user starts."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any

import pytest
from asgi import asked, error_of, waiting_jobs
from byhand import QUEUES, answering
from waiting import until

from echelon_producers.api import waiting
from echelon_workers.ledger.address import Address

QUEUE = QUEUES[0]
ONE = {"target": QUEUE, "prompt": "hello"}


PATHS = [("POST", "/v1/jobs"), ("GET", "/v1/jobs/j1"), ("GET", "/v1/status"), ("GET", "/readyz")]


class TestWithoutRedis:
    @pytest.mark.parametrize(("method", "path"), PATHS)
    def test_it_says_so_and_when_to_try_again(self, method: str, path: str) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            nowhere = Address(f"redis://:hidden-word@127.0.0.1:{taken.getsockname()[1]}/0")
            began = time.monotonic()
            reply = asked(nowhere, method, path, ONE)
            assert time.monotonic() - began < 5
            assert (reply.status, error_of(reply)["code"]) == (503, "unavailable")
            assert int(reply.headers["retry-after"]) > 0
            assert b"hidden-word" not in reply.body
            assert asked(nowhere, "GET", "/healthz").status == 200

    @pytest.mark.parametrize(("method", "path"), PATHS)
    def test_a_server_that_never_answers_is_given_up(
        self, method: str, path: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(waiting, "REDIS_S", 0.3)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            began = time.monotonic()
            reply = asked(Address(f"redis://127.0.0.1:{silent.getsockname()[1]}/0"), method, path, ONE)
            assert time.monotonic() - began < 5
        assert (reply.status, error_of(reply)["code"]) == (503, "unavailable")

    @pytest.mark.parametrize(("body", "many"), [(ONE, 1), ({**ONE, "id": "j1"}, 1), ({"jobs": [ONE, "x", ONE]}, 3)])
    def test_the_ids_to_send_it_again_with_are_told(
        self, body: dict[str, Any], many: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(waiting, "REDIS_S", 0.3)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            reply = asked(Address(f"redis://127.0.0.1:{silent.getsockname()[1]}/0"), "POST", "/v1/jobs", body)
        told = error_of(reply)["job_ids"]
        assert (reply.status, len(set(told))) == (503, many)
        assert told == [body["id"]] if "id" in body else all(told)


class Process:
    """`python -m echelon_producers.api`, as a user starts it."""

    def __init__(self, address: Address, *options: str) -> None:
        told = {"ECHELON_REDIS_URL": address.url, "ECHELON_NAMESPACE": address.namespace}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "echelon_producers.api", "--port", "0", *options],
            env={**os.environ, **told},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        self.url = self.line.removeprefix("api: ").strip()

    def ask(self, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, json.loads(reply.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def stop(self, sign: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(sign)
        _, said = self.process.communicate(timeout=15)
        return self.process.returncode, said

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


class TestAsAProcess:
    def test_it_serves_and_stops_without_a_word(self, published: Address) -> None:
        with Process(published) as api:
            assert api.line.startswith("api: http://127.0.0.1:")
            assert api.ask("/healthz") == (200, {"status": "alive"})
            with answering(published):
                status, job = api.ask("/v1/jobs", ONE, prefer="wait=20")
            assert (status, job["answer"]["text"]) == (200, "answer to: hello")
            assert api.ask("/v1/jobs", b" " * (32 * 1024 * 1024 + 1))[0] == 413
            assert api.stop() == (0, "")

    def test_who_waits_when_it_stops_is_told_how_far_the_job_is(self, published: Address) -> None:
        with Process(published) as api:
            host, port = api.url.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port)), timeout=20) as caller:
                body = json.dumps(ONE).encode()
                head = f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nPrefer: wait=300\r\nContent-Length: {len(body)}\r\n\r\n"
                caller.sendall(head.encode() + body)
                until(lambda: waiting_jobs(published) == 1, what="the job is accepted")
                began = time.monotonic()
                code, said = api.stop(signal.SIGINT)
                assert (code, said) == (0, "")
                assert time.monotonic() - began < 5
                reply = b"".join(iter(lambda: caller.recv(65536), b""))
            assert reply.startswith(b"HTTP/1.1 202")
            assert b'"state":"queued"' in reply

    def test_a_port_in_use_is_said_on_one_line(self, published: Address) -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as taken,
            Process(published, "--port", str(taken.getsockname()[1])) as api,
        ):
            assert api.line == ""
            _, said = api.process.communicate(timeout=15)
            assert api.process.returncode == 1
            assert said.startswith("api: cannot listen on 127.0.0.1:")
            assert len(said.splitlines()) == 1

    def test_without_a_redis_the_variables_are_named(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "echelon_producers.api"], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 2
        assert "ECHELON_REDIS_URL" in done.stderr
        assert len(done.stderr.splitlines()) == 1
