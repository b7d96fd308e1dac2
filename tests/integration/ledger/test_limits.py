"""Limits one by one: tokens, queue sizes, ageing, grants that lapse, and what a provider says of its own limits."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from echelon_configs import Configuration, load
from echelon_workers.ledger import revisions
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.record import FIELDS, JobRecord, read_record, with_wait
from echelon_workers.ledger.status import ScopeStatus, cluster_status
from echelon_workers.ledger.verbs import (
    Finish,
    Full,
    Grant,
    NewJob,
    Settlement,
    Taken,
    Terms,
    finish,
    renew,
    settle,
    submit,
    take,
)

TERMS = Terms(lease_ms=60_000, retention_ms=60_000)
FAST, PLAN = "fast_group.echelon1", "fast_group.echelon2"
CLUSTER = """\
task_groups:
  fast_group:
    echelon1: {{models: [openai-one], max_tokens: 100, {first}}}
    echelon2: {{models: [openai-one], max_tokens: 100, {second}}}
    fallback_strategy: echelon_down
{more}
"""


@pytest.fixture
def ledger(address: Address) -> Iterator[Ledger]:
    with_ledger = Ledger(address)
    yield with_ledger
    with_ledger.close()


class Cluster:
    """A published configuration, and a worker by hand."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.ledger, self.folder = ledger, folder
        self.sequence = self.made = 0

    def publish(self, first: str = "priority: 1", second: str = "priority: 2", more: str = "") -> Configuration:
        groups = self.folder / "llms" / "groups"
        groups.mkdir(parents=True, exist_ok=True)
        (groups / "_task_groups.yaml").write_text(CLUSTER.format(first=first, second=second, more=more))
        (self.folder / "workflows").mkdir(exist_ok=True)
        node = (
            "{type: llm_node, config: {llm_group: fast_group.echelon1}, concurrency_config: {limit: 1, queue_size: 2}}"
        )
        (self.folder / "workflows" / "nodes.yaml").write_text(f"nodes: {{step: {node}}}\n")
        self.configuration = load(self.folder).configuration
        revisions.publish(self.ledger, self.configuration)
        return self.configuration

    def submit(self, *ids: str, queue: str = FAST, **options: Any) -> list[bool] | Full:
        return self.ledger.run(
            submit([NewJob(id=id, queue=queue, request="{}", target=queue, **options) for id in ids])
        )

    def take(self, want: int = 10, *queues: str, worker: str = "w", urgent: int | None = None) -> Taken:
        self.sequence += 1
        served = [(queue, "openai-one") for queue in queues or (FAST, PLAN)]
        verb = take(
            worker, self.sequence, self.sequence - 1, served, want=want, urgent=urgent, fills=False, terms=TERMS
        )
        return self.ledger.run(verb)

    def finish(self, grant: Grant, **values: Any) -> bool:
        end = {"decision": "answer", "payload": "{}", "entry": "{}", "retention_ms": 60_000, **values}
        return self.ledger.run(finish(Finish(id=grant.id, lease=grant.lease, **end)))

    def open_marks(self) -> None:
        """Marks only save work; a test does not wait for them to run out."""
        self.ledger.redis.delete(self.ledger.keys.of("blocked"))

    def scope(self, name: str) -> ScopeStatus:
        status = cluster_status(self.ledger, self.configuration, 1)
        return next(scope for scope in status.scopes if f"{scope.level}:{scope.name}" == name)

    def record(self, id: str) -> JobRecord:
        keys, redis = self.ledger.keys, self.ledger.redis
        found = read_record(id, redis.hmget(keys.of("job", id), FIELDS))
        assert found is not None
        mark, paused = redis.hget(keys.of("blocked"), found.queue), redis.sismember(keys.of("paused"), found.queue)
        return with_wait(found, mark, bool(paused))

    def make_older(self, key: str, field: str, ms: int) -> None:
        value = self.ledger.redis.hget(key, field)
        assert value is not None
        self.ledger.redis.hset(key, field, int(value) - ms)


@pytest.fixture
def cluster(ledger: Ledger, tmp_path: Path) -> Cluster:
    return Cluster(ledger, tmp_path)


def ids(taken: Taken) -> list[str]:
    return [grant.id for grant in taken.grants]


