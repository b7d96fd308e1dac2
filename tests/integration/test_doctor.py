"""`echelon doctor`: damage done to Redis by hand is found and repaired, and what is well is never called sick."""

import asyncio
import json
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from byhand import Hands, limited, publish
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worker_process import FAST, SLOW, start_worker, write_configs

from echelon_configs import Limits, load
from echelon_producers.cli.program import program
from echelon_workers.ledger import audit_counts
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.audit import audit, audit_async
from echelon_workers.ledger.audit_report import KINDS, AuditReport
from echelon_workers.ledger.client import AsyncLedger, Ledger
from echelon_workers.ledger.probing import start_probes
from echelon_workers.ledger.verbs import NewJob, cancel, redrive, steer, submit

QUEUE, OTHER, NODE = "fast_group.echelon1", "fast_group.echelon2", "summary"


class Cluster:
    """One cluster of a test, with the worker by hand, whose Redis is open to every damage."""

    def __init__(self, address: Address) -> None:
        publish(address, limited(Limits(concurrency=1000)))
        self.address, self.hands, self.ledger = address, Hands(address), Ledger(address)
        self.redis: Any = self.ledger.redis
        self.of, self.list_of = self.ledger.keys.of, self.ledger.keys.queue

    def close(self) -> None:
        self.hands.ledger.close()
        self.ledger.close()

    def submit(self, *ids: str, queue: str = QUEUE, node: str = "", deadline_ms: int = 0, priority: int = 0) -> None:
        about: dict[str, Any] = {"node": node, "deadline_ms": deadline_ms, "priority": priority}
        jobs = [NewJob(id=id, queue=queue, request='{"prompt":"hello"}', target=queue, **about) for id in ids]
        assert self.ledger.run(submit(jobs)) == [True] * len(ids)

    def state(self, id: str) -> str:
        state: bytes | None = self.redis.hget(self.of("job", id), "state")
        return (state or b"none").decode()

    def found(self, *expected: str, fix: bool = False) -> AuditReport:
        report = audit(self.ledger, fix=fix)
        assert sorted({finding.code for finding in report.findings}) == sorted(set(expected)), report.findings
        return report

    def repaired(self, *expected: str) -> AuditReport:
        """What is expected is found, found again by --fix and repaired, and then all is well."""
        assert not self.found(*expected).is_well or all(KINDS[code].note for code in expected)
        report = self.found(*expected, fix=True)
        assert all(finding.fixed for finding in report.findings)
        assert self.found().is_well
        return report

    def answers(self, *ids: str) -> None:
        """Every one of these is taken once, and answered."""
        grants = self.hands.take()
        assert sorted(grant.id for grant in grants) == sorted(ids)
        for grant in grants:
            self.hands.answer(grant)
        assert [self.state(id) for id in ids] == ["answered"] * len(ids)
        self.found()


@pytest.fixture
def cluster(address: Address) -> Iterator[Cluster]:
    made = Cluster(address)
    yield made
    made.close()


def test_a_cluster_with_jobs_in_every_state_is_well(cluster: Cluster) -> None:
    cluster.submit(*"abcdefg", deadline_ms=60_000)
    grants = {grant.id: grant for grant in cluster.hands.take(5)}
    first, second, third, fourth, fifth = grants.values()
    cluster.hands.answer(first)
    cluster.hands.bury(second)
    cluster.hands.retry(third, delay_ms=60_000)
    cluster.hands.retry(fourth)
    cluster.submit("n", node=NODE, priority=4)
    left = next(id for id in "abcdefg" if id not in grants)
    cluster.ledger.run(cancel([fifth.id, left], "{}"))
    cluster.ledger.run(start_probes({"openai-gpt4": 1}, lease_ms=60_000))
    report = cluster.found()
    assert (report.jobs, report.is_well) == (8, True)


def test_a_queued_job_that_no_list_has_goes_to_the_head(cluster: Cluster) -> None:
    cluster.submit("a", "b")
    cluster.redis.lrem(cluster.list_of(QUEUE), 0, "b")
    assert [finding.subject for finding in cluster.repaired("job-without-place").findings] == ["b"]
    assert cluster.redis.lrange(cluster.list_of(QUEUE), 0, -1) == [b"a", b"b"]
    assert cluster.redis.hget(cluster.of("job", "b"), "cause") == b"the doctor put it back"
    cluster.answers("a", "b")


