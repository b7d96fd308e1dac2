"""Whatever happens in whatever order, a job is in exactly one place: a state machine against a plain model.

The model knows for each job where it must be and under which lease. Redis is asked after every step.
"""

import json
import secrets
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.verbs import (
    Finish,
    Grant,
    NewJob,
    Settlement,
    Terms,
    finish,
    redrive,
    renew,
    settle,
    submit,
    take,
)

TERMS = Terms(lease_ms=1_000_000_000, poison=10**6)
QUEUES = ("a_group.echelon1", "b_group.echelon1")
WORKERS = ("w1", "w2")
ENDED = {"answer": "answered", "bury": "dead", "cancel": "cancelled"}


class Life(RuleBasedStateMachine):
    """Submits, takes whose replies get lost, finishes that come twice or too late, leases that lapse."""

    url = ""
    grants: Bundle[Grant] = Bundle("grants")

    @initialize()
    def start(self) -> None:
        self.ledger = Ledger(Address(self.url, f"t{secrets.token_hex(4)}"))
        self.places: dict[str, str] = {}
        self.leases: dict[str, str] = {}
        self.attempts: dict[str, int] = {}
        self.sequence = dict.fromkeys(WORKERS, 0)
        self.claimed = dict.fromkeys(WORKERS, 0)
        self.lost: dict[str, list[Grant]] = {worker: [] for worker in WORKERS}

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()

    @rule(queue=st.sampled_from(QUEUES), many=st.integers(1, 4), priority=st.integers(0, 9))
    def submit(self, queue: str, many: int, priority: int) -> None:
        new = [f"j{len(self.places) + i}" for i in range(many)]
        jobs = [NewJob(id=id, queue=queue, request="{}", target=queue, priority=priority) for id in new]
        assert self.ledger.run(submit(jobs)) == [True] * many
        assert self.ledger.run(submit(jobs)) == [False] * many
        self.places |= dict.fromkeys(new, "queued")
        self.attempts |= dict.fromkeys(new, 0)

    def _take(self, worker: str, want: int) -> list[Grant]:
        verb = take(
            worker,
            self.sequence[worker],
            self.claimed[worker],
            [(q, "i") for q in QUEUES],
            want=want,
            fills=False,
            terms=TERMS,
        )
        grants = self.ledger.run(verb).grants
        assert self.ledger.run(verb).grants == grants
        return grants

    def _granted(self, grants: list[Grant]) -> None:
        for grant in grants:
            assert self.places[grant.id] == "queued", f"{grant.id} was {self.places[grant.id]} and was granted"
            assert int(grant.lease) > int(self.leases.get(grant.id, "0"))
            self.places[grant.id], self.leases[grant.id] = "running", grant.lease

    def _forget_unclaimed(self, worker: str) -> None:
        for grant in self.lost[worker]:
            if self.places[grant.id] == "running" and self.leases[grant.id] == grant.lease:
                self.places[grant.id] = "queued"
        self.lost[worker] = []

    @rule(target=grants, worker=st.sampled_from(WORKERS), want=st.integers(1, 5))
    def take(self, worker: str, want: int) -> Any:
        self._forget_unclaimed(worker)
        self.sequence[worker] += 1
        grants = self._take(worker, want)
        waiting = sum(place == "queued" for place in self.places.values())
        assert len(grants) == min(want, waiting)
        self._granted(grants)
        self.claimed[worker] = self.sequence[worker]
        return multiple(*grants)

    @rule(worker=st.sampled_from(WORKERS), want=st.integers(1, 5))
    def take_and_lose_the_reply(self, worker: str, want: int) -> None:
        self._forget_unclaimed(worker)
        self.sequence[worker] += 1
        grants = self._take(worker, want)
        self._granted(grants)
        self.lost[worker] = grants

    @rule(
        grant=consumes(grants), decision=st.sampled_from(["answer", "bury", "retry", "delay"]), times=st.integers(1, 3)
    )
    def finish(self, grant: Grant, decision: str, times: int) -> None:
        held = self.places[grant.id] == "running" and self.leases[grant.id] == grant.lease
        end = Finish(
            id=grant.id,
            lease=grant.lease,
            decision="retry" if decision == "delay" else decision,  # type: ignore[arg-type]
            payload="{}",
            entry=json.dumps({"attempt": 1}),
            delay_ms=10**9 if decision == "delay" else 0,
            retention_ms=10**6,
        )
        assert [self.ledger.run(finish(end)) for _ in range(times)] == [held] * times
        if held:
            self.attempts[grant.id] += 1
            self.places[grant.id] = {"retry": "queued", "delay": "delayed"}.get(decision) or ENDED[decision]

    @rule(grant=consumes(grants), ending=st.sampled_from(["return", "bury", "cancel"]), times=st.integers(1, 2))
    def settle(self, grant: Grant, ending: str, times: int) -> None:
        held = self.places[grant.id] == "running" and self.leases[grant.id] == grant.lease
        settlement = Settlement(id=grant.id, lease=grant.lease, ending=ending)  # type: ignore[arg-type]
        assert [self.ledger.run(settle([settlement], TERMS)) for _ in range(times)] == [[held]] * times
        if held:
            self.places[grant.id] = ENDED.get(ending, "queued")

    @rule(number=st.integers(0, 30), many=st.integers(1, 3), times=st.integers(1, 2))
    def redrive(self, number: int, many: int, times: int) -> None:
        chosen = [f"j{number + i}" for i in range(many)]
        ends = {"dead": "done", "cancelled": "done", "answered": "answered"}
        expected = [ends.get(self.places[id], "not ended") if id in self.places else "unknown" for id in chosen]
        verb = redrive(chosen)
        assert [self.ledger.run(verb) for _ in range(times)] == [expected] * times
        for id, said in zip(chosen, expected, strict=True):
            if said == "done":
                self.places[id], self.attempts[id] = "queued", 0

    @rule(grant=grants)
    def renew(self, grant: Grant) -> None:
        held = self.places[grant.id] == "running" and self.leases[grant.id] == grant.lease
        lost = self.ledger.run(renew("w1", "{}", 1000, [(grant.id, grant.lease)], TERMS)).lost
        assert lost == ([] if held else [(grant.id, grant.lease)])

    @rule()
    def all_leases_lapse(self) -> None:
        running = [id for id, place in self.places.items() if place == "running"]
        if running:
            self.ledger.redis.zadd(self.ledger.keys.of("running"), dict.fromkeys(running, 1), xx=True)
        self.ledger.run(renew("reaper", "{}", 1000, [], TERMS))
        self.places |= dict.fromkeys(running, "queued")

    @rule()
    def all_delays_pass(self) -> None:
        delayed = [id for id, place in self.places.items() if place == "delayed"]
        if delayed:
            self.ledger.redis.zadd(self.ledger.keys.of("delayed"), dict.fromkeys(delayed, 1), xx=True)
        self.ledger.run(renew("reaper", "{}", 1000, [], TERMS))
        self.places |= dict.fromkeys(delayed, "queued")

    @invariant()
    def every_job_is_in_exactly_one_place(self) -> None:
        if not hasattr(self, "ledger"):
            return
        redis, keys = self.ledger.redis, self.ledger.keys
        lists = [name for queue in QUEUES for name in keys.queue_lists(queue)]
        found: dict[str, list[str]] = {id: [] for id in self.places}
        for name in lists:
            for id in redis.lrange(name, 0, -1):
                found[id.decode()].append("queued")
        for place in ("running", "delayed", "dead"):
            for id in redis.zrange(keys.of(place), 0, -1):
                found[id.decode()].append(place)
        expected = {id: [] if place in ("answered", "cancelled") else [place] for id, place in self.places.items()}
        assert found == expected
        for id, place in self.places.items():
            state, attempts = redis.hmget(keys.of("job", id), "state", "attempts")
            assert (state.decode(), int(attempts or 0)) == (place, self.attempts[id])
        counts = {name.decode(): int(n) for name, n in redis.hgetall(keys.of("counts")).items()}
        for kind in ("running", "delayed"):
            total = sum(n for name, n in counts.items() if name.startswith(kind))
            assert total == sum(place == kind for place in self.places.values())


@pytest.fixture(autouse=True)
def _server(redis_url: str) -> None:
    Life.url = redis_url


class TestLife(Life.TestCase):  # type: ignore[name-defined,misc]
    """Run by pytest."""

    settings = settings(
        max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