# Tokens


def test_tokens_are_reserved_and_settled_with_what_was_used(cluster: Cluster) -> None:
    cluster.publish(first="tpm_limit: 300")
    cluster.submit("a", "b", "c", input_tokens=50)
    grants = cluster.take().grants
    assert [grant.id for grant in grants] == ["a", "b"], "150 tokens each: a third would be 450"
    cluster.finish(grants[0], counted_tokens=60)
    cluster.open_marks()
    assert cluster.scope(f"echelon:{FAST}").rates[0].used == 210
    assert ids(cluster.take()) == [], "its 150 do not fit beside 210"
    cluster.finish(grants[1], counted_tokens=70)
    cluster.open_marks()
    assert ids(cluster.take()) == ["c"]
    assert cluster.scope(f"echelon:{FAST}").rates[0].used == 60 + 70 + 150


def test_a_settled_reservation_wakes_a_worker_whose_queue_was_short_of_tokens(cluster: Cluster, ledger: Ledger) -> None:
    cluster.publish(first="tpm_limit: 300")
    cluster.submit("a", "b", "c", input_tokens=50)
    first, _ = cluster.take().grants
    assert ids(cluster.take()) == []
    with ledger.redis.pubsub(ignore_subscribe_messages=True) as heard:  # type: ignore[no-untyped-call]
        heard.subscribe(ledger.keys.of("wake", "w"))
        heard.get_message(timeout=5)
        cluster.finish(first, counted_tokens=0)
        until(lambda: heard.get_message(timeout=1), what="the worker is woken")
    assert ids(cluster.take()) == ["c"]


def test_unknown_usage_stays_reserved(cluster: Cluster) -> None:
    cluster.publish(first="tpm_limit: 300")
    cluster.submit("a", input_tokens=50)
    cluster.finish(*cluster.take().grants)
    assert cluster.scope(f"echelon:{FAST}").rates[0].used == 150


def test_an_overrun_is_a_debt_and_reported(cluster: Cluster) -> None:
    cluster.publish(first="tpm_limit: 300")
    cluster.submit("a", "b", input_tokens=50)
    cluster.finish(cluster.take(1).grants[0], counted_tokens=1000)
    scope = cluster.scope(f"echelon:{FAST}")
    assert (scope.rates[0].used, scope.overrun_tokens) == (1000, 850)
    cluster.open_marks()
    assert ids(cluster.take()) == []


def test_an_answer_is_expected_to_be_as_long_as_those_before(cluster: Cluster, ledger: Ledger) -> None:
    cluster.publish(first="tpm_limit: 10000")
    for number in range(8):
        cluster.submit(f"s{number}", input_tokens=10)
        cluster.finish(cluster.take().grants[0], counted_tokens=30, output_tokens=20)
    cluster.submit("next", input_tokens=10)
    cluster.take()
    mean, deviation = 20.0, 10.0
    for _ in range(8):
        deviation += (0 - deviation) / 4
    reserved = ledger.redis.hget(ledger.keys.of("job", "next"), "reserved")
    assert reserved is not None
    assert abs(int(reserved) - (10 + math.ceil(mean + 4 * deviation))) <= 1


def test_worst_case_reserves_all_that_an_answer_may_have(cluster: Cluster, ledger: Ledger) -> None:
    cluster.publish(first="tpm_limit: 1000", more="rate_limiting: {enabled: false, estimate: worst_case}")
    cluster.submit("a", input_tokens=10, worst_input_tokens=40)
    cluster.submit("b", input_tokens=10, worst_input_tokens=40, max_tokens=70)
    cluster.take()
    keys = ledger.keys
    assert [ledger.redis.hget(keys.of("job", id), "reserved") for id in "ab"] == [b"140", b"110"]


def test_where_reservations_are_kept_only_more_than_that_counts_otherwise(cluster: Cluster) -> None:
    cluster.publish(first="tpm_limit: 1000", more="rate_limiting: {enabled: false, settle: reserved}")
    cluster.submit("less", "more", "unused", input_tokens=50)
    less, more, unused = cluster.take().grants
    cluster.finish(less, counted_tokens=20)
    assert cluster.scope(f"echelon:{FAST}").rates[0].used == 450
    cluster.finish(more, counted_tokens=200)
    assert cluster.scope(f"echelon:{FAST}").rates[0].used == 500
    cluster.ledger.run(settle([Settlement(id=unused.id, lease=unused.lease, ending="unused")], TERMS))
    assert cluster.scope(f"echelon:{FAST}").rates[0].used == 350


