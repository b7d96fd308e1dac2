"""Breakers: an instance that fails is out for the whole fleet, and comes back through as many probes as configured."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from echelon_configs import load
from echelon_workers.ledger import revisions
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.verbs import (
    Finish,
    Grant,
    NewJob,
    Settlement,
    Taken,
    Terms,
    finish,
    readmit,
    renew,
    settle,
    submit,
    take,
)

TERMS = Terms(lease_ms=60_000, retention_ms=60_000)
FAST, PLAN, ALONE = "fast_group.echelon1", "fast_group.echelon2", "fast_group.echelon3"
CLUSTER = """\
task_groups:
  fast_group:
    echelon1: {models: [openai-one, openai-two]}
    echelon2: {models: [openai-two]}
    echelon3: {models: [openai-one]}
    circuit_breaker: {failure_threshold: 3, recovery_time: 10, half_open_requests: 2}
    fallback_strategy: echelon_down
"""
MODEL = "model:openai-one"


class Fleet:
    """Eight workers by hand on one queue of two instances."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.ledger = ledger
        groups = folder / "llms" / "groups"
        groups.mkdir(parents=True)
        (groups / "_task_groups.yaml").write_text(CLUSTER)
        self.folder = folder
        self.publish()
        self.sequences = dict.fromkeys(range(8), 0)
        self.jobs = 0

    def publish(self) -> None:
        revisions.publish(self.ledger, load(self.folder).configuration)

    def submit(self, many: int, queue: str = FAST) -> None:
        new = [NewJob(id=f"j{self.jobs + i}", queue=queue, request="{}", target=queue) for i in range(many)]
        self.jobs += many
        self.ledger.run(submit(new))

    def take(self, want: int = 10, *, worker: int = 0, queue: str = FAST, instances: str = "openai-one") -> Taken:
        self.ledger.redis.delete(self.ledger.keys.of("blocked"))
        self.sequences[worker] += 1
        sequence = self.sequences[worker]
        verb = take(f"w{worker}", sequence, sequence - 1, [(queue, instances)], want=want, fills=False, terms=TERMS)
        return self.ledger.run(verb)

    def one(self, **options: Any) -> Grant:
        self.submit(1, options.get("queue", FAST))
        (grant,) = self.take(1, **options).grants
        return grant

    def finish(self, grant: Grant, *, ok: bool, **options: Any) -> None:
        values: dict[str, Any] = {"payload": "{}", "entry": "{}", "retention_ms": 60_000}
        values |= {"decision": "answer" if ok else "bury", "health": "ok" if ok else "failed", "code": "server_failed"}
        assert self.ledger.run(finish(Finish(id=grant.id, lease=grant.lease, **{**values, **options})))

    def field(self, name: str) -> int:
        return int(self.ledger.redis.hget(self.ledger.keys.of("scope", MODEL), name) or 0)

    def open(self) -> None:
        for _ in range(3):
            self.finish(self.one(), ok=False)
        assert self.field("bo") > 0

    def recovery_passes(self) -> None:
        self.ledger.redis.hset(self.ledger.keys.of("scope", MODEL), "bo", 1)


@pytest.fixture
def fleet(address: Address, tmp_path: Path) -> Iterator[Fleet]:
    ledger = Ledger(address)
    yield Fleet(ledger, tmp_path)
    ledger.close()


def without(taken: Taken) -> list[str]:
    """Jobs that were handed out without an instance, to be sent elsewhere."""
    return [grant.id for grant in taken.grants if not grant.instance]


def test_failures_in_a_row_open_it_and_a_success_between_does_not(fleet: Fleet) -> None:
    for ok in (False, False, True, False, False):
        fleet.finish(fleet.one(), ok=ok)
    assert fleet.field("bo") == 0
    fleet.finish(fleet.one(), ok=False)
    assert fleet.field("bo") > 0


def test_answers_from_before_the_outage_do_not_keep_it_closed(fleet: Fleet) -> None:
    early = [fleet.one() for _ in range(4)]
    for grant in early:
        fleet.ledger.redis.hset(fleet.ledger.keys.of("job", grant.id), "started", 1)
    for grant in early[:3]:
        fleet.finish(fleet.one(), ok=False)
        fleet.finish(grant, ok=True)
    assert fleet.field("bo") > 0


