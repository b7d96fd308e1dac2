"""Leases that lapse, answers that come too late, jobs that kill their workers, and what a trail keeps of it all."""

import json
from collections.abc import Iterator

import pytest
from ledger_hands import FAST, PLAN, LedgerHands, ids

from echelon_workers.ledger.address import Address
from echelon_workers.ledger.verbs import Terms, cancel

POISON = 3


@pytest.fixture
def hands(address: Address) -> Iterator[LedgerHands]:
    hands = LedgerHands(address, Terms(lease_ms=60_000, poison=POISON))
    yield hands
    hands.close()


def test_a_lapse_is_written_into_the_trail_and_counted(hands: LedgerHands) -> None:
    hands.submit("a")
    (grant,) = hands.take()
    hands.lapse("a")
    (line,) = hands.trail("a")
    started, at = line.pop("started_ms"), line.pop("at_ms")
    assert line == {"decision": "lapse", "queue": FAST, "instance": "one", "worker": "w", "lease": grant.lease}
    assert 0 < started <= at <= hands.now_ms()
    assert (hands.total("lapsed"), hands.record("a").state, hands.field("a", "cause")) == (
        1,
        "queued",
        "its lease lapsed",
    )


@pytest.mark.parametrize(("decision", "outcome"), [("answer", "answered"), ("retry", "server_failed")])
def test_a_late_end_is_refused_and_recorded_once(hands: LedgerHands, decision: str, outcome: str) -> None:
    hands.submit("a")
    (stale,) = hands.take()
    hands.lapse("a")
    assert [hands.finish(stale, decision, code="server_failed") for _ in range(3)] == [False] * 3
    lapse, late = hands.trail("a")
    assert lapse["decision"] == "lapse"
    assert {name: late[name] for name in ("decision", "lease", "outcome")} == {
        "decision": "late",
        "lease": stale.lease,
        "outcome": outcome,
    }
    assert hands.total("late") == 1
    (fresh,) = hands.take()
    assert hands.finish(fresh)
    assert [hands.finish(stale), hands.total("late")] == [False, 1], "it is the same late end as before"
    assert hands.record("a").state == "answered"


def submitted_and_lapsed(hands: LedgerHands, many: int, times: int) -> set[str]:
    """So many jobs whose leases have lapsed so often."""
    suspects = {f"s{number}" for number in range(many)}
    hands.submit(*suspects)
    for _ in range(times):
        while len(held := ids(hands.take(many))) < many:
            hands.due("delayed", *suspects - set(held))
            hands.redis.hdel(hands.keys.of("taker", "w"), "suspects")  # another worker, each time
            if hands.redis.zcard(hands.keys.of("running")) == many:
                break
        hands.lapse(*suspects)
    return suspects


@pytest.mark.parametrize(("lapses", "together"), [(1, 12), (2, 8), (3, 1)])
def test_the_more_often_the_workers_of_jobs_have_died_the_fewer_of_them_a_worker_runs_at_a_time(
    address: Address, lapses: int, together: int
) -> None:
    """Else the one that kills them would take all the others with it, time after time."""
    hands = LedgerHands(address, Terms(lease_ms=60_000, poison=10))
    suspects = submitted_and_lapsed(hands, 12, lapses)
    hands.redis.hdel(hands.keys.of("taker", "w"), "suspects")
    hands.submit("fresh")
    first = hands.take(20)
    running = suspects & set(ids(first))
    assert len(running) == together
    assert "fresh" in ids(first), "the job that is beyond suspicion is not held up"
    apart = sorted(suspects - running)
    assert {hands.record(id).state for id in apart} <= {"delayed"}
    hands.due("delayed", *apart, "nobody")
    assert hands.take(20) == [], "not while it has these"
    assert all(hands.finish(grant) for grant in first)
    hands.due("delayed", *apart, "nobody")
    assert len(hands.take(20)) == min(together, len(apart))
    hands.close()


def test_a_late_end_of_a_job_that_is_no_more_writes_nothing(hands: LedgerHands) -> None:
    hands.submit("a")
    (stale,) = hands.take()
    hands.redis.delete(hands.keys.of("job", "a"))
    assert not hands.finish(stale)
    assert not hands.redis.exists(hands.keys.of("job", "a"))


