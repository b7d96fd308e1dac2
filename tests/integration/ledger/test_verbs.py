"""The verbs of the ledger, one by one, on a real server."""

import json
from collections.abc import Iterator

import pytest
import redis

from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.record import FIELDS, JobRecord, read_record
from echelon_workers.ledger.verbs import (
    Finish,
    Grant,
    NewJob,
    Settlement,
    Taken,
    Terms,
    finish,
    refuse,
    renew,
    settle,
    submit,
    take,
)

TERMS = Terms(lease_ms=10_000, retention_ms=60_000)
FAST, PLAN = "fast_group.echelon1", "plan_group.echelon1"


@pytest.fixture
def ledger(address: Address) -> Iterator[Ledger]:
    with_ledger = Ledger(address)
    yield with_ledger
    with_ledger.close()


class Worker:
    """A worker as the ledger sees it: a name and a sequence of takes."""

    def __init__(self, ledger: Ledger, name: str = "w1") -> None:
        self.ledger, self.name = ledger, name
        self.sequence = self.claimed = 0

    def take(self, want: int = 10, *queues: str, fills: bool = False, instances: str = "one,two") -> Taken:
        self.sequence += 1
        taken = self.repeat(want, *queues, fills=fills, instances=instances)
        self.claimed = self.sequence
        return taken

    def repeat(self, want: int = 10, *queues: str, fills: bool = False, instances: str = "one,two") -> Taken:
        served = [(queue, instances) for queue in queues or (FAST,)]
        return self.ledger.run(
            take(self.name, self.sequence, self.claimed, served, want=want, fills=fills, terms=TERMS)
        )

    def lose_reply(self, want: int = 10, *queues: str) -> None:
        self.sequence += 1
        self.repeat(want, *queues)


def job(id: str, queue: str = FAST, **options: object) -> NewJob:
    return NewJob(id=id, queue=queue, request='{"prompt":"hello"}', target=queue, **options)  # type: ignore[arg-type]


def end(grant: Grant, decision: str = "answer", **options: object) -> Finish:
    answer = {"text": "hi", "finish_reason": "stop", "usage": {}, "model": "m", "instance": "one", "latency_ms": 1}
    values = {"payload": json.dumps(answer), "entry": '{"attempt":1}', "retention_ms": 60_000, **options}
    return Finish(id=grant.id, lease=grant.lease, decision=decision, **values)  # type: ignore[arg-type]


def record(ledger: Ledger, id: str) -> JobRecord:
    found = read_record(id, ledger.redis.hmget(ledger.keys.of("job", id), FIELDS))
    assert found is not None
    return found


def ids(taken: Taken) -> list[str]:
    return [grant.id for grant in taken.grants]


def running(ledger: Ledger) -> int:
    return sum(int(n) for name, n in ledger.redis.hgetall(ledger.keys.of("counts")).items() if b"running" in name)


def test_a_repeated_submit_is_the_same_job(ledger: Ledger) -> None:
    assert ledger.run(submit([job("a"), job("b")])) == [True, True]
    assert ledger.run(submit([job("a"), job("c")])) == [False, True]
    assert ids(Worker(ledger).take()) == ["a", "b", "c"]


def test_more_than_a_bounded_number_of_jobs_is_not_one_call() -> None:
    with pytest.raises(ValueError, match="at most 500"):
        submit([job(str(i)) for i in range(501)])


def test_a_queue_of_the_wrong_type_refuses_the_whole_submit_and_writes_nothing(ledger: Ledger) -> None:
    ledger.redis.set(ledger.keys.queue(PLAN), "not a list")
    with pytest.raises(redis.ResponseError, match=r"WRONGTYPE the queue plan_group\.echelon1 is a string"):
        ledger.run(submit([job("a"), job("b", PLAN)]))
    assert not ledger.redis.exists(ledger.keys.of("job", "a"))
    assert ledger.redis.llen(ledger.keys.queue(FAST)) == 0