def test_a_large_job_at_the_head_is_not_passed_for_ever(cluster: Cluster, ledger: Ledger) -> None:
    (cluster.folder / "llms").mkdir()
    (cluster.folder / "llms" / "openai-one.yaml").write_text("model_type: openai\nmodel_name: one\ntpm_limit: 1000\n")
    cluster.publish()
    cluster.submit("small0", queue=PLAN, input_tokens=300)
    small = cluster.take(1, PLAN).grants[0]
    cluster.submit("large", input_tokens=850)
    assert ids(cluster.take(1, FAST)) == []
    cluster.open_marks()
    cluster.submit("small1", queue=PLAN, input_tokens=100)
    assert ids(cluster.take(1, PLAN)) == ["small1"], "a moment is no reason to hold others up"
    # Two seconds later the large one reserves.
    now = ledger.redis.get(ledger.keys.of("clock"))
    assert now is not None
    ledger.redis.hset(ledger.keys.of("blocked"), FAST, f"0 w {int(now) - 2500} model:openai-one")
    assert ids(cluster.take(1, FAST)) == []
    cluster.submit("small2", queue=PLAN, input_tokens=100)
    assert ids(cluster.take(1, PLAN)) == [], "what is left is kept for the large one"
    cluster.finish(small, counted_tokens=0)
    cluster.open_marks()
    cluster.finish(Grant("small1", PLAN, "1", "", "", b"", "", "", 0, 0, 0, False, "", ""), counted_tokens=0)
    cluster.open_marks()
    assert ids(cluster.take(1, FAST)) == ["large"]
    assert not ledger.redis.hexists(ledger.keys.of("scope", "model:openai-one"), "vq")


def test_a_job_too_large_for_a_lowered_limit_stands_aside(cluster: Cluster) -> None:
    cluster.publish(first="tpm_limit: 1000")
    cluster.submit("large", input_tokens=500)
    cluster.submit("small", input_tokens=50)
    cluster.publish(first="tpm_limit: 200")
    assert ids(cluster.take()) == ["small"]
    record = cluster.record("large")
    assert (record.state, record.waits_for) == ("delayed", f"echelon:{FAST}")
    cluster.publish(first="tpm_limit: 2000")
    cluster.ledger.redis.zadd(cluster.ledger.keys.of("delayed"), {"large": 1})
    assert ids(cluster.take()) == ["large"]


# Waiting


def test_a_full_echelon_refuses_all_of_a_submit_and_says_when(cluster: Cluster) -> None:
    cluster.publish(first="queue_size: 3")
    assert cluster.submit("a", "b") == [True, True]
    full = cluster.submit("c", "d")
    assert isinstance(full, Full)
    assert (full.scope, full.limit, full.waiting) == (f"echelon:{FAST}", 3, 2)
    assert full.retry_after_ms > 0
    assert cluster.ledger.redis.llen(cluster.ledger.keys.queue(FAST)) == 2
    assert not cluster.ledger.redis.exists(cluster.ledger.keys.of("job", "c"))
    assert cluster.submit("c") == [True]


def test_a_known_job_is_no_new_one_for_a_full_queue(cluster: Cluster) -> None:
    cluster.publish(first="queue_size: 2")
    cluster.submit("a", "b")
    assert cluster.submit("a", "b") == [False, False]


def test_the_time_a_full_queue_names_is_the_time_it_takes_at_its_pace(cluster: Cluster) -> None:
    cluster.publish(first="queue_size: 10")
    # Sixty starts as they are remembered over half a minute: two a second.
    keys, redis = cluster.ledger.keys, cluster.ledger.redis
    cluster.submit("a")
    now = redis.get(keys.of("clock"))
    assert now is not None
    redis.hset(keys.of("pace"), FAST, f"60 {int(now)} {int(now) - 3_600_000}")
    cluster.submit(*(f"j{i}" for i in range(9)))
    full = cluster.submit(*(f"k{i}" for i in range(4)))
    assert isinstance(full, Full)
    assert 1900 <= full.retry_after_ms <= 2500, "four more than fit, at two a second"