def test_a_job_whose_leases_lapse_too_often_is_poison_and_its_trail_says_when(hands: LedgerHands) -> None:
    hands.submit("a")
    for _ in range(POISON):
        assert ids(hands.take()) == ["a"]
        hands.lapse("a")
    found = hands.record("a")
    assert (found.state, found.error and found.error["code"], hands.take()) == ("dead", "poison", [])
    assert [line["decision"] for line in hands.trail("a")] == ["lapse"] * POISON
    assert hands.redis.zrange(hands.keys.of("dead"), 0, -1) == [b"a"]
    assert hands.total("lapsed") == POISON


def test_429s_moves_and_jobs_given_back_never_count_as_poison(hands: LedgerHands) -> None:
    hands.submit("a")
    for _ in range(4):
        assert hands.finish(hands.take()[0], "wait", delay_ms=1)
        assert hands.finish(hands.take()[0], "move", move_to=PLAN)
        assert hands.finish(hands.take()[0], "move", move_to=FAST)
        assert hands.finish(hands.take()[0], "retry")
        assert hands.finish(hands.take()[0], "hold", delay_ms=1)
        assert hands.settle(hands.take()[0], "return")
        assert hands.settle(hands.take()[0], "unused")
    assert hands.field("a", "lapses") == ""
    for _ in range(POISON - 1):
        hands.take()
        hands.lapse("a")
    assert hands.record("a").state == "queued"


def test_a_job_that_is_to_be_cancelled_is_cancelled_when_its_lease_lapses_however_often_it_did(
    hands: LedgerHands,
) -> None:
    hands.submit("a")
    for _ in range(POISON):
        hands.lapse("a")
        hands.take()
    assert hands.ledger.run(cancel(["a"], '{"code":"cancelled"}')) == ["stopping"]
    hands.lapse("a")
    assert (hands.record("a").state, hands.field("a", "cancel")) == ("cancelled", "")
    assert hands.redis.zcard(hands.keys.of("dead")) == 0


def test_a_trail_stays_bounded_however_many_429s_a_job_meets(hands: LedgerHands) -> None:
    hands.submit("a")
    line = json.dumps({"attempt": 1, "decision": "wait", "because": "x" * 900})
    for number in range(200):
        (grant,) = hands.take()
        last = line.replace('"attempt": 1', f'"attempt": {number}')
        assert hands.finish(grant, "wait", entry=last, delay_ms=1)
    trail = hands.field("a", "trail")
    assert 40_000 < len(trail) <= 65_536
    kept = [entry["attempt"] for entry in hands.trail("a")]
    assert kept == list(range(200 - len(kept), 200)), "the oldest lines go, and whole ones"


def test_attempts_that_were_spent_are_not_forgotten_for_429s(hands: LedgerHands) -> None:
    hands.submit("a")
    for number in range(4):
        spent = {"attempt": number, "decision": "retry", "queue": FAST, "error": {"code": "timed_out"}}
        hands.finish(hands.take()[0], "retry", entry=json.dumps(spent))
    wait = json.dumps({"attempt": 5, "decision": "wait", "because": "x" * 900})
    for _ in range(100):
        hands.finish(hands.take()[0], "wait", entry=wait, delay_ms=1)
    kept = [line["attempt"] for line in hands.trail("a") if line["decision"] == "retry"]
    assert kept == [0, 1, 2, 3]
    assert len(hands.field("a", "trail")) <= 65_536


def test_a_line_larger_than_a_whole_trail_leaves_a_trail_that_can_be_read(hands: LedgerHands) -> None:
    hands.submit("a")
    hands.finish(hands.take()[0], "wait", delay_ms=1)
    hands.finish(hands.take()[0], "wait", entry=json.dumps({"attempt": 1, "because": "x" * 70_000}), delay_ms=1)
    assert hands.trail("a") == []
    hands.finish(hands.take()[0], "retry")
    assert [line["decision"] for line in hands.trail("a")] == ["retry"]


def test_what_a_trail_notes_of_names_is_json_whatever_the_names(hands: LedgerHands) -> None:
    odd = 'q"u\\e\nue'
    hands.submit("a", queue=odd)
    hands.take(queues=(odd,))
    hands.lapse("a")
    assert hands.trail("a")[0]["queue"] == "q?u?e?ue"