def test_jobs_leave_a_queue_in_the_order_they_came(ledger: Ledger) -> None:
    ledger.run(submit([job(str(i)) for i in range(10)]))
    worker = Worker(ledger)
    assert ids(worker.take(3)) + ids(worker.take(3)) + ids(worker.take(9)) == [str(i) for i in range(10)]


def test_a_higher_priority_goes_first(ledger: Ledger) -> None:
    ledger.run(submit([job("low"), job("high", priority=9), job("middle", priority=4)]))
    assert ids(Worker(ledger).take()) == ["high", "middle", "low"]


def test_a_worker_that_serves_many_queues_is_not_filled_by_one(ledger: Ledger) -> None:
    ledger.run(submit([job(f"f{i}") for i in range(50)]))
    ledger.run(submit([job(f"p{i}", PLAN) for i in range(50)]))
    taken = Worker(ledger).take(10, FAST, PLAN)
    assert sorted(grant.queue for grant in taken.grants) == [FAST] * 5 + [PLAN] * 5


def test_a_worker_may_serve_very_many_queues(ledger: Ledger) -> None:
    queues = [f"group.echelon{number}" for number in range(9_000)]
    ledger.run(submit([job("a", queues[-1])]))
    assert ids(Worker(ledger).take(1, *queues)) == ["a"]


def test_a_share_that_a_queue_does_not_use_goes_to_the_others(ledger: Ledger) -> None:
    ledger.run(submit([job(f"f{i}") for i in range(50)]))
    assert len(Worker(ledger).take(10, PLAN, FAST).grants) == 10


def test_the_same_sequence_answers_with_the_same_grants(ledger: Ledger) -> None:
    ledger.run(submit([job("a"), job("b")]))
    worker = Worker(ledger)
    worker.lose_reply()
    again = worker.repeat()
    assert ids(again) == ["a", "b"]
    assert [grant.lease for grant in again.grants] == ["1", "1"]
    assert running(ledger) == 2


def test_a_newer_sequence_gives_back_what_was_never_claimed(ledger: Ledger) -> None:
    ledger.run(submit([job("a"), job("b"), job("c")]))
    worker = Worker(ledger)
    worker.lose_reply(2)
    taken = worker.take(10)
    assert sorted(ids(taken)) == ["a", "b", "c"]
    assert {grant.id: grant.lease for grant in taken.grants} == {"a": "2", "b": "2", "c": "1"}
    assert running(ledger) == 3


def test_instances_take_turns_and_the_one_to_avoid_is_avoided(ledger: Ledger) -> None:
    ledger.run(submit([job(str(i)) for i in range(4)]))
    worker = Worker(ledger)
    taken = worker.take()
    assert sorted(grant.instance for grant in taken.grants) == ["one", "one", "two", "two"]
    for _ in range(3):
        first = taken.grants[0]
        ledger.run(finish(end(first, "retry", avoid=first.instance)))
        taken = worker.take()
        assert taken.grants[0].instance != first.instance


def test_a_finish_counts_exactly_once_however_often_it_is_repeated(ledger: Ledger) -> None:
    ledger.run(submit([job("a")]))
    grant = Worker(ledger).take().grants[0]
    assert [ledger.run(finish(end(grant, input_tokens=5))) for _ in range(3)] == [True, True, True]
    found = record(ledger, "a")
    assert (found.state, found.attempts, len(found.trail)) == ("answered", 1, 1)
    assert found.answer is not None
    assert found.answer.text == "hi"
    assert ledger.redis.hget(ledger.keys.of("totals", FAST), "input_tokens") == b"5"
    assert running(ledger) == 0


@pytest.mark.parametrize("numbers", [{"input_tokens": 2**70}, {"output_tokens": 2**63}, {"cost_usd": "a lot"}])
def test_numbers_that_cannot_be_added_up_do_not_stop_a_finish_halfway(ledger: Ledger, numbers: dict[str, int]) -> None:
    ledger.run(submit([job("a")]))
    grant = Worker(ledger).take().grants[0]
    assert ledger.run(finish(end(grant, **numbers))) is True
    assert record(ledger, "a").state == "answered"
    assert running(ledger) == 0