def test_a_pace_of_which_little_is_known_is_not_taken_for_a_slow_one(cluster: Cluster, ledger: Ledger) -> None:
    cluster.publish(first="queue_size: 10")
    cluster.submit(*(str(i) for i in range(10)))
    assert len(cluster.take(5).grants) == 5
    cluster.submit(*(f"j{i}" for i in range(5)))
    full = cluster.submit("one more")
    assert isinstance(full, Full)
    assert full.retry_after_ms <= 300, "five have started within the last second"


@pytest.mark.parametrize(
    ("options", "scope"),
    [
        ({"more": "concurrency_control: {levels: [{group_level: {queue_size: 2}}]}"}, "group:fast_group"),
        ({"more": "concurrency_control: {levels: [{echelon_level: {queue_size: 2}}]}"}, f"echelon:{FAST}"),
        ({}, "node:step"),
    ],
)
def test_every_level_bounds_its_waiting(cluster: Cluster, options: dict[str, str], scope: str) -> None:
    cluster.publish(**options)
    assert cluster.submit("a", "b", node="step") == [True, True]
    full = cluster.submit("c", node="step")
    assert isinstance(full, Full)
    assert full.scope == scope


def test_a_group_counts_the_jobs_of_all_its_echelons(cluster: Cluster) -> None:
    cluster.publish(more="concurrency_control: {levels: [{group_level: {queue_size: 3}}]}")
    cluster.submit("a", "b")
    cluster.submit("c", queue=PLAN)
    full = cluster.submit("d", queue=PLAN)
    assert isinstance(full, Full)
    assert full.scope == "group:fast_group"
    assert full.waiting == 3


def test_the_jobs_of_a_node_count_until_they_run_and_again_when_they_come_back(cluster: Cluster) -> None:
    cluster.publish()
    cluster.submit("a", "b", node="step")
    grant = cluster.take().grants[0]
    assert cluster.scope("node:step").waiting == 1
    cluster.ledger.run(settle([Settlement(id=grant.id, lease=grant.lease, ending="return")], TERMS))
    assert cluster.scope("node:step").waiting == 2
    assert isinstance(cluster.submit("c", node="step"), Full)


def test_a_record_says_what_its_job_waits_for_and_since_when(cluster: Cluster, ledger: Ledger) -> None:
    cluster.publish(first="concurrency_limit: 1")
    cluster.submit("a", "b", "c")
    cluster.take()
    waiting = cluster.record("b")
    assert waiting.waits_for == f"echelon:{FAST}"
    assert waiting.waits_since_ms >= waiting.created_ms > 0
    cluster.submit("n1", "n2", node="step", queue=PLAN)
    cluster.take(10, PLAN)
    assert cluster.record("n2").waits_for == "node:step"
    ledger.redis.sadd(ledger.keys.of("paused"), FAST)
    assert cluster.record("c").waits_for == "paused"
    assert cluster.record("a").waits_for == "", "it runs"


def test_a_mark_of_another_version_is_no_reason_to_show_nothing(cluster: Cluster, ledger: Ledger) -> None:
    cluster.publish()
    cluster.submit("a")
    ledger.redis.hset(ledger.keys.of("blocked"), FAST, "17 worker model:openai-one")
    assert cluster.record("a").waits_for == ""


def test_how_long_nothing_has_started_is_counted_from_the_last_start(cluster: Cluster, ledger: Ledger) -> None:
    cluster.publish(first="concurrency_limit: 1")
    cluster.submit("a", "b", "c")
    grant = cluster.take().grants[0]
    for id in "abc":
        cluster.make_older(ledger.keys.of("job", id), "created", 10_000)
    since = cluster.record("b").waits_since_ms
    ledger.redis.hset(ledger.keys.of("blocked"), FAST, f"0 w {since - 5_000} echelon:{FAST}")
    cluster.take()
    assert cluster.record("b").waits_since_ms == since - 5_000
    cluster.finish(grant)
    assert ids(cluster.take()) == ["b"]
    assert cluster.record("c").waits_since_ms >= since


