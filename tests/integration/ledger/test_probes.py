"""Health probes in the ledger: one at a time in the fleet, under permits, and heard by the breaker."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from echelon_configs import load
from echelon_workers.ledger import revisions
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.instances import FIELDS, InstanceStatus, instance_status
from echelon_workers.ledger.probing import (
    Begun,
    EndedProbe,
    PaidProbe,
    Probe,
    Verdict,
    end_probes,
    pay_probe,
    start_probes,
)
from echelon_workers.ledger.scores import publish_scores, read_standings
from echelon_workers.ledger.verbs import NewJob, Terms, renew, submit, take

ONE, TWO = "openai-one", "openai-two"
QUEUE = "fast_group.echelon1"
CLUSTER = """\
task_groups:
  fast_group:
    echelon1: {models: [openai-one, openai-two]}
    circuit_breaker: {failure_threshold: 3, recovery_time: 10, half_open_requests: 2}
"""
LIMITED = (
    "model_type: openai\nmodel_name: gpt\nconcurrency_limit: 2\n"
    "rate_limiting: {algorithm: sliding_window, max_requests: 5, window_size: 60}\ntpm_limit: 100000\n"
)
DUE = {ONE: 1}


class Fleet:
    """Probes by hand."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.ledger = ledger
        groups = folder / "llms" / "groups"
        groups.mkdir(parents=True)
        (groups / "_task_groups.yaml").write_text(CLUSTER)
        (folder / "llms" / f"{ONE}.yaml").write_text(LIMITED)
        self.configuration = load(folder).configuration
        revisions.publish(ledger, self.configuration)
        self.start(DUE)  # the first look at an instance only notes when that was
        self.jobs = 0

    def start(self, intervals_ms: dict[str, int], *, lease_ms: int = 60_000) -> Begun:
        return self.ledger.run(start_probes(intervals_ms, lease_ms=lease_ms))

    def due(self, *, lease_ms: int = 60_000) -> Probe:
        self.ledger.redis.zadd(self.ledger.keys.of("checks"), {ONE: 1})
        (probe,) = self.start(DUE, lease_ms=lease_ms).probes
        return probe

    def pay(self, probe: Probe, *, lease_ms: int = 60_000) -> PaidProbe | None:
        return self.ledger.run(pay_probe(probe, lease_ms=lease_ms, tokens=32))

    def end(self, probe: Probe | PaidProbe, verdict: Verdict, *, tokens: int | None = None) -> bool:
        ended = EndedProbe(instance=ONE, fence=probe.fence, verdict=verdict, code="server_failed", tokens=tokens)
        (heard,) = self.ledger.run(end_probes([ended]))
        return heard

    def field(self, name: str, scope: str = f"model:{ONE}") -> int:
        return int(self.ledger.redis.hget(self.ledger.keys.of("scope", scope), name) or 0)

    def status(self, name: str = ONE) -> InstanceStatus:
        redis, keys = self.ledger.redis, self.ledger.keys
        row = redis.hmget(keys.of("scope", f"model:{name}"), FIELDS)
        return instance_status(name, row, int(redis.get(keys.of("clock")) or 0))

    def in_use(self) -> tuple[int, int]:
        return self.field("cu"), self.field("cu", "cluster:")

    def open(self) -> None:
        for _ in range(3):
            self.end(self.due(), "failed")
        assert self.status().state == "unhealthy"

    def recovery_passes(self) -> None:
        self.ledger.redis.hset(self.ledger.keys.of("scope", f"model:{ONE}"), "bo", 1)
        self.ledger.redis.zadd(self.ledger.keys.of("out"), {ONE: 1})

    def take(self, many: int) -> list[str]:
        new = [NewJob(id=f"j{self.jobs + i}", queue=QUEUE, request="{}", target=QUEUE) for i in range(many)]
        self.jobs += many
        self.ledger.run(submit(new))
        self.ledger.redis.delete(self.ledger.keys.of("blocked"))
        usable = [(QUEUE, ONE)]
        verb = take("w", self.jobs, self.jobs - many, usable, want=many, fills=False, terms=Terms())
        return [grant.id for grant in self.ledger.run(verb).grants if grant.instance]


@pytest.fixture
def fleet(address: Address, tmp_path: Path) -> Iterator[Fleet]:
    ledger = Ledger(address)
    yield Fleet(ledger, tmp_path)
    ledger.close()


def test_an_instance_is_probed_at_its_interval_and_not_at_once(fleet: Fleet) -> None:
    first = fleet.start({TWO: 30_000})
    assert (first.probes, 29_000 < (first.again_ms or 0) <= 30_000) == ((), True)
    fleet.ledger.redis.zincrby(fleet.ledger.keys.of("checks"), -31_000, TWO)
    again = fleet.start({TWO: 30_000})
    assert [(probe.instance, probe.unwell) for probe in again.probes] == [(TWO, False)]
    assert fleet.start({TWO: 30_000}).probes == ()