def test_a_job_whose_queue_key_is_no_list_any_more_is_kept(ledger: Ledger) -> None:
    ledger.run(submit([job("a")]))
    grant = Worker(ledger).take().grants[0]
    ledger.redis.set(ledger.keys.queue(FAST), "not a list")
    assert ledger.run(settle([Settlement(id="a", lease=grant.lease, ending="return")], TERMS)) == [True]
    assert record(ledger, "a").state == "delayed"
    ledger.redis.delete(ledger.keys.queue(FAST))
    ledger.redis.zadd(ledger.keys.of("delayed"), {"a": 1})
    assert ids(Worker(ledger, "w2").take()) == ["a"]


def test_a_late_answer_is_refused_and_counted(ledger: Ledger) -> None:
    ledger.run(submit([job("a")]))
    first, second = Worker(ledger, "w1"), Worker(ledger, "w2")
    stale = first.take().grants[0]
    ledger.redis.zadd(ledger.keys.of("running"), {"a": 1})
    fresh = second.take().grants[0]
    assert fresh.lease == "2"
    assert ledger.run(finish(end(stale))) is False
    assert record(ledger, "a").state == "running"
    assert ledger.redis.hget(ledger.keys.of("totals", FAST), "late") == b"1"
    assert ledger.run(finish(end(fresh))) is True


def test_a_retry_goes_to_the_head_and_a_delayed_one_waits_its_time(ledger: Ledger) -> None:
    ledger.run(submit([job("a"), job("b")]))
    worker = Worker(ledger)
    a = worker.take(1).grants[0]
    ledger.run(finish(end(a, "retry")))
    a = worker.take(1).grants[0]
    assert (a.id, a.attempts) == ("a", 1)
    ledger.run(finish(end(a, "retry", delay_ms=60_000)))
    assert record(ledger, "a").state == "delayed"
    taken = worker.take()
    assert ids(taken) == ["b"]
    assert taken.next_due_ms is not None
    assert 50_000 < taken.next_due_ms <= 60_000
    ledger.redis.zadd(ledger.keys.of("delayed"), {"a": 1})
    assert ids(worker.take()) == ["a"]
    assert ledger.redis.hget(ledger.keys.of("counts"), f"delayed:{FAST}") == b"0"


def test_a_buried_job_keeps_its_error_and_is_listed_as_dead(ledger: Ledger) -> None:
    ledger.run(submit([job("a")]))
    grant = Worker(ledger).take().grants[0]
    ledger.run(finish(end(grant, "bury", payload='{"code":"bad_request","message":"no"}')))
    assert record(ledger, "a").error == {"code": "bad_request", "message": "no"}
    assert ledger.redis.zscore(ledger.keys.of("dead"), "a") is not None


def test_the_list_of_the_dead_forgets_those_whose_records_have_expired(ledger: Ledger) -> None:
    now = int(ledger.redis.time()[0]) * 1000
    ledger.redis.zadd(ledger.keys.of("dead"), {"old": now - TERMS.retention_ms - 5000, "new": now})
    ledger.run(renew("w1", "{}", 30_000, [], TERMS))
    assert ledger.redis.zrange(ledger.keys.of("dead"), 0, -1) == [b"new"]


@pytest.mark.parametrize(("ending", "state"), [("return", "queued"), ("bury", "dead"), ("cancel", "cancelled")])
def test_settling_ends_a_grant_without_spending_an_attempt(ledger: Ledger, ending: str, state: str) -> None:
    ledger.run(submit([job("a")]))
    grant = Worker(ledger).take().grants[0]
    settlement = Settlement(id="a", lease=grant.lease, ending=ending, reason='{"code":"x","message":"y"}')  # type: ignore[arg-type]
    assert [ledger.run(settle([settlement], TERMS)) for _ in range(2)] == [[True], [True]]
    assert (record(ledger, "a").state, record(ledger, "a").attempts) == (state, 0)
    assert running(ledger) == 0