def test_a_lower_priority_grows_with_waiting_so_that_nothing_starves(cluster: Cluster, ledger: Ledger) -> None:
    cluster.publish()
    cluster.submit("old", priority=0)
    cluster.submit("new", priority=2)
    assert ids(cluster.take(1)) == ["new"]
    cluster.submit("newer", priority=2)
    cluster.make_older(ledger.keys.of("job", "old"), "created", 121_000)
    assert ids(cluster.take(2)) == ["old", "newer"]


# Grants


def test_a_grant_under_a_rate_says_within_what_time_it_has_to_be_used(cluster: Cluster) -> None:
    cluster.publish(first="rpm_limit: 600", second="concurrency_limit: 5")
    cluster.submit("a")
    cluster.submit("b", queue=PLAN)
    within = {grant.id: grant.use_within_ms for grant in cluster.take().grants}
    assert within == {"a": 133, "b": None}


def test_a_grant_that_was_not_used_spends_nothing(cluster: Cluster) -> None:
    cluster.publish(first="rpm_limit: 1, tpm_limit: 200")
    cluster.submit("a")
    grant = cluster.take().grants[0]
    cluster.ledger.run(settle([Settlement(id=grant.id, lease=grant.lease, ending="unused")], TERMS))
    cluster.open_marks()
    assert [rate.used for rate in cluster.scope(f"echelon:{FAST}").rates] == [0, 0]
    again = cluster.take().grants[0]
    assert again.id == "a"
    cluster.ledger.run(settle([Settlement(id="a", lease=again.lease, ending="return")], TERMS))
    cluster.open_marks()
    assert ids(cluster.take()) == [], "a call that was made counts, whatever became of it"


def test_a_clump_of_permits_is_spread_over_the_workers(cluster: Cluster, ledger: Ledger) -> None:
    cluster.publish(first="rpm_limit: 600")
    cluster.take(worker="other")
    cluster.submit(*(str(i) for i in range(100)))
    ledger.redis.sadd(ledger.keys.of("idle", FAST), "other")
    with ledger.redis.pubsub(ignore_subscribe_messages=True) as heard:  # type: ignore[no-untyped-call]
        heard.subscribe(ledger.keys.of("wake", "other"))
        heard.get_message(timeout=5)
        assert len(cluster.take(100, urgent=16).grants) == 16
        until(lambda: heard.get_message(timeout=1), what="the next worker is woken for the rest")


def test_a_permit_that_comes_back_for_a_queue_without_jobs_goes_to_another(cluster: Cluster, ledger: Ledger) -> None:
    cluster.publish(more="concurrency_control: {levels: [{group_level: {limit: 1}}]}")
    cluster.submit("a", "b")
    cluster.submit("c", queue=PLAN)
    grant = cluster.take(10, FAST, PLAN).grants[0]
    cluster.take(10, FAST, PLAN)
    ledger.redis.delete(ledger.keys.queue(FAST))  # its jobs are gone, its mark is not
    with ledger.redis.pubsub(ignore_subscribe_messages=True) as heard:  # type: ignore[no-untyped-call]
        heard.subscribe(ledger.keys.of("wake", "w"))
        heard.get_message(timeout=5)
        cluster.finish(grant)
        message = until(lambda: heard.get_message(timeout=1), what="the worker is woken")
    assert message["data"] == PLAN.encode()
    assert ids(cluster.take()) == ["c"]


# What the provider says


def test_a_429_rests_its_instance_and_lowers_its_rates_until_they_recover(cluster: Cluster, ledger: Ledger) -> None:
    (cluster.folder / "llms").mkdir()
    (cluster.folder / "llms" / "openai-one.yaml").write_text("model_type: openai\nmodel_name: one\nrpm_limit: 100\n")
    cluster.publish()
    cluster.submit("a")
    cluster.finish(cluster.take().grants[0], decision="wait", delay_ms=5_000)
    scope = cluster.scope("model:openai-one")
    assert 4_000 < scope.rests_ms <= 5_000
    assert scope.next_free_ms is not None
    assert scope.next_free_ms > 4_000
    assert (scope.rates[0].limit, scope.rates[0].effective) == (100, 90)
    cluster.make_older(ledger.keys.of("scope", "model:openai-one"), "eased", 3_000)
    assert cluster.scope("model:openai-one").rates[0].effective == 95
    cluster.make_older(ledger.keys.of("scope", "model:openai-one"), "eased", 3_000)
    assert cluster.scope("model:openai-one").rates[0].effective == 100


