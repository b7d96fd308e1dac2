"""Jobs that leave their place from its middle: cancelled, expired, moved elsewhere; and what they leave."""

from collections.abc import Iterator

import pytest
from byhand import configuration
from ledger_hands import FAST, PLAN, LedgerHands, ids

from echelon_workers.ledger import revisions
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.keys import GUESTS
from echelon_workers.ledger.status import cluster_status
from echelon_workers.ledger.verbs import NewJob, Relocated, Terms, cancel, redrive, relocate, steer, submit

REASON = '{"code":"cancelled","message":"nobody wants it"}'
NODE = "narrow"
OTHER = "other_group.echelon1"


@pytest.fixture
def hands(address: Address) -> Iterator[LedgerHands]:
    hands = LedgerHands(address, Terms(lease_ms=60_000, retention_ms=60_000))
    hands.redis.hset(hands.keys.of("scope", f"node:{NODE}"), "cl", 1)
    yield hands
    hands.close()


def many(hands: LedgerHands, count: int) -> None:
    for first in range(0, count, 500):
        jobs = [NewJob(id=f"j{first + i}", queue=FAST, request="{}", target=FAST) for i in range(500)]
        hands.ledger.run(submit(jobs))


# Cancelled and expired


def test_a_job_deep_in_a_long_list_is_cancelled_and_its_id_is_passed_over_later(hands: LedgerHands) -> None:
    many(hands, 30_000)
    chosen = ["j100", "j15000", "j29900"]
    assert hands.ledger.run(cancel(chosen, REASON)) == ["cancelled"] * 3
    assert hands.waiting() == 29_998, "the one in the middle is left where it is"
    assert [hands.record(id).state for id in chosen] == ["cancelled"] * 3
    hands.redis.ltrim(hands.keys.queue(FAST), 14_990, 15_009)  # what is around it
    assert len(hands.take(want=100)) == 19
    assert (hands.waiting(), hands.count(f"running:{FAST}")) == (0, 19)


def test_a_job_that_was_cancelled_deep_in_a_list_and_is_sent_again_runs_once(hands: LedgerHands) -> None:
    many(hands, 30_000)
    hands.ledger.run(cancel(["j15000"], REASON))
    assert hands.ledger.run(redrive(["j15000"])) == ["done"]
    list_, key = hands.list(FAST), hands.keys.queue(FAST)  # the first to start is the first
    before, anew = (i for i, id in enumerate(list_) if id == "j15000")
    assert (before, anew) == (15_000, 30_000), "its id is where it was, and last in line"
    kept = [*list_[before - 5 : before + 5], *list_[anew - 5 :]]  # what is around the two
    hands.redis.delete(key)
    hands.redis.lpush(key, *kept)
    taken = hands.take(want=100)
    assert ids(taken) == kept[:-1]
    assert hands.count(f"running:{FAST}") == len(taken) == 15
    for grant in taken:
        assert hands.finish(grant)
    assert (hands.take(), hands.waiting()) == ([], 0)
    assert hands.record("j15000").state == "answered"


def test_a_redrive_of_many_that_were_cancelled_deep_in_a_list_leaves_their_ids_there(hands: LedgerHands) -> None:
    many(hands, 30_000)
    chosen = [f"j{i}" for i in range(15_000, 15_500)]
    for first in range(0, 500, 100):
        assert hands.ledger.run(cancel(chosen[first : first + 100], REASON)) == ["cancelled"] * 100
    assert hands.ledger.run(redrive(chosen)) == ["done"] * 500
    assert hands.waiting() == 30_500, "their ids are where they were, and last in line"
    assert {hands.field(id, "tomb") for id in chosen} == {FAST}


def test_an_id_left_behind_in_another_queue_does_not_run_there(hands: LedgerHands) -> None:
    hands.submit("a")
    hands.redis.lpush(hands.keys.queue(PLAN), "a")
    assert hands.take(queues=(PLAN,)) == []
    assert [(grant.id, grant.queue) for grant in hands.take()] == [("a", FAST)]


def test_a_cancelled_job_leaves_its_node_and_the_next_one_starts(hands: LedgerHands) -> None:
    hands.submit("a", "b", "c", node=NODE)
    (a,) = hands.take()
    assert hands.ledger.run(cancel(["b"], REASON)) == ["cancelled"]
    assert hands.count(f"waiting:node:{NODE}") == 1
    hands.finish(a)
    assert ids(hands.take()) == ["c"]


