"""Workers that are stopped, killed, paused or cut off lose nothing."""

import signal
from collections import Counter
from pathlib import Path

import pytest
from waiting import until
from worker_ledger import counts
from worker_process import FAST, Arrivals, Start

from echelon_producers import Client
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger


def test_sigterm_finishes_what_runs(start: Start, client: Client, ledger: Ledger, arrivals: Arrivals) -> None:
    worker = start(slots=5)
    jobs = client.submit_many(["nap 1"] * 8, target=FAST)
    until(lambda: len(arrivals()) == 5, what="five calls are in flight")
    assert worker.stop(signal.SIGTERM) == 0
    states = Counter(client.status(job).state for job in jobs)
    assert states == {"answered": 5, "queued": 3}
    assert counts(ledger) == {}


def test_sigterm_gives_back_what_does_not_finish_within_the_grace(
    start: Start, client: Client, ledger: Ledger, arrivals: Arrivals
) -> None:
    worker = start(ECHELON_GRACE_S="0.2")
    jobs = client.submit_many(["nap 60"] * 4, target=FAST)
    until(lambda: len(arrivals()) == 4, what="four calls are in flight")
    assert worker.stop(signal.SIGTERM) == 0
    assert {(client.status(job).state, client.status(job).attempts) for job in jobs} == {("queued", 0)}
    assert counts(ledger) == {}
    assert ledger.redis.zcard(ledger.keys.of("running")) == 0


def test_sigquit_gives_everything_back_at_once(
    start: Start, client: Client, ledger: Ledger, arrivals: Arrivals
) -> None:
    worker = start()
    jobs = client.submit_many(["nap 60"] * 4, target=FAST)
    until(lambda: len(arrivals()) == 4, what="four calls are in flight")
    worker.stop(signal.SIGQUIT)
    assert {client.status(job).state for job in jobs} == {"queued"}
    assert counts(ledger) == {}


def test_the_jobs_of_a_killed_worker_are_answered_by_another(
    start: Start, client: Client, ledger: Ledger, arrivals: Arrivals
) -> None:
    worker = start(ECHELON_LEASE_S="1")
    jobs = client.submit_many(["nap 3"] * 4, target=FAST)
    until(lambda: len(arrivals()) == 4, what="four calls are in flight")
    worker.kill()
    start(ECHELON_LEASE_S="1")
    for job in jobs:
        client.result(job, 20)
    assert arrivals() == dict.fromkeys(jobs, 2)
    assert counts(ledger) == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_gives_back_what_the_first_would_have_waited_for(
    start: Start, client: Client, ledger: Ledger, arrivals: Arrivals, number: signal.Signals
) -> None:
    worker = start(slots=5)
    jobs = client.submit_many(["nap 60"] * 8, target=FAST)
    until(lambda: len(arrivals()) == 5, what="five calls are in flight")
    worker.send(number)
    until(lambda: "shutdown" in worker.output().lower(), what="the worker has heard the first")
    worker.stop(signal.SIGQUIT if number == signal.SIGTERM else number)
    assert {(client.status(job).state, client.status(job).attempts) for job in jobs} == {("queued", 0)}
    assert counts(ledger) == {}
    start()
    assert client.cluster_status().totals.dead == 0


def test_a_worker_that_was_stopped_for_longer_than_its_leases_starts_nothing_and_its_late_answers_are_refused(
    start: Start, client: Client, ledger: Ledger, arrivals: Arrivals
) -> None:
    stopped = start(slots=4, ECHELON_LEASE_S="1")
    jobs = client.submit_many(["nap 1.5"] * 8, target=FAST)
    until(lambda: len(arrivals()) == 4, what="four calls are in flight")
    stopped.send(signal.SIGSTOP)
    start(slots=8, ECHELON_LEASE_S="1")
    answers = [client.result(job, 20) for job in jobs]
    before = arrivals()
    stopped.send(signal.SIGCONT)
    until(lambda: client.cluster_status().totals.late == 4, what="its four answers were refused")
    assert arrivals() == before, "it started nothing when it went on"
    assert sorted(before.values()) == [1] * 4 + [2] * 4
    assert [client.result(job) for job in jobs] == answers, "the answers that were accepted stay"
    assert client.cluster_status().totals.lapsed == 4
    assert counts(ledger) == {}
    more = client.submit_many(["say again"] * 20, target=FAST)
    assert {client.result(job, 20).text for job in more} == {"again"}


def test_cut_connections_neither_lose_nor_repeat_a_job(
    start: Start, client: Client, ledger: Ledger, arrivals: Arrivals
) -> None:
    start(slots=50)
    jobs = client.submit_many(["nap 0.3"] * 400, target=FAST)
    answered = ledger.keys.of("totals", FAST)

    def cut_and_look() -> bool:
        mine = ledger.redis.client_id()
        for other in ledger.redis.client_list():
            if int(other["id"]) != mine:
                ledger.redis.client_kill_filter(_id=other["id"])
        return int(ledger.redis.hget(answered, "answered") or 0) == 400

    until(cut_and_look, timeout_s=40, every_s=0.3, what="all are answered although every connection is cut")
    assert arrivals() == Counter(jobs)
    assert counts(ledger) == {}
    assert ledger.redis.zcard(ledger.keys.of("running")) == 0


def test_a_worker_waits_for_redis_instead_of_giving_up(start: Start, address: Address, tmp_path: Path) -> None:
    worker = start(ECHELON_REDIS_URL="redis://127.0.0.1:1/0", wait=False)
    until(lambda: "Cannot connect" in worker.output(), what="it says that it cannot connect")
    assert worker.process.poll() is None
    worker.kill()