def test_a_delayed_job_that_is_not_in_the_delay_goes_to_the_head(cluster: Cluster) -> None:
    cluster.submit("a")
    cluster.hands.retry(cluster.hands.take()[0], delay_ms=60_000)
    cluster.redis.zrem(cluster.of("delayed"), "a")
    found = cluster.found("job-without-place", "counter")
    assert {finding.subject for finding in found.findings} == {"a", f"delayed:{QUEUE}"}
    cluster.found("job-without-place", fix=True)
    cluster.answers("a")


def test_a_running_job_without_a_lease_gives_back_what_it_held(cluster: Cluster) -> None:
    cluster.submit("a")
    cluster.hands.take()
    cluster.redis.zrem(cluster.of("running"), "a")
    cluster.found("job-without-place", "counter")
    cluster.found("job-without-place", fix=True)
    assert cluster.redis.hget(cluster.of("scope", "cluster:"), "cu") == b"0"
    cluster.answers("a")


def test_ids_without_a_record_are_taken_out_of_every_place(cluster: Cluster) -> None:
    cluster.submit("a")
    cluster.redis.rpush(cluster.list_of(QUEUE), "gone1")
    cluster.redis.lpush(cluster.list_of(QUEUE, 7), "gone2")
    for place in ("running", "delayed", "deadlines"):
        cluster.redis.zadd(cluster.of(place), {f"gone-{place}": time.time() * 1000 + 60_000})
    report = cluster.repaired("place-without-job")
    assert {finding.subject for finding in report.findings} == {
        *("gone1", "gone2", "gone-running", "gone-delayed", "gone-deadlines")
    }
    cluster.answers("a")


def test_a_dead_job_that_is_gone_leaves_the_index(cluster: Cluster) -> None:
    cluster.redis.zadd(cluster.of("dead"), {"gone": time.time() * 1000})
    cluster.repaired("dead-gone")
    assert cluster.redis.zcard(cluster.of("dead")) == 0


def test_ids_of_jobs_that_are_in_another_state_are_taken_out(cluster: Cluster) -> None:
    cluster.submit("a", "b")
    grant = cluster.hands.take(1)[0]
    cluster.redis.lpush(cluster.list_of(OTHER), grant.id)
    cluster.redis.zadd(cluster.of("delayed"), {grant.id: 1e15, "b": 1e15})
    report = cluster.repaired("place-without-job")
    assert {finding.detail for finding in report.findings} == {
        "it is running, in delayed",
        "it is queued, in delayed",
    } | {finding.detail for finding in report.findings if finding.subject == grant.id}
    cluster.hands.answer(grant)
    cluster.answers("b")


def test_the_tombstone_of_a_cancelled_job_is_no_fault_and_taken_out(cluster: Cluster) -> None:
    cluster.submit("a", "b")
    cluster.ledger.run(cancel(["a"], "{}"))
    cluster.redis.lpush(cluster.list_of(QUEUE), "a")
    assert cluster.found("tombstone").is_well
    cluster.repaired("tombstone")
    cluster.answers("b")


@pytest.mark.parametrize("number", [0, 4, 10])
def test_the_id_that_a_job_left_behind_before_it_was_sent_again_is_no_fault(cluster: Cluster, number: int) -> None:
    leave_behind_and_redrive(cluster, cluster.list_of(QUEUE, number))
    assert cluster.found("tombstone").is_well
    (finding,) = cluster.repaired("tombstone").findings
    assert finding.subject == "a"
    assert cluster.redis.llen(cluster.list_of(QUEUE)) == 2
    cluster.answers("a", "b")


