"""Somebody else writes to Redis: keys that become something else, fields that are garbage.

Whatever it is, no verb stops halfway, and the jobs of other queues are taken and finished.
"""

import secrets
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import redis
from byhand import configuration
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from ledger_hands import FAST, PLAN, LedgerHands, ids
from waiting import until

from echelon_workers.ledger import revisions
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.limits import Meter
from echelon_workers.ledger.listing import LISTED, list_jobs
from echelon_workers.ledger.probing import start_probes
from echelon_workers.ledger.scores import publish_scores, read_standings
from echelon_workers.ledger.scripts import script
from echelon_workers.ledger.status import cluster_status
from echelon_workers.ledger.verbs import NewJob, Terms, Verb, cancel, redrive, refuse, relocate, steer, submit

MODEL, MODEL_SCOPE = "openai-gpt4", "model:openai-gpt4"
TERMS = Terms(lease_ms=60_000)
GARBAGE = ["garbage", "", "-1", "7.5", "\x00", b"\xff\xfe", "nan"]
#: What shows jobs and numbers to people may fail at what is neither.
READERS = ("status", "jobs", "score")
SAFE = tuple(f"p{i}" for i in range(4))


def build(url: str) -> LedgerHands:
    """A small cluster with a job in every place."""
    hands = LedgerHands(Address(url, f"t{secrets.token_hex(4)}"), TERMS)
    revisions.publish(hands.ledger, configuration())
    scope, keys, db = hands.keys.of("scope", MODEL_SCOPE), hands.keys, hands.redis
    meters = (
        Meter("sliding_window", "requests", 500, 60_200, 60_200),
        Meter("weighted_window", "tokens", 10**6, 60, 9),
    )
    db.hset(scope, mapping={"cl": 50, "meters": "".join(map(str, meters))})
    db.hset(keys.of("scope", "node:summary"), "cl", 1)
    hands.submit("dead", "later", "unwanted", "running", deadline_ms=10**7)
    grants = hands.take(4, (FAST,), MODEL)
    hands.finish(grants[0], "bury")
    hands.finish(grants[1], "retry", delay_ms=10**6)
    hands.ledger.run(cancel(["unwanted"], "{}"))
    hands.submit("n1", "n2", "n3", node="summary")
    hands.submit("f1", "f2", priority=3, deadline_ms=10**7)
    hands.take(1, (FAST,), MODEL)
    hands.submit(*SAFE, queue=PLAN)
    db.lpush(keys.queue("celery"), '{"headers": {}}')
    hands.taken(0)
    hands.reap()
    hands.ledger.run(start_probes({MODEL: 1}, lease_ms=60_000))
    hands.ledger.run(publish_scores("s", {FAST: {MODEL: 1.0}}, valid_ms=60_000))
    return hands


def verbs(hands: LedgerHands) -> dict[str, Callable[[], Any]]:
    run, whole = hands.ledger.run, configuration()
    return {
        "renew": hands.reap,
        "submit": lambda: run(submit([NewJob(id="new", queue=FAST, request="{}", target=FAST, deadline_ms=10**6)])),
        "take": lambda: [hands.finish(grant, "retry") for grant in hands.take(3, (FAST, PLAN), MODEL)],
        "finish": lambda: [hands.finish(grant, "wait", delay_ms=1) for grant in hands.take(2, (FAST,), MODEL)],
        "settle": lambda: [hands.settle(grant, "return") for grant in hands.take(2, (FAST,), MODEL)],
        "cancel": lambda: run(cancel(["f1", "later", "running", "none"], "{}", remember_ms=1000)),
        "redrive": lambda: run(redrive(["dead", "f1", "none"])),
        "refuse": lambda: run(refuse(b'{"headers": {}}', "raw", "celery", "{}", {}, TERMS)),
        "steer": lambda: [run(steer(order, [FAST])) for order in ("pause", "drain", "resume")],
        "relocate": lambda: run(relocate(FAST, "fast_group.echelon2", most=2)),
        "probe": lambda: run(start_probes({MODEL: 1}, lease_ms=60_000)),
        "score": lambda: (run(read_standings("s", [MODEL], holds_ms=1000)), run(publish_scores("s", {}, valid_ms=1))),
        "arrive": lambda: run(Verb(script("arrive"), [secrets.token_hex(4), 2000], int)),
        "status": lambda: cluster_status(hands.ledger, whole, 1),
        "jobs": lambda: hands.ledger.follow(list_jobs(LISTED, "", list(whole.queues), 50)),
        "lapse": lambda: hands.redis.type(hands.keys.of("running")) == b"zset" and hands.lapse("running", "n1", "f1"),
        "publish": lambda: revisions.publish(hands.ledger, whole),
    }


