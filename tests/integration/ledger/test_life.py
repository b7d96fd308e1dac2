"""Whatever happens in whatever order, a job is in exactly one place: a state machine against a plain model.

The model knows for each job where it must be, under which lease, and who wants it cancelled. Redis is asked after every
step. Time passes by rewriting the scores of what is kept by time.
"""

import json
import secrets
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.verbs import (
    Draining,
    Finish,
    Grant,
    NewJob,
    OtherJob,
    Settlement,
    Terms,
    cancel,
    finish,
    redrive,
    relocate,
    renew,
    settle,
    steer,
    submit,
    take,
)

TERMS = Terms(lease_ms=1_000_000_000, poison=4)
QUEUES = ("a_group.echelon1", "b_group.echelon1")
WORKERS = ("w1", "w2")
NODE = "narrow"
FAR_MS = 10**9
ENDED = {"answered", "dead", "cancelled", "expired"}
ENDS = {"answer": "answered", "bury": "dead", "cancel": "cancelled", "expire": "expired"}
#: docs/job-life.md: where a job may go from each state.
LIFE = {
    "queued": {"queued", "delayed", "running", "dead", "cancelled", "expired"},
    "delayed": {"queued", "delayed", "cancelled", "expired"},
    "running": {"queued", "delayed", "running", "answered", "dead", "cancelled", "expired"},
    "answered": set(),
    "dead": {"queued"},
    "cancelled": {"queued"},
    "expired": {"queued"},
}
#: Jobs by number, counted round; the number after the last is nobody's.
numbers = st.lists(st.integers(0, 20), min_size=1, max_size=3)


@dataclass(slots=True)
class Job:
    """What the model knows of one job."""

    queue: str
    home: str
    node: str
    has_deadline: bool
    place: str = "queued"
    lease: str = "0"
    attempts: int = 0
    lapses: int = 0
    holder: str = ""
    #: somebody wants it cancelled while it runs
    unwanted: bool = False
    #: its deadline has passed, and only its record says so
    overdue: bool = False