def test_a_rest_is_only_ever_extended(cluster: Cluster) -> None:
    cluster.publish()
    cluster.submit("a", "b")
    first, second = cluster.take().grants
    cluster.finish(first, decision="wait", delay_ms=9_000)
    cluster.finish(second, decision="wait", delay_ms=2_000)
    assert cluster.scope("model:openai-one").rests_ms > 8_000


def test_a_429_empties_a_bucket(cluster: Cluster) -> None:
    model = "model_type: openai\nmodel_name: one\nrate_limiting: {bucket_size: 10, refill_rate: 1}\n"
    (cluster.folder / "llms").mkdir()
    (cluster.folder / "llms" / "openai-one.yaml").write_text(model)
    cluster.publish()
    cluster.submit("a")
    cluster.finish(cluster.take().grants[0], decision="wait", delay_ms=1)
    assert cluster.scope("model:openai-one").rates[0].used > 9


def test_limits_that_a_provider_states_hold_where_ours_are_higher_or_none(cluster: Cluster) -> None:
    cluster.publish()
    cluster.submit(*(str(i) for i in range(5)))
    cluster.finish(cluster.take(1).grants[0], stated="3 2 500")
    rates = cluster.scope("model:openai-one").rates
    assert [(rate.unit, rate.limit) for rate in rates] == [("requests", 3), ("tokens", 500)]
    assert len(cluster.take().grants) == 2, "one of the three has been used"


def test_a_stated_limit_of_tokens_stops_no_job_for_good(cluster: Cluster) -> None:
    cluster.publish()
    cluster.submit("a", "b", input_tokens=50)
    cluster.finish(cluster.take(1).grants[0], stated="- - 10")
    assert ids(cluster.take(1)) == ["b"], "larger than what is stated, it waits for an empty window, and it is"


def test_a_stated_limit_never_raises_ours(cluster: Cluster) -> None:
    (cluster.folder / "llms").mkdir()
    (cluster.folder / "llms" / "openai-one.yaml").write_text("model_type: openai\nmodel_name: one\nrpm_limit: 2\n")
    cluster.publish()
    cluster.submit(*(str(i) for i in range(5)))
    cluster.finish(cluster.take(1).grants[0], stated="100 99 -")
    assert [rate.limit for rate in cluster.scope("model:openai-one").rates] == [2]
    assert len(cluster.take().grants) == 1


def test_what_others_use_of_a_providers_limit_is_not_ours(cluster: Cluster) -> None:
    (cluster.folder / "llms").mkdir()
    (cluster.folder / "llms" / "openai-one.yaml").write_text("model_type: openai\nmodel_name: one\nrpm_limit: 100\n")
    cluster.publish()
    cluster.submit("a", "b")
    first, second = cluster.take().grants
    cluster.finish(first, stated="100 98 -")
    assert cluster.scope("model:openai-one").rates[0].effective == 100, "two are gone, and two are ours"
    cluster.finish(second, stated="100 18 -")
    assert cluster.scope("model:openai-one").rates[0].effective == 20, "of 82 that are gone, 80 are somebody else's"


# Revisions


def test_a_limit_that_is_new_counts_what_was_granted_before(cluster: Cluster) -> None:
    cluster.publish()
    cluster.submit(*(str(i) for i in range(10)))
    assert len(cluster.take(6).grants) == 6
    cluster.publish(first="rpm_limit: 8")
    assert len(cluster.take().grants) == 2


def test_a_dead_workers_tokens_stay_reserved(cluster: Cluster, ledger: Ledger) -> None:
    cluster.publish(first="tpm_limit: 1000")
    cluster.submit("a", input_tokens=50)
    cluster.take()
    ledger.redis.zadd(ledger.keys.of("running"), {"a": 1})
    ledger.run(renew("reaper", "{}", 1000, [], TERMS))
    assert cluster.record("a").state == "queued"
    assert cluster.scope(f"echelon:{FAST}").rates[0].used == 150