def test_a_job_whose_node_is_full_does_not_hold_back_those_behind_it(ledger: Ledger) -> None:
    ledger.redis.hset(ledger.keys.of("scope", "node:slow"), "cl", 1)
    ledger.run(submit([job("n1", node="slow"), job("n2", node="slow"), job("n3", node="slow"), job("a"), job("b")]))
    worker = Worker(ledger)
    taken = worker.take()
    assert ids(taken) == ["n1", "a", "b"]
    for next_one in ("n2", "n3"):
        ledger.run(finish(end(taken.grants[0])))
        taken = worker.take()
        assert ids(taken) == [next_one], "in the order they came"


def test_more_parked_jobs_than_one_take_looks_at_do_not_hide_what_is_behind(ledger: Ledger) -> None:
    ledger.redis.hset(ledger.keys.of("scope", "node:slow"), "cl", 1)
    ledger.run(submit([job(f"n{i}", node="slow") for i in range(300)]))
    ledger.run(submit([job("a")]))
    worker = Worker(ledger)
    first = worker.take()
    assert (ids(first), first.next_due_ms) == (["n0"], 1)
    assert ids(worker.take()) == ["a"]


def test_a_job_past_its_deadline_is_never_started(ledger: Ledger) -> None:
    ledger.run(submit([job("a", deadline_ms=1), job("b")]))
    ledger.redis.hset(ledger.keys.of("job", "a"), "deadline", 1)
    assert ids(Worker(ledger).take()) == ["b"]
    assert record(ledger, "a").state == "expired"


def test_an_id_without_a_record_is_passed_over(ledger: Ledger) -> None:
    ledger.run(submit([job("a"), job("b")]))
    ledger.redis.delete(ledger.keys.of("job", "a"))
    assert ids(Worker(ledger).take()) == ["b"]


def test_a_record_of_the_wrong_type_does_not_hold_up_its_queue(ledger: Ledger) -> None:
    ledger.run(submit([job("a"), job("b")]))
    ledger.redis.delete(ledger.keys.of("job", "a"))
    ledger.redis.set(ledger.keys.of("job", "a"), "garbage")
    assert ids(Worker(ledger).take()) == ["b"]
    assert ledger.redis.zscore(ledger.keys.of("dead"), "a") is not None


def test_a_heartbeat_renews_what_is_held_and_names_what_is_lost(ledger: Ledger) -> None:
    ledger.run(submit([job("a"), job("b")]))
    Worker(ledger).take()
    ledger.redis.zadd(ledger.keys.of("running"), {"a": 1e15, "b": 1e15})
    assert ledger.run(renew("w1", "{}", 30_000, [("a", "1"), ("b", "7"), ("gone", "1")], TERMS)).lost == [
        ("b", "7"),
        ("gone", "1"),
    ]
    assert ledger.redis.zscore(ledger.keys.of("running"), "a") < 1e15
    assert ledger.redis.zscore(ledger.keys.of("running"), "b") == 1e15


def test_a_lapsed_lease_brings_its_job_back_to_the_head(ledger: Ledger) -> None:
    ledger.run(submit([job("a"), job("b")]))
    worker = Worker(ledger)
    worker.take(1)
    ledger.redis.zadd(ledger.keys.of("running"), {"a": 1})
    ledger.run(renew("w2", "{}", 30_000, [], TERMS))
    assert (record(ledger, "a").state, running(ledger)) == ("queued", 0)
    assert ids(worker.take()) == ["a", "b"]


def test_a_job_that_outlives_too_many_leases_is_poison(ledger: Ledger) -> None:
    ledger.run(submit([job("a")]))
    worker = Worker(ledger)
    for _ in range(TERMS.poison):
        assert ids(worker.take(1)) == ["a"]
        ledger.redis.zadd(ledger.keys.of("running"), {"a": 1})
    assert ids(worker.take(1)) == []
    found = record(ledger, "a")
    assert (found.state, found.error and found.error["code"]) == ("dead", "poison")