@pytest.mark.parametrize("ended", [False, True])
def test_the_id_that_a_job_left_behind_is_no_fault_while_it_runs_and_when_it_has_ended(
    cluster: Cluster, ended: bool
) -> None:
    leave_behind_and_redrive(cluster, cluster.list_of(OTHER))
    assert cluster.found("tombstone").is_well, "it is in the list of another queue"
    grants = cluster.hands.take()
    assert sorted(grant.id for grant in grants) == ["a", "b"]
    if ended:
        for grant in grants:
            cluster.hands.answer(grant)
    cluster.redis.rpush(cluster.list_of(QUEUE), "a")  # far from the head: take has not come by yet
    cluster.redis.zadd(cluster.of("parked", f"{QUEUE} {NODE}"), {"a": 1})
    cluster.redis.zadd(cluster.of("parks"), {f"{QUEUE} {NODE}": time.time() * 1000 + 60_000})
    assert cluster.found("tombstone").is_well
    cluster.repaired("tombstone")
    assert cluster.redis.llen(cluster.list_of(QUEUE)) == 0


def test_the_id_that_a_job_left_behind_a_page_away_is_no_fault(cluster: Cluster) -> None:
    leave_behind_and_redrive(cluster, cluster.list_of(QUEUE))
    others = [f"j{i}" for i in range(600)]
    cluster.submit(*others[:300])
    cluster.submit(*others[300:])
    cluster.redis.lrem(cluster.list_of(QUEUE), -1, "a")
    cluster.redis.lpush(cluster.list_of(QUEUE), "a")
    assert cluster.found("tombstone").is_well
    cluster.repaired("tombstone")
    assert cluster.redis.llen(cluster.list_of(QUEUE)) == 602


def leave_behind_and_redrive(cluster: Cluster, place: str) -> None:
    """Jobs `a` and `b` wait; `a` was cancelled deep in a list, which has its id yet, and was sent again."""
    cluster.submit("a", "b")
    cluster.redis.lrem(cluster.list_of(QUEUE), 0, "a")  # further in than `cancel` looks
    assert cluster.ledger.run(cancel(["a"], "{}")) == ["cancelled"]
    cluster.redis.rpush(place, "a")
    assert cluster.redis.hget(cluster.of("job", "a"), "tomb") == QUEUE.encode()
    assert cluster.ledger.run(redrive(["a"])) == ["done"]


def test_of_a_job_in_two_places_one_stays(cluster: Cluster) -> None:
    cluster.submit("a", "b")
    cluster.submit("n", node=NODE)
    cluster.redis.rpush(cluster.list_of(QUEUE), "a")
    cluster.redis.lpush(cluster.list_of(QUEUE, 10), "b", "b")
    cluster.redis.zadd(cluster.of("parked", f"{QUEUE} {NODE}"), {"n": 1})
    cluster.redis.zadd(cluster.of("parks"), {f"{QUEUE} {NODE}": 1})
    cluster.repaired("copy")
    cluster.answers("a", "b", "n")


def test_a_job_in_the_list_of_another_queue_goes_back_to_its_own(cluster: Cluster) -> None:
    cluster.submit("a")
    cluster.redis.lrem(cluster.list_of(QUEUE), 0, "a")
    cluster.redis.lpush(cluster.list_of(OTHER), "a")
    cluster.found("misplaced")
    cluster.found("misplaced", "job-without-place", fix=True)
    assert cluster.redis.lrange(cluster.list_of(QUEUE), 0, -1) == [b"a"]
    cluster.answers("a")


def test_what_a_deleted_running_job_held_comes_back(cluster: Cluster) -> None:
    cluster.submit("a", "b", node=NODE)
    grants = cluster.hands.take()
    cluster.redis.delete(cluster.of("job", "a"))
    cluster.repaired("place-without-job", "counter")
    cluster.hands.answer(next(grant for grant in grants if grant.id == "b"))
    cluster.found()
    assert {cluster.redis.hget(key, "cu") for key in cluster.redis.scan_iter(cluster.of("scope", "*"))} <= {b"0", None}


def test_the_node_of_a_deleted_waiting_job_counts_it_no_more(cluster: Cluster) -> None:
    cluster.submit("a", "b", node=NODE)
    cluster.redis.delete(cluster.of("job", "a"))
    cluster.repaired("place-without-job", "counter")
    assert cluster.redis.hget(cluster.of("counts"), f"waiting:node:{NODE}") == b"1"
    cluster.answers("b")


