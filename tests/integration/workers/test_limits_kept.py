"""Limits with real workers: 429s, concurrency, grants that come too late, tokens."""

from pathlib import Path

from waiting import until
from worker_ledger import counts, held_by, publish_changed
from worker_process import FAST, SLOW, Arrivals, Start

from echelon_producers import Client
from echelon_workers.ledger.client import Ledger


def test_a_429_spends_no_attempt_and_rests_its_instance(start: Start, client: Client, ledger: Ledger) -> None:
    start()
    job = client.submit(SLOW, "limited 3 0.2")  # its echelon has no retries
    assert client.result(job, 20).text == "3 0.2"
    record = client.status(job)
    assert (record.attempts, [entry["outcome"] for entry in record.trail]) == (1, ["rate_limited"] * 3 + ["answered"])
    assert int(ledger.redis.hget(ledger.keys.of("scope", "model:openai-three"), "nb") or 0) > 0
    assert ledger.redis.hget(ledger.keys.of("totals", SLOW), "limited") == b"3"


def test_a_concurrency_limit_holds_across_workers(
    start: Start, client: Client, ledger: Ledger, tmp_path: Path, arrivals: Arrivals
) -> None:
    publish_changed(ledger, tmp_path, "priority: 1,", "priority: 1, concurrency_limit: 3,")
    for number in range(2):
        start(wait=False, name=f"w{number}")
    jobs = client.submit_many(["nap 60"] * 10, target=FAST)
    until(lambda: len(arrivals()) == 3, what="three calls are in flight")
    for job in jobs[:3]:
        ledger.redis.zadd(ledger.keys.of("running"), {job: 1}, xx=True)
    until(lambda: len(arrivals()) >= 3 and counts(ledger) == {f"running:{FAST}": 3}, what="still three")
    until(lambda: held_by(client) == f"echelon:{FAST}", what="the status names what holds the queue back")
    assert ledger.redis.hget(ledger.keys.of("scope", f"echelon:{FAST}"), "cu") == b"3"


def test_a_grant_that_a_stalled_worker_did_not_use_in_time_lapses_and_is_taken_anew(
    start: Start, client: Client, ledger: Ledger, tmp_path: Path, arrivals: Arrivals
) -> None:
    publish_changed(ledger, tmp_path, "priority: 1,", "priority: 1, rpm_limit: 1000,")
    jobs = client.submit_many(["stall 0.5", *["say late"] * 5], target=FAST)
    start()
    for job in jobs:
        client.result(job, 20)
    assert sorted(arrivals()) == sorted(jobs), "each was called once"
    assert {client.status(job).attempts for job in jobs} == {1}
    leases = [int(ledger.redis.hget(ledger.keys.of("job", job), "lease") or 0) for job in jobs]
    assert leases[0] == 1
    assert min(leases[1:]) == 2, "those granted beside the one that stalled were granted again"
    status = client.cluster_status()
    used = {scope.name: scope.rates[0].used for scope in status.scopes if scope.rates and scope.level == "echelon"}
    assert used[FAST] == 6, "what was not used is not counted"


def test_tokens_are_settled_with_what_the_provider_counted(
    start: Start, client: Client, ledger: Ledger, tmp_path: Path
) -> None:
    publish_changed(ledger, tmp_path, "priority: 1,", "priority: 1, tpm_limit: 5000,")
    start()
    jobs = client.submit_many(["say so"] * 6, target=FAST)
    for job in jobs:
        client.result(job, 20)
    echelon = next(scope for scope in client.cluster_status().scopes if scope.name == FAST and scope.rates)
    assert (echelon.rates[0].unit, echelon.rates[0].used) == ("tokens", 6 * 12)