def test_a_submit_wakes_one_worker_that_found_the_queue_empty(ledger: Ledger) -> None:
    listeners = {}
    for name in ("w1", "w2"):
        listeners[name] = ledger.redis.pubsub(ignore_subscribe_messages=True)
        listeners[name].subscribe(ledger.keys.of("wake", name))
        assert listeners[name].get_message(timeout=5) is None
        Worker(ledger, name).take()
    Worker(ledger, "dead").take()  # found it empty and is gone: nobody listens on its channel
    ledger.run(submit([job("a")]))
    heard = [name for name, listener in listeners.items() if listener.get_message(timeout=0.5)]
    assert len(heard) == 1
    for listener in listeners.values():
        listener.close()


def test_a_worker_that_a_take_filled_is_not_woken(ledger: Ledger) -> None:
    worker = Worker(ledger)
    worker.take(1, FAST, PLAN)
    assert ledger.redis.scard(ledger.keys.of("idle", PLAN)) == 1
    ledger.run(submit([job("a")]))
    worker.take(1, FAST, PLAN, fills=True)
    assert ledger.redis.scard(ledger.keys.of("idle", PLAN)) == 0


def test_a_foreign_message_is_in_one_place_until_it_is_adopted(ledger: Ledger) -> None:
    raw = b'{"headers": {"id": "x"}}'
    ledger.redis.lpush(ledger.keys.queue("celery"), raw)
    worker = Worker(ledger)
    assert worker.take().raws == [raw]
    assert ledger.redis.zcard(ledger.keys.of("adopting")) == 1
    ledger.run(submit([job("x", foreign=True)], adopted=raw))
    assert ledger.redis.zcard(ledger.keys.of("adopting")) == 0
    assert ids(worker.take()) == ["x"]


def test_a_foreign_message_whose_worker_died_goes_back_to_the_inbox(ledger: Ledger) -> None:
    ledger.redis.lpush(ledger.keys.queue(FAST), b'{"headers": {}}')
    worker = Worker(ledger)
    assert len(worker.take().raws) == 1
    ledger.redis.zadd(ledger.keys.of("adopting"), {b'{"headers": {}}': 1})
    ledger.run(renew("w2", "{}", 30_000, [], TERMS))
    assert len(worker.take().raws) == 1


def test_a_refused_message_is_buried_and_its_sender_is_told(ledger: Ledger) -> None:
    raw = b'{"headers": {"id": "x"}}'
    ledger.redis.lpush(ledger.keys.queue("celery"), raw)
    Worker(ledger).take()
    error = '{"code":"refused","message":"no prompt"}'
    for _ in range(2):
        ledger.run(refuse(raw, "x", "celery", error, {"x": '{"status":"FAILURE"}'}, TERMS))
    found = record(ledger, "x")
    assert (found.state, found.error) == ("dead", {"code": "refused", "message": "no prompt"})
    assert ledger.redis.get(f"{ledger.keys.queue_prefix}celery-task-meta-x") == b'{"status":"FAILURE"}'
    assert ledger.redis.hget(ledger.keys.of("job", "x"), "raw") == raw


def test_a_lost_script_cache_is_no_error(ledger: Ledger) -> None:
    ledger.run(submit([job("a")]))
    ledger.redis.script_flush()
    assert ids(Worker(ledger).take()) == ["a"]


def test_a_full_server_takes_no_jobs_in_but_lets_running_ones_end(ledger: Ledger) -> None:
    ledger.run(submit([job("a"), job("b")]))
    worker = Worker(ledger)
    grant = worker.take(1).grants[0]
    ledger.redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(redis.OutOfMemoryError):
            ledger.run(submit([job("c")]))
        with pytest.raises(redis.OutOfMemoryError):
            worker.take(1)
        assert ledger.run(renew("w1", "{}", 30_000, [("a", "1")], TERMS)).lost == []
        assert ledger.run(finish(end(grant))) is True
    finally:
        ledger.redis.config_set("maxmemory", "0")
    assert record(ledger, "a").state == "answered"