def test_more_jobs_than_one_step_may_count_are_counted_by_what_has_not_changed(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_counts, "MOST_AT_ONCE", 3)
    cluster.submit(*(f"j{i}" for i in range(20)), node=NODE)
    for grant in cluster.hands.take(8):
        cluster.hands.retry(grant, delay_ms=60_000)
    cluster.found()
    counts = cluster.of("counts")
    cluster.redis.hincrby(counts, f"waiting:node:{NODE}", 5)
    cluster.redis.hincrby(counts, f"delayed:{QUEUE}", -2)
    report = cluster.repaired("counter")
    assert {finding.detail for finding in report.findings} == {"it is 5 too high", "it is -2 too high"}
    assert cluster.redis.hget(counts, f"waiting:node:{NODE}") == b"12"


def test_a_lease_that_nobody_reaps_is_told_and_left(cluster: Cluster) -> None:
    cluster.submit("a")
    cluster.hands.take()
    cluster.redis.zadd(cluster.of("running"), {"a": time.time() * 1000 - 60_000})
    assert not cluster.found("lease-without-holder").is_well
    assert not cluster.found("lease-without-holder", fix=True).is_well
    assert cluster.state("a") == "running"
    cluster.hands.beat()
    cluster.found()
    cluster.answers("a")


@pytest.mark.parametrize("state", [None, "", "asleep"])
def test_a_job_without_a_state_is_queued_again(cluster: Cluster, state: str | None) -> None:
    cluster.submit("a")
    cluster.submit("b", node=NODE)
    for id in "ab":
        if state is None:
            cluster.redis.hdel(cluster.of("job", id), "state")
        else:
            cluster.redis.hset(cluster.of("job", id), "state", state)
    report = audit(cluster.ledger, fix=True)
    assert report.is_well
    assert {finding.subject for finding in report.findings if finding.code == "state-lost"} == {"a", "b"}
    cluster.found()
    cluster.answers("a", "b")


def test_an_ended_job_without_a_state_is_what_its_fields_say(cluster: Cluster) -> None:
    cluster.submit("a", "b")
    first, second = cluster.hands.take()
    cluster.hands.answer(first)
    cluster.hands.bury(second)
    cluster.redis.hdel(cluster.of("job", first.id), "state")
    cluster.redis.hdel(cluster.of("job", second.id), "state")
    assert audit(cluster.ledger, fix=True).is_well
    assert (cluster.state(first.id), cluster.state(second.id)) == ("answered", "dead")
    cluster.found()


def test_fields_that_would_stop_a_script_are_set_anew(cluster: Cluster) -> None:
    cluster.submit("a", "b", "c", "d", "e")
    for id, field, value in (
        ("a", "lease", "x"),
        ("b", "priority", "99"),
        ("d", "attempts", "1.5"),
        ("e", "lapses", ""),
    ):
        cluster.redis.hset(cluster.of("job", id), field, value)
    cluster.redis.hdel(cluster.of("job", "c"), "created", "queue")
    cluster.repaired("record-damaged")
    cluster.answers("a", "b", "c", "d", "e")


def test_records_that_cannot_be_read_are_told_and_left(cluster: Cluster) -> None:
    cluster.redis.set(cluster.of("job", "text"), "x")
    cluster.redis.hset(cluster.of("job", "empty"), "request", "{}")
    for fix in (False, True):
        assert not cluster.found("record-wrong-type", "record-unreadable", fix=fix).is_well
    assert cluster.redis.exists(cluster.of("job", "text"), cluster.of("job", "empty")) == 2


def test_what_has_ended_expires_and_what_has_not_does_not(cluster: Cluster) -> None:
    cluster.submit("a", "b")
    cluster.hands.answer(next(grant for grant in cluster.hands.take(1)))
    ended = next(id for id in "ab" if cluster.state(id) == "answered")
    waits = "b" if ended == "a" else "a"
    cluster.redis.persist(cluster.of("job", ended))
    cluster.redis.expire(cluster.of("job", waits), 1000)
    cluster.repaired("kept-for-ever", "expires-alive")
    assert 0 < cluster.redis.ttl(cluster.of("job", ended)) <= 86_400
    cluster.answers(waits)