def test_a_parked_job_and_one_in_a_paused_queue_expire_on_time(hands: LedgerHands) -> None:
    hands.submit("running", "parked", node=NODE, deadline_ms=60_000)
    hands.take()
    hands.submit("paused", queue=PLAN, deadline_ms=60_000)
    hands.ledger.run(steer("pause", [PLAN]))
    hands.due("deadlines", "running", "parked", "paused")
    hands.reap()
    states = [hands.record(id).state for id in ("running", "parked", "paused")]
    assert states == ["running", "expired", "expired"]
    error = hands.record("parked").error
    assert error is not None
    assert (error["code"], hands.field("parked", "cause")) == ("expired", "its deadline passed")
    assert hands.redis.zrange(hands.keys.of("deadlines"), 0, -1) == [b"running"]
    assert hands.count(f"waiting:node:{NODE}") == 0


def test_an_unknown_job_that_is_cancelled_is_remembered_only_where_that_was_asked(hands: LedgerHands) -> None:
    assert hands.ledger.run(cancel(["early"], REASON)) == ["unknown"]
    assert not hands.redis.exists(hands.keys.of("revoked", "early"))
    assert hands.ledger.run(cancel(["early"], REASON, remember_ms=60_000)) == ["unknown"]
    raw = b'{"headers": {"id": "early"}}'
    hands.ledger.run(submit([NewJob(id="early", queue=FAST, request="{}", target=FAST, foreign=True)], adopted=raw))
    assert (hands.record("early").state, hands.take(), hands.waiting()) == ("cancelled", [], 0)
    assert b"cancelled" in (hands.redis.get(f"{hands.keys.queue_prefix}celery-task-meta-early") or b"")


def test_a_worker_hears_at_once_which_of_its_jobs_nobody_wants(hands: LedgerHands) -> None:
    hands.submit("a")
    (grant,) = hands.take()
    with hands.redis.pubsub(ignore_subscribe_messages=True) as heard:  # type: ignore[no-untyped-call]
        heard.subscribe(hands.keys.of("unwanted", "w"))
        heard.get_message(timeout=5)
        hands.ledger.run(cancel(["a"], REASON))
        told = heard.get_message(timeout=5)
    assert told["data"] == f"a {grant.lease}".encode()
    assert hands.reap(grant).unwanted == [("a", grant.lease)]
    assert hands.settle(grant, "cancel")
    assert hands.record("a").error == {"code": "cancelled", "message": "nobody wants it"}


def test_an_answer_that_was_there_first_is_kept(hands: LedgerHands) -> None:
    hands.submit("a", "b")
    a, b = hands.take()
    hands.ledger.run(cancel(["a", "b"], REASON))
    assert hands.finish(a, "answer")
    assert hands.finish(b, "bury")
    assert [hands.field(id, "state") for id in "ab"] == ["answered", "cancelled"]
    assert [hands.field(id, "cancel") for id in "ab"] == ["", ""]
    assert hands.ledger.run(cancel(["a", "b"], REASON)) == ["answered", "cancelled"]


# Moved by an operator


@pytest.fixture
def planned(hands: LedgerHands) -> LedgerHands:
    """These are queues of this revision."""
    hands.redis.sadd(hands.keys.of("plans"), FAST, PLAN, OTHER)
    return hands


def test_jobs_keep_their_order_and_their_priorities_behind_those_that_are_there(planned: LedgerHands) -> None:
    planned.submit("p0", queue=PLAN)
    planned.submit("a", "b", "c")
    planned.submit("h1", "h2", priority=7)
    assert planned.ledger.run(relocate(FAST, PLAN)) == Relocated(5, 0)
    assert planned.list(PLAN) == ["p0", "a", "b", "c"]
    assert planned.list(PLAN, 7) == ["h1", "h2"]
    assert (planned.waiting(FAST), planned.total("relocated")) == (0, 5)
    record = planned.record("h1")
    assert (record.queue, record.home, record.priority) == (PLAN, PLAN, 7)
    line = planned.trail("h1")[0]
    assert (line["decision"], line["from"], line["to"]) == ("relocate", FAST, PLAN)
    assert ids(planned.take(queues=(PLAN,))) == ["h1", "h2", "p0", "a", "b", "c"]


def test_as_many_as_asked_for_are_moved_and_the_rest_with_the_next_call(planned: LedgerHands) -> None:
    planned.submit(*"abcde")
    assert planned.ledger.run(relocate(FAST, PLAN, most=2)) == Relocated(2, 3)
    assert (planned.list(PLAN), planned.list(FAST)) == (["a", "b"], ["c", "d", "e"])
    assert planned.ledger.run(relocate(FAST, PLAN)) == Relocated(3, 0)
    assert planned.ledger.run(relocate(FAST, PLAN)) == Relocated(0, 0)
    assert planned.list(PLAN) == list("abcde")