def test_nothing_to_look_after_is_nothing_to_ask_for(fleet: Fleet) -> None:
    assert fleet.start({}) == Begun(None, ())


def test_one_worker_of_many_makes_the_probe(fleet: Fleet) -> None:
    fleet.ledger.redis.zadd(fleet.ledger.keys.of("checks"), {ONE: 1})
    assert sum(len(fleet.start({ONE: 30_000}).probes) for _ in range(8)) == 1


def test_there_is_no_second_probe_while_one_runs_however_long(fleet: Fleet) -> None:
    probe = fleet.due()
    fleet.ledger.redis.zadd(fleet.ledger.keys.of("checks"), {ONE: 1})
    assert fleet.start(DUE).probes == ()
    assert fleet.end(probe, "ok")
    assert fleet.due().fence != probe.fence


def test_probes_that_end_together_are_each_heard_once(fleet: Fleet) -> None:
    fleet.start({TWO: 1})
    fleet.ledger.redis.zadd(fleet.ledger.keys.of("checks"), {ONE: 1, TWO: 1})
    ended = [
        EndedProbe(instance=probe.instance, fence=probe.fence, verdict="failed", code="timed_out")
        for probe in fleet.start({ONE: 1, TWO: 1}).probes
    ]
    assert fleet.ledger.run(end_probes([*ended, *ended])) == [True, True, False, False]
    assert (fleet.status(ONE).failures, fleet.status(TWO).failures, fleet.field("cu", "cluster:")) == (1, 1, 0)


def test_a_look_holds_a_permit_of_concurrency_and_no_other(fleet: Fleet) -> None:
    probe = fleet.due()
    assert fleet.in_use() == (1, 1)
    assert len(fleet.take(3)) == 1, "it is one of the two"
    fleet.ledger.redis.zadd(fleet.ledger.keys.of("checks"), {ONE: 1})
    fleet.end(probe, "ok")
    assert fleet.field("cu") == 1
    assert fleet.ledger.redis.llen(fleet.ledger.keys.of("log", f"model:{ONE}")) == 1, "the job's"


def test_an_instance_that_has_no_permit_left_is_not_probed(fleet: Fleet) -> None:
    assert len(fleet.take(2)) == 2
    fleet.ledger.redis.zadd(fleet.ledger.keys.of("checks"), {ONE: 1})
    assert fleet.start(DUE).probes == ()
    assert fleet.field("cu") == 2


def test_an_instance_whose_provider_wants_no_calls_is_not_probed(fleet: Fleet) -> None:
    fleet.ledger.redis.hset(fleet.ledger.keys.of("scope", f"model:{ONE}"), "nb", 2**50)
    fleet.ledger.redis.zadd(fleet.ledger.keys.of("checks"), {ONE: 1})
    assert fleet.start(DUE).probes == ()


def test_a_paid_probe_holds_what_a_job_holds(fleet: Fleet) -> None:
    fleet.end(fleet.due(), "failed")
    keys, redis = fleet.ledger.keys, fleet.ledger.redis
    probe = fleet.due()
    assert probe.unwell
    paid = fleet.pay(probe)
    assert paid is not None
    assert paid.use_within_ms is not None
    assert fleet.in_use() == (1, 1)
    assert redis.llen(keys.of("log", f"model:{ONE}")) == 1
    assert (fleet.field("tu"), redis.zcard(keys.of("tokens", f"model:{ONE}"))) == (32, 1)
    assert not fleet.end(probe, "ok"), "its look is over"
    assert fleet.end(paid, "ok", tokens=9)
    assert (fleet.in_use(), fleet.field("tu")) == ((0, 0), 9)
    assert not fleet.end(paid, "failed"), "exactly once"
    assert fleet.status().failures == 0


def test_a_paid_probe_that_was_not_sent_spends_nothing(fleet: Fleet) -> None:
    fleet.end(fleet.due(), "failed")
    paid = fleet.pay(fleet.due())
    assert paid is not None
    fleet.end(paid, "unused")
    assert (fleet.in_use(), fleet.field("tu"), fleet.status().failures) == ((0, 0), 0, 1)
    assert fleet.ledger.redis.llen(fleet.ledger.keys.of("log", f"model:{ONE}")) == 0


def test_a_paid_probe_without_a_permit_is_given_up(fleet: Fleet) -> None:
    fleet.end(fleet.due(), "failed")
    fleet.ledger.redis.rpush(fleet.ledger.keys.of("log", f"model:{ONE}"), *[2**50] * 5)
    assert fleet.pay(fleet.due()) is None
    assert fleet.in_use() == (0, 0)


def test_a_healthy_instance_is_not_paid_for(fleet: Fleet) -> None:
    probe = fleet.due()
    assert not probe.unwell
    assert fleet.pay(probe) is None
    assert fleet.in_use() == (0, 0)