def test_a_dead_job_is_listed_again(cluster: Cluster) -> None:
    cluster.submit("a")
    cluster.hands.bury(cluster.hands.take()[0])
    cluster.redis.delete(cluster.of("dead"))
    cluster.repaired("dead-not-listed")
    assert cluster.redis.zrange(cluster.of("dead"), 0, -1) == [b"a"]


def test_a_deadline_is_watched_again_and_one_that_is_over_no_more(cluster: Cluster) -> None:
    cluster.submit("a", "b", deadline_ms=60_000)
    cluster.hands.answer(cluster.hands.take(1)[0])
    ended = next(id for id in "ab" if cluster.state(id) == "answered")
    waits = "b" if ended == "a" else "a"
    cluster.redis.delete(cluster.of("deadlines"))
    cluster.redis.zadd(cluster.of("deadlines"), {ended: 1e15})
    cluster.repaired("deadline-not-watched", "place-without-job")
    assert cluster.redis.zrange(cluster.of("deadlines"), 0, -1) == [waits.encode()]


def test_parked_jobs_are_looked_at_again(cluster: Cluster) -> None:
    cluster.submit("a", node=NODE)
    cluster.redis.delete(cluster.list_of(QUEUE))
    cluster.redis.zadd(cluster.of("parked", f"{QUEUE} {NODE}"), {"a": 1, "gone": 2})
    cluster.repaired("parked-not-watched", "place-without-job")
    cluster.hands.beat()
    cluster.answers("a")


def test_marks_that_are_left_over_are_taken_away(cluster: Cluster) -> None:
    cluster.submit("stays", "waits", "wanted", "late", node=NODE)
    cluster.hands.retry(next(grant for grant in cluster.hands.take(4) if grant.id == "late"), delay_ms=60_000)
    for grant in [*("stays", "waits", "wanted")]:
        assert cluster.state(grant) == "running"
    cluster.redis.zadd(cluster.of("running"), dict.fromkeys(("stays", "waits", "wanted"), 1))
    cluster.hands.beat()
    cluster.redis.hset(cluster.of("job", "stays"), "stays", 10**15)
    cluster.redis.hset(cluster.of("job", "waits"), "waits", f"node:{NODE}")
    cluster.redis.hset(cluster.of("job", "wanted"), "cancel", '60000 {"code":"cancelled"}')
    cluster.redis.hset(cluster.of("job", "late"), "cancel", "what")
    cluster.repaired("stays-left", "waits-left", "cancel-left")
    assert (cluster.state("wanted"), cluster.state("late")) == ("cancelled", "cancelled")
    cluster.answers("stays", "waits")


def test_entries_of_workers_expire(cluster: Cluster) -> None:
    cluster.hands.beat()
    cluster.hands.take()
    for name in ("worker", "taker"):
        cluster.redis.persist(cluster.of(name, cluster.hands.name))
    cluster.repaired("entry-for-ever")


def test_a_probe_that_nobody_ends_ends(cluster: Cluster) -> None:
    begun = cluster.ledger.run(start_probes({"openai-gpt4": 1}, lease_ms=60_000))
    cluster.redis.hset(cluster.of("probes"), "openai-gpt4", "1 list - 1 0")
    cluster.redis.zrem(cluster.of("probing"), "openai-gpt4")
    report = audit(cluster.ledger, fix=True)
    assert {finding.code for finding in report.findings} <= {"probe-for-ever", "counter"}, begun
    assert report.is_well
    cluster.hands.beat()
    cluster.found()
    assert cluster.redis.hlen(cluster.of("probes")) <= 1


def test_keys_that_are_no_lists_or_that_nobody_knows_are_told(cluster: Cluster) -> None:
    cluster.redis.set(cluster.list_of(OTHER), "x")
    cluster.redis.set(cluster.of("totals", "q"), "x")
    cluster.redis.set(f"{cluster.ledger.keys.own}later", "x")
    for fix in (False, True):
        assert not cluster.found("queue-no-list", "key-wrong-type", "key-unknown", fix=fix).is_well