def test_an_open_instance_gets_no_job_and_its_queue_uses_the_others(fleet: Fleet) -> None:
    fleet.open()
    fleet.submit(6)
    grants = fleet.take(instances="openai-one,openai-two").grants
    assert {grant.instance for grant in grants} == {"openai-two"}


def hold(fleet: Fleet, grant: Grant) -> None:
    values: dict[str, Any] = {"decision": "hold", "payload": "", "entry": "", "delay_ms": 60_000, "retention_ms": 1}
    fleet.ledger.run(finish(Finish(id=grant.id, lease=grant.lease, **values)))


def test_jobs_of_a_queue_whose_instances_are_all_out_are_handed_out_to_go_elsewhere(fleet: Fleet) -> None:
    fleet.open()
    fleet.submit(3, ALONE)
    taken = fleet.take(queue=ALONE)
    assert len(without(taken)) == 3
    assert fleet.field("cu") == 0, "they hold no permit"
    for grant in taken.grants:
        hold(fleet, grant)
    assert fleet.take(queue=ALONE).grants == [], "there is nowhere to go: they stay"
    record = fleet.ledger.redis.hgetall(fleet.ledger.keys.of("job", taken.grants[0].id))
    assert (record[b"state"], b"attempts" in record, b"trail" in record) == (b"queued", False, False)


def test_jobs_that_stay_keep_their_order_and_hide_nobody_behind_them(fleet: Fleet) -> None:
    fleet.open()
    fleet.submit(5, ALONE)
    first = fleet.take(queue=ALONE).grants
    for grant in reversed(first):
        hold(fleet, grant)
    fleet.submit(2, ALONE)
    assert len(without(fleet.take(queue=ALONE))) == 2, "nobody has asked for these yet"
    keys, redis = fleet.ledger.keys, fleet.ledger.redis
    assert [id.decode() for id in reversed(redis.lrange(keys.queue(ALONE), 0, -1))] == [grant.id for grant in first]


def test_expired_jobs_do_not_delay_those_behind_them(fleet: Fleet) -> None:
    fleet.open()
    fleet.submit(5, ALONE)
    for id in fleet.ledger.redis.lrange(fleet.ledger.keys.queue(ALONE), 0, -1)[1:]:
        fleet.ledger.redis.hset(fleet.ledger.keys.of("job", id.decode()), "deadline", 1)
    assert len(without(fleet.take(queue=ALONE))) == 1


def test_a_worker_without_the_key_of_an_instance_does_not_judge_for_those_that_have_it(fleet: Fleet) -> None:
    fleet.open()
    fleet.submit(2)
    fleet.ledger.run(renew("w2", "{}", 1000, [], TERMS, ["openai-two"]))
    assert fleet.take(worker=1, instances="openai-one").grants == [], "openai-two may take them, at another worker"
    assert not fleet.ledger.redis.hexists(fleet.ledger.keys.of("blocked"), FAST)
    assert [grant.instance for grant in fleet.take(worker=2, instances="openai-two").grants] == ["openai-two"] * 2


def test_an_instance_that_no_worker_has_a_key_for_keeps_no_job_waiting(fleet: Fleet) -> None:
    fleet.open()
    fleet.submit(2)
    assert len(without(fleet.take(worker=1, instances="openai-one"))) == 2


def test_fewer_probes_than_are_under_way_do_not_leave_it_half_open_for_ever(fleet: Fleet) -> None:
    fleet.open()
    fleet.recovery_passes()
    fleet.one(queue=ALONE)
    fleet.one(queue=ALONE)
    file = fleet.folder / "llms" / "groups" / "_task_groups.yaml"
    file.write_text(CLUSTER.replace("half_open_requests: 2", "half_open_requests: 1"))
    fleet.publish()
    probe = fleet.one(queue=ALONE)
    assert probe.instance == "openai-one"
    fleet.finish(probe, ok=True)
    assert fleet.field("bo") == 0