class Life(RuleBasedStateMachine):
    """Submits, takes whose replies get lost, ends that come twice or too late, leases that lapse, deadlines that pass,
    and people who cancel, move, pause, drain and send again."""

    url = ""
    grants: Bundle[Grant] = Bundle("grants")

    @initialize()
    def start(self) -> None:
        self.ledger = Ledger(Address(self.url, f"t{secrets.token_hex(4)}"))
        self.redis, self.keys = self.ledger.redis, self.ledger.keys
        self.redis.sadd(self.keys.of("plans"), *QUEUES)
        self.redis.hset(self.keys.of("scope", f"node:{NODE}"), "cl", 1)
        self.jobs: dict[str, Job] = {}
        self.seen: dict[str, tuple[str, int]] = {}
        self.sequence = dict.fromkeys(WORKERS, 0)
        self.claimed = dict.fromkeys(WORKERS, 0)
        self.lost: dict[str, list[Grant]] = {worker: [] for worker in WORKERS}
        self.paused: set[str] = set()
        self.draining: set[str] = set()

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()

    def places(self, *places: str) -> list[str]:
        return [id for id, job in self.jobs.items() if job.place in places]

    def chosen(self, numbers: list[int]) -> list[str]:
        return [f"j{number}" for number in dict.fromkeys(number % (len(self.jobs) + 1) for number in numbers)]

    def held(self, grant: Grant) -> bool:
        job = self.jobs[grant.id]
        return job.place == "running" and job.lease == grant.lease

    def back(self, id: str) -> None:
        """A running job goes back to its queue, unless it is to be cancelled."""
        job = self.jobs[id]
        job.place = "cancelled" if job.unwanted else "queued"
        job.unwanted = False

    def reap(self) -> None:
        self.ledger.run(renew("reaper", "{}", 1000, [], TERMS))

    # What producers do

    @rule(
        queue=st.sampled_from(QUEUES),
        many=st.integers(1, 4),
        priority=st.integers(0, 9),
        node=st.sampled_from(["", "", NODE]),
        deadline_ms=st.sampled_from([0, FAR_MS]),
    )
    def submit(self, queue: str, many: int, priority: int, node: str, deadline_ms: int) -> None:
        new = [f"j{len(self.jobs) + i}" for i in range(many)]
        options: dict[str, Any] = {"priority": priority, "node": node, "deadline_ms": deadline_ms}
        jobs = [NewJob(id=id, queue=queue, request="{}", target=queue, **options) for id in new]
        if queue in self.draining:
            assert self.ledger.run(submit(jobs)) == Draining(queue)
            return
        assert self.ledger.run(submit(jobs)) == [True] * many
        assert self.ledger.run(submit(jobs)) == [False] * many
        self.jobs |= {id: Job(queue, queue, node, bool(deadline_ms)) for id in new}

    @precondition(lambda self: self.jobs)
    @rule(number=st.integers(0, 20), queue=st.sampled_from(QUEUES))
    def submit_another_job_under_the_same_id(self, number: int, queue: str) -> None:
        known = f"j{number % len(self.jobs)}"
        self.ledger.run(steer("resume", list(QUEUES)))
        self.paused, self.draining = set(), set()
        jobs = [NewJob(id=id, queue=queue, request='{"prompt":"other"}', target=queue) for id in ("never", known)]
        assert self.ledger.run(submit(jobs)) == OtherJob(known)
        assert not self.redis.exists(self.keys.of("job", "never"))

    @rule(chosen=numbers, times=st.integers(1, 2))
    def cancel(self, chosen: list[int], times: int) -> None:
        ids = self.chosen(chosen)
        waits = {"queued": "cancelled", "delayed": "cancelled", "running": "stopping"}
        places = [self.jobs[id].place if id in self.jobs else "unknown" for id in ids]
        expected = [waits.get(place, place) for place in places]
        verb = cancel(ids, '{"code":"cancelled"}')
        assert [self.ledger.run(verb) for _ in range(times)] == [expected] * times
        for id, said in zip(ids, expected, strict=True):
            if said == "stopping":
                self.jobs[id].unwanted = True
            elif said == "cancelled":
                self.jobs[id].place = "cancelled"

    @rule(chosen=numbers, times=st.integers(1, 2))
    def redrive(self, chosen: list[int], times: int) -> None:
        ids = self.chosen(chosen)
        ends = {"dead": "done", "cancelled": "done", "expired": "done", "answered": "answered"}
        expected = [ends.get(self.jobs[id].place, "not ended") if id in self.jobs else "unknown" for id in ids]
        verb = redrive(ids)
        assert [self.ledger.run(verb) for _ in range(times)] == [expected] * times
        for id, said in zip(ids, expected, strict=True):
            if said == "done":
                job = self.jobs[id]
                job.place, job.queue, job.attempts, job.lapses = "queued", job.home, 0, 0
                job.overdue = False  # it gets a new one

    # What operators do

    @rule(order=st.sampled_from(["pause", "drain", "resume"]), queue=st.sampled_from(QUEUES))
    def steer(self, order: Any, queue: str) -> None:
        changed = {"pause": queue not in self.paused, "drain": queue not in self.draining}
        changed["resume"] = not all(changed.values())
        assert self.ledger.run(steer(order, [queue])) == changed[order]
        assert self.ledger.run(steer(order, [queue])) == 0
        for orders, queues in (("pause", self.paused), ("drain", self.draining)):
            if order == orders:
                queues.add(queue)
            elif order == "resume":
                queues.discard(queue)

    @rule(source=st.sampled_from(QUEUES), most=st.sampled_from([1, 3, 500]))
    def relocate(self, source: str, most: int) -> None:
        target = next(queue for queue in QUEUES if queue != source)
        before = [id for id in self.places("queued", "delayed") if self.jobs[id].queue == source]
        moved = self.ledger.run(relocate(source, target, most=most))
        gone = [id for id in before if self.field(id, "queue") == target]
        assert (moved.moved, moved.left) == (len(gone), len(before) - len(gone))
        assert len(gone) == len(before) if most == 500 else moved.behind is None or len(gone) <= 2 * most
        for id in gone:
            job = self.jobs[id]
            job.queue, job.home = target, target if job.home == source else job.home

    # What workers do

    def _take(self, worker: str, want: int) -> list[Grant]:
        queues = [(queue, "i") for queue in QUEUES]
        sequence, claimed = self.sequence[worker], self.claimed[worker]
        verb = take(worker, sequence, claimed, queues, want=want, fills=False, terms=TERMS)
        grants = self.ledger.run(verb).grants
        assert self.ledger.run(verb).grants == grants
        for grant in grants:
            job = self.jobs[grant.id]
            assert job.place == "queued", f"{grant.id} was {job.place} and was granted"
            assert (job.queue, job.overdue) == (grant.queue, False)
            assert grant.queue not in self.paused
            assert int(grant.lease) > int(job.lease)
            job.place, job.lease, job.holder = "running", grant.lease, worker
        suspects = [job for id in self.places("running") if (job := self.jobs[id]).lapses >= 2 and job.holder == worker]
        worse = [job for job in suspects if job.lapses > 2]
        assert len(suspects) <= (1 if worse else 8), "few jobs at a time that may be what kills workers"
        for id in self.places("queued"):
            if self.jobs[id].overdue and self.field(id, "state") == "expired":
                self.jobs[id].place = "expired"
            if suspects and self.jobs[id].lapses >= 2 and self.field(id, "state") == "delayed":
                self.jobs[id].place = "delayed"
                self.redis.zadd(self.keys.of("delayed"), {id: 2**52})
        narrow = [id for id in self.places("running") if self.jobs[id].node]
        assert len(narrow) <= 1, "its node has one permit"
        if len(grants) < want:
            left = [self.jobs[id] for id in self.places("queued")]
            assert not [job for job in left if job.queue not in self.paused and not job.node]
        return grants

    def _forget_unclaimed(self, worker: str) -> None:
        for grant in self.lost[worker]:
            if self.held(grant):
                self.back(grant.id)
        self.lost[worker] = []

    @rule(target=grants, worker=st.sampled_from(WORKERS), want=st.integers(1, 5))
    def take(self, worker: str, want: int) -> Any:
        self._forget_unclaimed(worker)
        self.sequence[worker] += 1
        grants = self._take(worker, want)
        self.claimed[worker] = self.sequence[worker]
        return multiple(*grants)

    @rule(worker=st.sampled_from(WORKERS), want=st.integers(1, 5))
    def take_and_lose_the_reply(self, worker: str, want: int) -> None:
        self._forget_unclaimed(worker)
        self.sequence[worker] += 1
        self.lost[worker] = self._take(worker, want)

    @rule(
        grant=consumes(grants),
        decision=st.sampled_from(["answer", "answer", "retry", "wait", "move", "hold", "bury", "expire"]),
        delay_ms=st.sampled_from([0, FAR_MS]),
        times=st.integers(1, 3),
    )
    def finish(self, grant: Grant, decision: Any, delay_ms: int, times: int) -> None:
        held, job = self.held(grant), self.jobs[grant.id]
        other = next(queue for queue in QUEUES if queue != job.queue)
        options: dict[str, Any] = {"delay_ms": delay_ms, "move_to": other, "strategy": "s", "retention_ms": 10**6}
        entry = json.dumps({"attempt": 1})
        end = Finish(id=grant.id, lease=grant.lease, decision=decision, payload="{}", entry=entry, code="c", **options)
        assert [self.ledger.run(finish(end)) for _ in range(times)] == [held] * times
        if not held:
            return
        job.attempts += decision != "wait"
        if decision == "answer":
            job.place = "answered"
        elif job.unwanted:
            job.place = "cancelled"
        elif decision in ENDS:
            job.place = ENDS[decision]
        else:
            job.place = "delayed" if delay_ms and decision in ("retry", "move") else "queued"
            job.queue = other if decision == "move" else job.queue
        job.unwanted = False

    @rule(
        grant=consumes(grants),
        ending=st.sampled_from(["return", "unused", "bury", "cancel"]),
        times=st.integers(1, 2),
    )
    def settle(self, grant: Grant, ending: Any, times: int) -> None:
        held = self.held(grant)
        settlement = Settlement(id=grant.id, lease=grant.lease, ending=ending)
        assert [self.ledger.run(settle([settlement], TERMS)) for _ in range(times)] == [[held]] * times
        if held:
            job = self.jobs[grant.id]
            job.place = "cancelled" if job.unwanted else ENDS.get(ending, "queued")
            job.unwanted = False

    @rule(grant=grants)
    def renew(self, grant: Grant) -> None:
        told = self.ledger.run(renew("w1", "{}", 1000, [(grant.id, grant.lease)], TERMS))
        lease = [(grant.id, grant.lease)]
        assert told.lost == ([] if self.held(grant) else lease)
        assert told.unwanted == (lease if self.held(grant) and self.jobs[grant.id].unwanted else [])

    # What time does

    @rule(many=st.integers(1, 30))
    def leases_lapse(self, many: int) -> None:
        lapsing = self.places("running")[:many]
        if lapsing:
            self.redis.zadd(self.keys.of("running"), dict.fromkeys(lapsing, 1), xx=True)
        self.reap()
        for id in lapsing:
            job = self.jobs[id]
            job.lapses += 1
            if job.lapses >= TERMS.poison and not job.unwanted:
                job.place = "dead"
            else:
                self.back(id)

    @rule()
    def all_delays_pass(self) -> None:
        delayed = self.places("delayed")
        if delayed:
            self.redis.zadd(self.keys.of("delayed"), dict.fromkeys(delayed, 1), xx=True)
        self.reap()
        for id in delayed:
            self.jobs[id].place = "queued"

    @rule(chosen=numbers)
    def deadlines_pass(self, chosen: list[int]) -> None:
        due = [id for id in self.chosen(chosen) if id in self.jobs and self.jobs[id].has_deadline]
        if due:
            self.redis.zadd(self.keys.of("deadlines"), dict.fromkeys(due, 1), xx=True)
        self.reap()
        for id in due:
            if self.jobs[id].place in ("queued", "delayed"):
                self.jobs[id].place = "expired"
            elif self.jobs[id].place == "running":  # its worker stops it; the reaper looks again in a while
                assert (self.redis.zscore(self.keys.of("deadlines"), id) or 0) > 1
                self.redis.zadd(self.keys.of("deadlines"), {id: 2**52})

    @rule(chosen=numbers)
    def deadlines_pass_before_anybody_reaps(self, chosen: list[int]) -> None:
        for id in self.chosen(chosen):
            if id in self.jobs and self.jobs[id].has_deadline and self.jobs[id].place not in ENDED:
                self.redis.hset(self.keys.of("job", id), "deadline", 1)
                self.jobs[id].overdue = True

    # What holds at any moment

    def field(self, id: str, name: str) -> str:
        return (self.redis.hget(self.keys.of("job", id), name) or b"").decode()

    def where(self) -> dict[str, list[str]]:
        """All the places in which each id stands."""
        found: dict[str, list[str]] = {id: [] for id in self.jobs}
        lists = [(queue, name) for queue in QUEUES for name in self.keys.queue_lists(queue)]
        with self.redis.pipeline(transaction=False) as pipe:
            for _, name in lists:
                pipe.lrange(name, 0, -1)
            for place in ("running", "delayed", "dead"):
                pipe.zrange(self.keys.of(place), 0, -1)
            for queue in QUEUES:
                pipe.zrange(self.keys.of("parked", f"{queue} {NODE}"), 0, -1)
            rows = pipe.execute()
        names = [f"queued {queue}" for queue, _ in lists] + ["running", "delayed", "dead"]
        names += [f"queued {queue}" for queue in QUEUES]
        for name, row in zip(names, rows, strict=True):
            for id in row:
                found[id.decode()].append(name)
        return found

    @invariant()
    def every_job_is_in_exactly_one_place(self) -> None:
        if not hasattr(self, "ledger"):
            return
        for id, places in self.where().items():
            job = self.jobs[id]
            if job.place != "queued":  # an id may be left behind in a list, and is passed over there
                places = [place for place in places if not place.startswith("queued")]
            here = f"queued {job.queue}" if job.place == "queued" else job.place
            expected = [] if job.place in ("answered", "cancelled", "expired") else [here]
            assert places == expected, id

    @invariant()
    def every_record_says_where_its_job_is_and_why(self) -> None:
        if not hasattr(self, "ledger"):
            return
        fields = ["state", "cause", "at", "queue", "home", "attempts", "cancel"]
        with self.redis.pipeline(transaction=False) as pipe:
            for id in self.jobs:
                pipe.hmget(self.keys.of("job", id), fields)
                pipe.pttl(self.keys.of("job", id))
            rows = pipe.execute()
        for (id, job), row, ttl in zip(self.jobs.items(), rows[::2], rows[1::2], strict=True):
            state, cause, at, queue, home, attempts, wanted = ((value or b"").decode() for value in row)
            assert (state, queue, home, int(attempts or 0)) == (job.place, job.queue, job.home, job.attempts), id
            assert cause
            assert (wanted != "") == job.unwanted
            assert (ttl > 0) == (state in ENDED), "what has ended expires, and nothing else"
            before, earlier = self.seen.get(id, ("queued", 0))
            assert int(at) >= earlier
            assert state == before or any(state in LIFE[step] for step in (before, *LIFE[before]))
            self.seen[id] = (state, int(at))

    @invariant()
    def what_is_counted_and_what_is_kept_by_deadline_is_what_is_there(self) -> None:
        if not hasattr(self, "ledger"):
            return
        counts = {name.decode(): int(n) for name, n in self.redis.hgetall(self.keys.of("counts")).items() if int(n)}
        expected = Counter(f"{job.place}:{job.queue}" for job in self.jobs.values() if job.place in LIFE)
        expected = Counter({name: n for name, n in expected.items() if name.startswith(("running", "delayed"))})
        expected += Counter({f"waiting:node:{NODE}": sum(bool(self.jobs[id].node) for id in self.places("queued"))})
        assert counts == expected
        kept = {id.decode() for id in self.redis.zrange(self.keys.of("deadlines"), 0, -1)}
        assert kept == {id for id, job in self.jobs.items() if job.has_deadline and job.place not in ENDED}


@pytest.fixture(autouse=True)
def _server(redis_url: str) -> None:
    Life.url = redis_url


class TestLife(Life.TestCase):  # type: ignore[name-defined,misc]
    """Run by pytest."""

    settings = settings(
        max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