def test_a_guest_stays_one_unless_it_comes_home(planned: LedgerHands) -> None:
    planned.submit("stranger", queue=OTHER)
    planned.finish(planned.take(queues=(OTHER,))[0], "move", move_to=FAST)
    planned.submit("native", queue=PLAN, priority=4)
    planned.finish(planned.take(queues=(PLAN,))[0], "move", move_to=FAST)
    assert planned.list(FAST, GUESTS) == ["stranger", "native"]
    planned.ledger.run(relocate(FAST, PLAN))
    assert (planned.list(PLAN, GUESTS), planned.list(PLAN, 4)) == (["stranger"], ["native"])
    assert [planned.record(id).home for id in ("stranger", "native")] == [OTHER, PLAN]


def test_parked_and_delayed_jobs_are_moved_too(planned: LedgerHands) -> None:
    planned.submit("runs", "parked", node=NODE)
    planned.submit("later", "own")
    runs, later, own = planned.take()
    planned.finish(later, "retry", delay_ms=10**6)
    assert planned.ledger.run(relocate(FAST, PLAN)) == Relocated(2, 0)
    assert planned.list(PLAN) == ["parked"]
    assert (planned.count(f"delayed:{FAST}"), planned.count(f"delayed:{PLAN}")) == (0, 1)
    assert planned.count(f"waiting:node:{NODE}") == 1
    planned.due("delayed", "later")
    planned.finish(runs)
    assert sorted(ids(planned.take(queues=(PLAN,)))) == ["later", "parked"]
    assert planned.finish(own), "what runs goes on"


def test_what_was_cancelled_while_it_waited_is_not_moved(planned: LedgerHands) -> None:
    planned.submit("a", "b")
    planned.ledger.run(cancel(["a"], REASON))
    planned.redis.rpush(planned.keys.queue(FAST), "a")  # as it is left deep in a long list
    planned.ledger.run(relocate(FAST, PLAN))
    assert (planned.list(PLAN), planned.waiting(FAST), planned.field("a", "state")) == (["b"], 0, "cancelled")


def test_a_foreign_message_is_moved_as_it_is(planned: LedgerHands) -> None:
    planned.redis.lpush(planned.keys.queue(FAST), '{"headers": {}}')
    assert planned.ledger.run(relocate(FAST, PLAN)) == Relocated(1, 0)
    assert planned.list(PLAN) == ['{"headers": {}}']


@pytest.mark.parametrize("target", ["no.such", PLAN])
def test_nothing_is_moved_to_what_is_no_queue(planned: LedgerHands, target: str) -> None:
    planned.submit("a")
    if target == PLAN:
        planned.redis.hset(planned.keys.queue(PLAN, 3), "a", 1)
    assert planned.ledger.run(relocate(FAST, target)) == Relocated(0, 0, False)
    assert planned.list(FAST) == ["a"]


def test_a_queue_moved_to_itself_stays_as_it_is(planned: LedgerHands) -> None:
    planned.submit("a", "b", queue=PLAN)
    assert planned.ledger.run(relocate(PLAN, PLAN)) == Relocated(0, 2)
    assert planned.list(PLAN) == ["a", "b"]


# Queues that a revision drops


def test_a_dropped_queue_is_shown_with_its_jobs_until_they_are_moved(hands: LedgerHands) -> None:
    whole = configuration()
    revisions.publish(hands.ledger, whole)
    hands.submit("a", "b")
    hands.finish(hands.take(1, instances="openai-gpt4")[0], "retry", delay_ms=10**6)
    less = whole.model_copy(update={"queues": {name: q for name, q in whole.queues.items() if name != FAST}})
    assert not any(queue.dropped for queue in cluster_status(hands.ledger, whole, 1).queues)
    revisions.publish(hands.ledger, less)
    (shown,) = [queue for queue in cluster_status(hands.ledger, less, 2).queues if queue.dropped]
    assert (shown.name, shown.kind, shown.counts.waiting, shown.counts.delayed) == (FAST, "echelon", 1, 1)
    assert hands.ledger.run(relocate(FAST, PLAN)) == Relocated(2, 0)
    assert not any(queue.dropped for queue in cluster_status(hands.ledger, less, 2).queues)


def test_a_queue_that_comes_back_with_a_later_revision_is_dropped_no_more(hands: LedgerHands) -> None:
    whole = configuration()
    revisions.publish(hands.ledger, whole)
    hands.submit("a")
    less = whole.model_copy(update={"queues": {name: q for name, q in whole.queues.items() if name != FAST}})
    revisions.publish(hands.ledger, less)
    assert hands.redis.smembers(hands.keys.of("dropped")) == {FAST.encode()}
    revisions.publish(hands.ledger, whole)
    assert hands.redis.scard(hands.keys.of("dropped")) == 0
    assert ids(hands.take(instances="openai-gpt4")) == ["a"]
