"""The examples, started as a user starts them; jobs are answered by hand."""

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from byhand import answering, publish
from waiting import until

from echelon_workers.ledger.address import Address

EXAMPLES = Path(__file__).parents[2] / "producers" / "examples"


@pytest.fixture
def cluster(redis_url: str) -> Iterator[Address]:
    """A database of its own instead of a namespace, because plain Celery knows nothing of namespaces."""
    address = Address(redis_url.removesuffix("/0") + "/9")
    with redis.Redis.from_url(address.url) as client:
        client.flushdb()
    publish(address)
    with answering(address):
        yield address


@contextmanager
def started(cluster: Address, *command: str) -> Iterator[str]:
    """A web app in the folder of the examples; the URL where it listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    process = subprocess.Popen(
        [sys.executable, "-m", *command, "--port", port],
        cwd=EXAMPLES,
        env={**os.environ, "ECHELON_REDIS_URL": cluster.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        until(lambda: process.poll() is not None or listens(port), timeout_s=40, what="it listens")
        assert process.poll() is None, process.communicate()[0]
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=15)


def listens(port: str) -> bool:
    try:
        socket.create_connection(("127.0.0.1", int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def ask(url: str, body: object = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.mark.parametrize(
    "command", [("uvicorn", "fastapi_app:app"), ("flask", "--app", "flask_app", "run")], ids=["fastapi", "flask"]
)
def test_a_web_app_submits_a_job_and_reads_its_answer(cluster: Address, command: tuple[str, ...]) -> None:
    with started(cluster, *command) as url:
        status, accepted = ask(f"{url}/summaries", {"text": "Queues let work wait."})
        assert status == 202
        status, summary = ask(f"{url}/summaries/{accepted['job']}")
        assert (status, summary["done"]) == (200, True)
        assert summary["summary"] == "answer to: Summarise in one sentence: Queues let work wait."
        assert ask(f"{url}/summaries/no-such-job")[0] == 404


def test_a_plain_celery_project_gets_its_answers(cluster: Address) -> None:
    done = subprocess.run(
        [sys.executable, "celery_project.py", "Why is the sky blue?", "And the sea?"],
        cwd=EXAMPLES,
        env={**os.environ, "ECHELON_REDIS_URL": cluster.url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "answer to: Why is the sky blue?" in done.stdout
    assert "answer to: And the sea?" in done.stdout


def test_the_celery_project_imports_nothing_of_ours() -> None:
    assert "echelon_" not in (EXAMPLES / "celery_project.py").read_text()