def test_what_began_before_it_opened_says_nothing_after_it_has_closed_either(fleet: Fleet) -> None:
    early = [fleet.one() for _ in range(3)]
    for grant in early:
        fleet.ledger.redis.hset(fleet.ledger.keys.of("job", grant.id), "started", 1)
    fleet.open()
    fleet.recovery_passes()
    for _ in range(2):
        fleet.finish(fleet.one(), ok=True)
    assert fleet.field("bo") == 0
    for grant in early:
        fleet.finish(grant, ok=False)
    assert (fleet.field("bo"), fleet.field("bf")) == (0, 0)


def test_an_instance_that_is_out_is_only_ever_out_for_longer(fleet: Fleet) -> None:
    first, second = fleet.one(), fleet.one()
    fleet.finish(first, ok=False, out_ms=7_200_000, code="quota_exhausted")
    until = fleet.field("bo")
    fleet.finish(second, ok=False, out_ms=900_000, code="quota_exhausted")
    assert (fleet.field("bo"), fleet.field("bn")) == (until, 1)


def test_a_job_that_avoids_all_that_is_not_out_holds_nobody_up(fleet: Fleet) -> None:
    fleet.open()
    fleet.submit(2)
    both = "openai-one,openai-two"
    first = fleet.take(1, instances=both).grants[0]
    assert first.instance == "openai-two"
    fleet.finish(first, ok=False, decision="retry", avoid="openai-two", health="")
    sent, other = fleet.take(2, instances=both).grants
    assert (sent.id, sent.instance) == (first.id, ""), "it may go elsewhere"
    assert other.instance == "openai-two"
    end = Finish(id=sent.id, lease=sent.lease, decision="hold", payload="", entry="", delay_ms=5000, retention_ms=1)
    fleet.ledger.run(finish(end))
    assert fleet.take(1, instances=both).grants[0].instance == "openai-two", "it has nowhere else to go"


def test_half_open_lets_exactly_as_many_probes_through_as_configured_fleet_wide(fleet: Fleet) -> None:
    fleet.open()
    fleet.recovery_passes()
    fleet.submit(20)
    started = [grant for worker in range(8) for grant in fleet.take(5, worker=worker).grants if grant.instance]
    assert len(started) == 2
    fleet.finish(started[0], ok=True)
    more = [grant for worker in range(8) for grant in fleet.take(5, worker=worker).grants if grant.instance]
    assert more == [], "one more success is needed, and its probe is under way"
    fleet.finish(started[1], ok=True)
    assert fleet.field("bo") == 0
    fleet.submit(3)
    assert all(grant.instance for grant in fleet.take(3).grants)


def test_a_probe_that_fails_opens_it_again_for_twice_as_long(fleet: Fleet) -> None:
    fleet.open()
    fleet.recovery_passes()
    probe = fleet.one()
    fleet.finish(probe, ok=False)
    now = int(fleet.ledger.redis.get(fleet.ledger.keys.of("clock")) or 0)
    assert fleet.field("bo") - now == 20_000
    fleet.recovery_passes()
    fleet.finish(fleet.one(), ok=False)
    now = int(fleet.ledger.redis.get(fleet.ledger.keys.of("clock")) or 0)
    assert fleet.field("bo") - now == 40_000


def test_what_began_before_it_opened_neither_closes_nor_extends_it(fleet: Fleet) -> None:
    early = [fleet.one() for _ in range(2)]
    fleet.open()
    until = fleet.field("bo")
    fleet.finish(early[0], ok=True)
    fleet.finish(early[1], ok=False)
    assert fleet.field("bo") == until


@pytest.mark.parametrize("how", ["unused", "return", "lapse", "429"])
def test_a_probe_that_ends_without_a_verdict_leaves_its_place_to_another(fleet: Fleet, how: str) -> None:
    fleet.open()
    fleet.recovery_passes()
    probe = fleet.one()
    assert fleet.field("bp") == 1
    if how == "lapse":
        fleet.ledger.redis.zadd(fleet.ledger.keys.of("running"), {probe.id: 1})
        fleet.ledger.run(renew("reaper", "{}", 1000, [], TERMS))
    elif how == "429":
        fleet.finish(probe, ok=False, decision="wait", health="")
    else:
        fleet.ledger.run(settle([Settlement(id=probe.id, lease=probe.lease, ending=how)], TERMS))  # type: ignore[arg-type]
    assert fleet.field("bp") == 0