def test_nothing_is_touched_while_a_key_that_all_depends_on_is_of_the_wrong_type(cluster: Cluster) -> None:
    cluster.submit("a")
    cluster.redis.delete(cluster.list_of(QUEUE))
    cluster.redis.set(cluster.of("running"), "x")
    assert not cluster.found("key-wrong-type", fix=True).is_well
    cluster.redis.delete(cluster.of("running"))
    cluster.repaired("job-without-place")


def test_queues_that_no_revision_knows_are_told(cluster: Cluster) -> None:
    cluster.submit("a", queue="old_group.echelon1")
    report = cluster.found("queue-unknown")
    assert [(finding.subject, finding.detail) for finding in report.findings] == [("old_group.echelon1", "1 jobs wait")]
    cluster.redis.sadd(cluster.of("dropped"), "old_group.echelon1")
    cluster.found()


def test_orders_for_no_queue_and_a_clock_that_is_ahead_are_told_and_no_fault(cluster: Cluster) -> None:
    cluster.ledger.run(steer("pause", ["no_group.echelon1"]))
    cluster.redis.set(cluster.of("ahead"), 5000)
    cluster.redis.set(f"{cluster.ledger.keys.own}damaged:job:a", "x")
    report = cluster.found("order-for-nothing", "clock-ahead", "set-aside")
    assert report.is_well


def test_a_deep_job_that_has_no_place_is_found_and_no_other(cluster: Cluster) -> None:
    ids = [f"j{i:05}" for i in range(4000)]
    for first in range(0, 4000, 500):
        cluster.submit(*ids[first : first + 500])
    key = cluster.list_of(QUEUE)
    cluster.redis.lrem(key, 1, "j02000")
    cluster.redis.linsert(key, "BEFORE", "j01500", "j02500")  # a copy in the middle
    cluster.redis.linsert(key, "BEFORE", "j01600", "gone")
    report = cluster.repaired("job-without-place", "copy", "place-without-job")
    assert {finding.subject for finding in report.findings} == {"j02000", "j02500", "gone"}
    assert cluster.redis.llen(key) == 4000


def test_foreign_messages_are_nobody_s_business(cluster: Cluster) -> None:
    cluster.submit("a")
    cluster.redis.lpush(cluster.list_of(QUEUE), *(f'{{"n":{i}}}' for i in range(2000)))
    cluster.found()
    assert cluster.redis.llen(cluster.list_of(QUEUE)) == 2001


def test_another_cluster_in_the_same_database_is_left_alone(cluster: Cluster) -> None:
    other = Cluster(Address(cluster.address.url, f"{cluster.address.namespace}[x]*"))
    try:
        other.submit("a")
        other.redis.delete(other.list_of(QUEUE))
        cluster.found()
        other.repaired("job-without-place")
    finally:
        other.close()


async def _audited(address: Address) -> AuditReport:
    ledger = AsyncLedger(address)
    try:
        return await audit_async(ledger, fix=True)
    finally:
        await ledger.aclose()


def test_an_event_loop_can_audit_as_well(cluster: Cluster) -> None:
    cluster.submit("a")
    cluster.redis.delete(cluster.list_of(QUEUE))
    report = asyncio.run(_audited(cluster.address))
    assert [(finding.code, finding.fixed) for finding in report.findings] == [("job-without-place", True)]
    cluster.answers("a")


