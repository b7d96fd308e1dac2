"""The cluster through pytest-celery's own API: ready, killed, restarted, and its broker restarted."""

import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celery.result import AsyncResult
from pytest_celery import CeleryTestSetup
from waiting import until
from worker_process import FAST, SLOW

pytestmark = pytest.mark.nodes

Arrivals = Callable[[], Counter[str]]
ANSWER_S = 60.0


@pytest.fixture
def arrivals(tmp_path: Path) -> Arrivals:
    """How many calls arrived for each job, counted by the provider."""
    file = tmp_path / "arrivals"
    return lambda: Counter(file.read_text().split() if file.exists() else [])


def send(setup: CeleryTestSetup, queue: str, prompt: str, count: int = 1) -> list[AsyncResult[Any]]:
    """Send jobs as any Celery client would."""
    return [setup.app.send_task(queue, kwargs={"prompt": prompt}) for _ in range(count)]


def texts(sent: list[AsyncResult[Any]]) -> list[str]:
    return [result.get(timeout=ANSWER_S)["text"] for result in sent]


def test_a_setup_is_ready_when_every_worker_answers_a_ping_and_a_job(celery_setup: CeleryTestSetup) -> None:
    assert celery_setup.ready(ping=True, control=True)
    assert len(celery_setup) == 3
    for worker in celery_setup.worker_cluster:
        worker.assert_log_exists(f"{worker.hostname()} ready.")
    celery_setup.worker_cluster[1].kill()
    assert not celery_setup.ready(control=True, docker=False)


def test_the_jobs_of_a_killed_worker_are_answered_by_those_that_are_left(
    celery_setup: CeleryTestSetup, arrivals: Arrivals
) -> None:
    both, _ = celery_setup.worker_cluster
    sent = send(celery_setup, SLOW, "nap 2", 3)
    until(lambda: len(arrivals()) == 3, what="three calls are in flight")
    both.kill()
    assert both.container.status == "exited"
    assert texts(send(celery_setup, FAST, "say hello")) == ["hello"]
    both.restart()
    texts(sent)
    assert arrivals() >= Counter({result.id: 2 for result in sent})
    assert celery_setup.ready(ping=True, control=True)


def test_a_worker_stopped_by_force_finishes_its_job_first(celery_setup: CeleryTestSetup, arrivals: Arrivals) -> None:
    both, _ = celery_setup.worker_cluster
    (sent,) = send(celery_setup, SLOW, "nap 1")
    until(lambda: sent.id in arrivals(), what="the call is in flight")
    both.restart(force=True)
    assert sent.state == "SUCCESS"
    assert arrivals()[sent.id] == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_restarted_broker_has_kept_the_jobs_that_were_queued(
    celery_setup: CeleryTestSetup, arrivals: Arrivals, number: signal.Signals
) -> None:
    both, fast = celery_setup.worker_cluster
    running = send(celery_setup, FAST, "nap 1", 5)
    until(lambda: len(arrivals()) == 5, what="five calls are in flight")
    both.kill("SIGTERM")
    queued = send(celery_setup, SLOW, "say kept", 50)
    celery_setup.broker.kill(number)
    assert celery_setup.broker.container.status == "exited"
    celery_setup.broker.restart()
    both.restart()
    assert texts(queued) == ["kept"] * 50
    texts(running)
    assert fast.container.status == "running"
    assert {result.id for result in queued} <= set(arrivals())