def test_a_probe_of_an_earlier_phase_takes_no_place_from_a_later_one(fleet: Fleet) -> None:
    fleet.open()
    fleet.recovery_passes()
    late, failing = fleet.one(), fleet.one()
    fleet.finish(failing, ok=False)
    fleet.recovery_passes()
    fleet.one()
    assert fleet.field("bp") == 1
    fleet.ledger.run(settle([Settlement(id=late.id, lease=late.lease, ending="unused")], TERMS))
    assert fleet.field("bp") == 1


def test_a_used_up_quota_is_out_for_its_own_time_at_the_first_failure(fleet: Fleet) -> None:
    fleet.finish(fleet.one(), ok=False, out_ms=900_000, code="quota_exhausted")
    now = int(fleet.ledger.redis.get(fleet.ledger.keys.of("clock")) or 0)
    assert fleet.field("bo") - now == 900_000


@pytest.mark.parametrize("how", ["published", "a worker started"])
def test_a_refused_key_is_out_until_there_may_be_another(fleet: Fleet, how: str) -> None:
    fleet.finish(fleet.one(), ok=False, out_ms=-1, code="authentication_failed")
    fleet.submit(1, ALONE)
    assert without(fleet.take(queue=ALONE))
    if how == "published":
        fleet.publish()
    else:
        fleet.ledger.run(readmit(["openai-one"]))
    assert fleet.field("bo") == 0
    fleet.submit(1)
    assert fleet.take(1).grants[0].instance == "openai-one"


def test_a_move_re_enqueues_the_same_job_at_the_other_queue_as_the_last_of_its_guests(fleet: Fleet) -> None:
    grant = fleet.one()
    fleet.finish(grant, ok=False, decision="move", move_to=PLAN, strategy="echelon_down", history='{"id":"j0"}')
    keys, redis = fleet.ledger.keys, fleet.ledger.redis
    assert redis.lrange(keys.queue(PLAN, 10), 0, -1) == [grant.id.encode()]
    record = redis.hmget(keys.of("job", grant.id), "state", "queue", "home", "attempts")
    assert record == [b"queued", PLAN.encode(), FAST.encode(), b"1"]
    (again,) = fleet.take(queue=PLAN, instances="openai-two").grants
    assert (again.id, again.queue, again.instance) == (grant.id, PLAN, "openai-two")
    fleet.finish(again, ok=True)
    moves = redis.hgetall(keys.of("moves"))
    assert (moves[b"move echelon_down"], moves[b"answer echelon_down"]) == (b"1", b"1")
    assert redis.lrange(keys.of("history"), 0, -1) == [b'{"id":"j0"}']


def test_guests_and_a_queues_own_jobs_take_turns(fleet: Fleet) -> None:
    fleet.submit(20)
    for grant in fleet.take(20).grants:
        fleet.finish(grant, ok=False, decision="move", move_to=PLAN, health="")
    fleet.submit(4, PLAN)
    own = {f"j{i}" for i in range(20, 24)}
    first = fleet.take(8, queue=PLAN, instances="openai-two").grants
    assert own <= {grant.id for grant in first}
    assert len(first) == 8


def test_a_guest_that_comes_back_is_the_first_guest_again(fleet: Fleet) -> None:
    fleet.submit(2)
    for grant in fleet.take(2).grants:
        fleet.finish(grant, ok=False, decision="move", move_to=PLAN, health="")
    (grant,) = fleet.take(1, queue=PLAN, instances="openai-two").grants
    fleet.ledger.run(settle([Settlement(id=grant.id, lease=grant.lease, ending="unused")], TERMS))
    assert fleet.take(1, queue=PLAN, instances="openai-two").grants[0].id == grant.id