@pytest.fixture
def doctor(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("ECHELON_NAMESPACE", cluster.address.namespace)
    return lambda *arguments: CliRunner().invoke(program, ["doctor", "--redis", cluster.address.url, *arguments])


def test_the_command_says_what_is_wrong_what_it_did_and_that_all_is_well(
    cluster: Cluster, doctor: Callable[..., Any]
) -> None:
    cluster.submit(*"abcde")
    well = doctor()
    assert (well.exit_code, well.output.partition(" in ")[0]) == (0, "all is well: 5 jobs")
    cluster.redis.delete(cluster.list_of(QUEUE))
    sick = doctor()
    assert sick.exit_code == 1
    assert "     5  jobs without a place: " in sick.output
    assert "and 2 more\n        --fix: back to the head of their queues\nwrong: 5" in sick.output
    fixed = doctor("--fix")
    assert (fixed.exit_code, "repaired: back to the head of their queues" in fixed.output) == (0, True)
    shown = json.loads(doctor("--json").output)
    assert (shown["well"], shown["findings"], shown["jobs"]) == (True, [], 5)
    cluster.answers(*"abcde")


def test_the_command_ends_with_2_where_there_is_no_redis(free_port: int) -> None:
    away = CliRunner().invoke(program, ["doctor", "--redis", f"redis://127.0.0.1:{free_port}/0"])
    assert (away.exit_code, away.output.count("\n")) == (2, 1)


@pytest.mark.parametrize("at_once", [audit_counts.MOST_AT_ONCE, 0])
def test_a_busy_cluster_is_never_called_sick(
    address: Address, tmp_path: Path, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_counts, "MOST_AT_ONCE", at_once)
    configs = write_configs(tmp_path / "configs")
    publish(address, load(configs).configuration)
    worker = start_worker(address, tmp_path / "busy.log", slots=40, ECHELON_CONFIGS=str(configs))
    ledger = Ledger(address)
    try:
        audits, submitted = 0, 0
        until = time.monotonic() + 3
        while time.monotonic() < until:
            kinds = [f"nap {i % 5 / 50}" if i % 20 else "fail server_failed 1" for i in range(60)]
            jobs = [
                NewJob(
                    id=f"j{submitted + i}",
                    queue=FAST if i % 3 else SLOW,
                    request=json.dumps({"prompt": prompt}),
                    target=FAST,
                    node="polite_node" if i % 2 else "",
                    deadline_ms=60_000 if i % 5 else 300,
                    priority=i % 3,
                )
                for i, prompt in enumerate(kinds)
            ]
            ledger.run(submit(jobs))
            ledger.run(cancel([f"j{submitted + i}" for i in range(7, 60, 13)], '{"code":"cancelled"}'))
            submitted += len(jobs)
            assert audit(ledger).findings == ()
            audits += 1
        answered = sum(
            int(ledger.redis.hget(ledger.keys.of("totals", queue), "answered") or 0) for queue in (FAST, SLOW)
        )
        assert (audits > 5, answered > 100) == (True, True), (audits, submitted, answered)
    finally:
        worker.stop()
        ledger.close()


STATES = ("queued", "delayed", "running", "answered", "dead", "cancelled", "expired")
IDS = tuple("abcdefgh")
_FIELDS = (
    *("state", "queue", "home", "priority", "node", "created", "deadline", "at", "lease", "scopes", "instance"),
    *("attempts", "lapses", "ended", "cancel", "stays", "waits", "worker", "probe"),
)
_VALUES = ("", "x", "-1", "5", "1.5", "99", "10000000000000", *STATES, QUEUE, OTHER, NODE, "node:summary")
_PLACES = ("running", "delayed", "dead", "deadlines", "parks")
_id, _list = st.sampled_from(IDS), st.tuples(st.sampled_from((QUEUE, OTHER)), st.sampled_from((0, 3, 10)))
DAMAGE = st.one_of(
    st.tuples(st.just("hdel"), _id, st.sampled_from(_FIELDS)),
    st.tuples(st.just("hset"), _id, st.sampled_from(_FIELDS), st.sampled_from(_VALUES)),
    st.tuples(st.just("delete"), _id),
    st.tuples(st.just("push"), _list, st.sampled_from((*IDS, "gone"))),
    st.tuples(st.just("drop"), _list),
    st.tuples(st.just("add"), st.sampled_from(_PLACES[:4]), st.sampled_from((*IDS, "gone"))),
    st.tuples(st.just("rem"), st.sampled_from(_PLACES), st.sampled_from((*IDS, f"{QUEUE} {NODE}"))),
    st.tuples(st.just("park"), st.sampled_from((QUEUE, OTHER)), st.sampled_from((*IDS, "gone"))),
    st.tuples(st.just("count"), st.sampled_from((f"running:{QUEUE}", f"delayed:{OTHER}", f"waiting:node:{NODE}"))),
    st.tuples(st.just("use"), st.sampled_from(("cluster:", "model:openai-gpt4", f"node:{NODE}"))),
)


def _inflict(cluster: Cluster, what: str, on: Any, *more: Any) -> None:
    redis, of = cluster.redis, cluster.of
    soon = time.time() * 1000 + 60_000
    if what in ("hdel", "hset"):
        if redis.exists(of("job", on)):
            getattr(redis, what)(of("job", on), *more)
    elif what == "delete":
        redis.delete(of("job", on))
    elif what == "push":
        redis.rpush(cluster.list_of(*on), *more)
    elif what == "drop":
        redis.rpop(cluster.list_of(*on))
    elif what == "park":
        redis.zadd(of("parked", f"{on} {NODE}"), {more[0]: soon})
    elif what == "add":
        redis.zadd(of(on), {more[0]: soon})
    elif what == "rem":
        redis.zrem(of(on), *more)
    elif what == "count":
        redis.hset(of("counts"), on, 17)
    else:
        redis.hset(of("scope", on), "cu", "many")


def _in_all_states(cluster: Cluster) -> None:
    cluster.submit(*IDS[:6], deadline_ms=60_000)
    grants = cluster.hands.take(5)
    cluster.hands.bury(grants[0])
    cluster.hands.retry(grants[1], delay_ms=60_000)
    cluster.hands.retry(grants[2])
    cluster.submit(*IDS[6:], node=NODE, queue=OTHER, priority=3)


def _places(cluster: Cluster, id: str) -> list[str]:
    """Every place that has this id, once for each time."""
    redis, found = cluster.redis, list[str]()
    member = id.encode()
    queues = {QUEUE, OTHER} | {(redis.hget(cluster.of("job", id), "queue") or b"").decode() for id in IDS}
    for queue in queues - {""}:
        for key in cluster.ledger.keys.queue_lists(queue):
            found += ["queued"] * redis.lrange(key, 0, -1).count(member)
    for key in redis.keys(cluster.of("parked", "*")):
        found += ["queued"] * (redis.zscore(key, id) is not None)
    return found + [name for name in ("running", "delayed") if redis.zscore(cluster.of(name), id) is not None]


def _count(cluster: Cluster) -> dict[str, int]:
    """What the counters should say, as the records are."""
    counted = Counter[str]()
    for id in IDS:
        record = {k.decode(): v.decode() for k, v in cluster.redis.hgetall(cluster.of("job", id)).items()}
        state = record.get("state")
        if state in ("running", "delayed"):
            counted[f"{state}:{record['queue']}"] += 1
        if state == "queued" and record.get("node"):
            counted[f"waiting:node:{record['node']}"] += 1
        if state == "running":
            counted.update(f"scope {name}" for name in record.get("scopes", "").split())
    return dict(counted)


def _said(cluster: Cluster) -> dict[str, int]:
    said = {name.decode(): int(value) for name, value in cluster.redis.hgetall(cluster.of("counts")).items()}
    prefix = cluster.of("scope").encode()
    for key in cluster.redis.keys(cluster.of("scope", "*")):
        said[f"scope {key.removeprefix(prefix).decode()}"] = int(cluster.redis.hget(key, "cu") or 0)
    return {name: value for name, value in said.items() if value}


class TestDamage:
    """Whatever was done to it, one --fix leaves every job that can be read in one place, and every counter right."""

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(damages=st.lists(DAMAGE, min_size=1, max_size=12))
    def test_after_any_damage_every_job_is_in_one_place(self, redis_url: str, damages: list[tuple[Any, ...]]) -> None:
        cluster = Cluster(Address(redis_url, f"t{secrets.token_hex(4)}"))
        try:
            _in_all_states(cluster)
            for damage in damages:
                _inflict(cluster, *damage)
            audit(cluster.ledger, fix=True)
            for id in IDS:
                state = cluster.state(id)
                waits = state in ("queued", "delayed", "running")
                assert _places(cluster, id) == ([state] if waits else []), (id, state)
                assert state in STATES or not cluster.redis.hget(cluster.of("job", id), "queue"), (id, state)
            assert _places(cluster, "gone") == []
            assert _said(cluster) == _count(cluster)
            assert not [one for one in audit(cluster.ledger).findings if one.kind.remedy]
        finally:
            cluster.close()