def spoil(lot: Random, hands: LedgerHands, key: bytes) -> str:
    """Make something else of a key, or of one thing in it."""
    db = hands.redis
    kind, garbage = db.type(key).decode(), lot.choice(GARBAGE)
    into = lot.choice(["string", "list", "set", "zset", "hash", "inside", "inside", "nothing"])
    if into == "inside":
        inside: dict[str, Callable[[], Any]] = {
            "hash": lambda: db.hset(key, lot.choice(sorted(db.hkeys(key))), garbage),
            "list": lambda: db.rpush(key, garbage),
            "set": lambda: db.sadd(key, garbage),
            "zset": lambda: db.zadd(key, {garbage: lot.choice([0.0, 1e15, float("inf"), float("-inf")])}),
            "string": lambda: db.set(key, garbage),
        }
        inside[kind]()
        return f"{garbage!r} in {key!r}, a {kind}"
    db.delete(key)
    made: dict[str, Callable[[], Any]] = {
        "string": lambda: db.set(key, garbage),
        "list": lambda: db.rpush(key, garbage),
        "set": lambda: db.sadd(key, garbage),
        "zset": lambda: db.zadd(key, {garbage: 1}),
        "hash": lambda: db.hset(key, "x", garbage),
    }
    if into in made:
        made[into]()
    return f"{key!r}, a {kind}, is a {into} of {garbage!r}"


def is_theirs(key: bytes) -> bool:
    """Whether the queue whose jobs must not suffer has this key to itself, or it says what is there to call at all."""
    own = (b"plan_group", *(f"job:{id}".encode() for id in SAFE), b":paused", b":plans", b"revision")
    return any(part in key for part in own)


@pytest.fixture(scope="module")
def url(redis_url: str) -> str:
    return redis_url


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
def test_whatever_becomes_of_keys_no_verb_breaks_and_the_jobs_of_other_queues_go_on(seed: int, url: str) -> None:
    hands, lot = build(url), Random(seed)
    try:
        keys = sorted(key for key in hands.redis.scan_iter(f"{hands.keys.queue_prefix}*") if not is_theirs(key))
        for key in lot.sample(keys, lot.randint(1, 3)):
            note(spoil(lot, hands, key))
        calls = verbs(hands)
        for name in lot.sample(sorted(calls), len(calls)):
            note(name)
            refusal = refused(calls[name], name in READERS)
            assert refusal is None or "WRONGTYPE the " in refusal, f"{name}: {refusal}"
            in_one_place(hands)
        until(lambda: all_are_answered(hands), timeout_s=3, what="the jobs of the other queue are answered")
    finally:
        hands.close()


def refused(call: Callable[[], Any], is_reader: bool) -> str | None:
    """What Redis says where a verb does not work; None where it does."""
    try:
        call()
    except redis.ResponseError as error:
        return str(error)
    except ValueError:
        if not is_reader:
            raise
    return None


def all_are_answered(hands: LedgerHands) -> bool:
    hands.redis.delete(hands.keys.of("blocked"))
    for grant in hands.take(20, (FAST, PLAN), MODEL):
        hands.finish(grant)
    return all(hands.field(id, "state") == "answered" for id in SAFE)


def in_one_place(hands: LedgerHands) -> None:
    """The undamaged jobs: in their queue, or running, or ended."""
    waiting = hands.list(PLAN)
    for id in SAFE:
        state = hands.field(id, "state")
        assert waiting.count(id) == (state == "queued"), f"{id} is {state}, and {waiting} waits"


def test_a_record_that_was_overwritten_is_buried_with_its_reason_and_kept_aside(address: Address) -> None:
    hands = LedgerHands(address, TERMS)
    hands.submit("a", "b")
    hands.redis.set(hands.keys.of("job", "a"), "garbage")
    assert ids(hands.take()) == ["b"]
    record = hands.record("a")
    assert (record.state, record.error) == (
        "dead",
        {"code": "unreadable", "message": "its record was overwritten in Redis"},
    )
    assert hands.redis.get(hands.keys.own + "damaged:job:a") == b"garbage"
    hands.close()


def test_a_queue_whose_limits_are_garbage_keeps_its_jobs_and_holds_up_no_other(address: Address) -> None:
    hands = LedgerHands(address, TERMS)
    for queue in (FAST, PLAN):
        hands.redis.set(hands.keys.of("plan", queue), f"one {queue} 0 typical|echelon:{queue}")
    hands.redis.hset(hands.keys.of("scope", f"echelon:{FAST}"), "meters", "sliding_window requests many much more;")
    hands.submit("a", "b")
    hands.submit("c", queue=PLAN)
    taken = hands.taken()
    assert ids(taken.grants) == ["c"]
    assert taken.broken == {FAST}
    assert hands.list() == ["a", "b"]
    hands.close()


@pytest.mark.parametrize("priority", ["7.5", "99", "-1", "garbage", ""])
def test_a_job_never_goes_to_a_list_that_nobody_looks_at(address: Address, priority: str) -> None:
    hands = LedgerHands(address, TERMS)
    hands.submit("a")
    (grant,) = hands.take()
    hands.redis.hset(hands.keys.of("job", "a"), "priority", priority)
    assert hands.settle(grant, "return")
    assert (hands.list(), ids(hands.take())) == (["a"], ["a"])
    hands.close()