def test_looks_that_fail_open_the_breaker_and_looks_that_succeed_leave_it(fleet: Fleet) -> None:
    fleet.end(fleet.due(), "failed")
    assert (fleet.status().state, fleet.status().failures) == ("degraded", 1)
    fleet.end(fleet.due(), "ok")
    assert fleet.status().failures == 1, "a list of models says little of calls"
    fleet.end(fleet.due(), "failed")
    fleet.end(fleet.due(), "failed")
    status = fleet.status()
    assert (status.state, status.why, status.probe) == ("unhealthy", "server_failed", "server_failed")
    assert 9_000 < (status.open_ms or 0) <= 10_000
    assert (status.probed_ms_ago or 0) < 5_000


def test_an_open_instance_is_looked_at_when_it_is_half_open(fleet: Fleet) -> None:
    fleet.open()
    fleet.ledger.redis.zadd(fleet.ledger.keys.of("checks"), {ONE: 1})
    begun = fleet.start({ONE: 30_000})
    assert (begun.probes, 9_000 < (begun.again_ms or 0) <= 10_000) == ((), True)
    fleet.recovery_passes()
    assert [probe.unwell for probe in fleet.start({ONE: 30_000}).probes] == [True]
    assert fleet.status().state == "recovering"


def test_an_instance_comes_back_by_paid_probes_alone(fleet: Fleet) -> None:
    fleet.open()
    fleet.recovery_passes()
    for state in ("recovering", "degraded"):
        paid = fleet.pay(fleet.due())
        assert paid is not None
        assert fleet.end(paid, "ok")
        assert fleet.status().state == state
    assert (fleet.field("bo"), fleet.status().failures) == (0, 0)
    fleet.ledger.redis.hdel(fleet.ledger.keys.of("scope", f"model:{ONE}"), "ew")
    assert fleet.status().state == "healthy"


def test_a_look_that_fails_while_it_is_half_open_keeps_it_out_for_longer(fleet: Fleet) -> None:
    fleet.open()
    fleet.recovery_passes()
    fleet.end(fleet.due(), "failed")
    assert (fleet.status().state, (fleet.status().open_ms or 0) > 15_000) == ("unhealthy", True)


def test_jobs_and_paid_probes_together_are_as_many_as_it_lets_through(fleet: Fleet) -> None:
    fleet.open()
    fleet.recovery_passes()
    paid = fleet.pay(fleet.due())
    assert paid is not None
    assert len(fleet.take(5)) == 1, "two probes are allowed"
    fleet.end(paid, "")
    assert len(fleet.take(5)) == 1, "a probe that said nothing leaves its place"


@pytest.mark.parametrize("kind", ["look", "paid"])
def test_the_permits_of_a_dead_worker_come_back(fleet: Fleet, kind: str) -> None:
    fleet.open()
    fleet.recovery_passes()
    probe = fleet.due(lease_ms=1 if kind == "look" else 60_000)
    if kind == "paid":
        assert fleet.pay(probe, lease_ms=1) is not None
        assert fleet.field("bp") == 1
    fleet.ledger.redis.zadd(fleet.ledger.keys.of("probing"), {ONE: 1})
    fleet.ledger.run(renew("reaper", "{}", 1000, [], Terms()))
    assert (fleet.in_use(), fleet.field("bp")) == ((0, 0), 0)
    assert not fleet.end(probe, "ok")
    assert fleet.status().state == "recovering"
    assert fleet.due()


def test_one_worker_publishes_scores_until_it_is_gone(fleet: Fleet) -> None:
    ledger, redis, keys = fleet.ledger, fleet.ledger.redis, fleet.ledger.keys

    def read(worker: str) -> bool:
        return ledger.run(read_standings(worker, [ONE, TWO], holds_ms=60_000)) is not None

    def publish(worker: str, score: float) -> bool:
        return ledger.run(publish_scores(worker, {QUEUE: {ONE: score}}, valid_ms=60_000))

    assert [read(worker) for worker in ("w1", "w2", "w1")] == [True, False, True]
    assert [publish("w1", 2.0), publish("w2", 3.0)] == [True, False]
    assert redis.hgetall(keys.of("scores", QUEUE)) == {ONE.encode(): b"2"}
    redis.delete(keys.of("scorer"))  # as if it had expired
    assert [read("w2"), read("w1"), publish("w1", 4.0), publish("w2", 5.0)] == [True, False, False, True]
    assert redis.hgetall(keys.of("scores", QUEUE)) == {ONE.encode(): b"5"}
    assert 0 < redis.pttl(keys.of("scores", QUEUE)) <= 60_000


def test_who_publishes_is_told_how_instances_are(fleet: Fleet) -> None:
    fleet.end(fleet.due(), "failed")
    found = fleet.ledger.run(read_standings("w1", [TWO, ONE], holds_ms=1000))
    assert found is not None
    assert {name: status.state for name, status in found.items()} == {TWO: "healthy", ONE: "degraded"}
    assert found[ONE].failures == 1
