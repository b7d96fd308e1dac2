"""A worker's part played through the ledger's verbs, for tests that look into Redis; nothing is published."""

import json
from typing import Any

from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.record import FIELDS, JobRecord, read_record
from echelon_workers.ledger.verbs import (
    Ending,
    Finish,
    Grant,
    NewJob,
    Refusal,
    Renewed,
    Settlement,
    Taken,
    Terms,
    finish,
    renew,
    settle,
    submit,
    take,
)

FAST, PLAN = "fast_group.echelon1", "plan_group.echelon1"


class LedgerHands:
    """One namespace: its producers and one worker."""

    def __init__(self, address: Address, terms: Terms) -> None:
        self.ledger, self.terms = Ledger(address), terms
        self.keys = self.ledger.keys
        self.redis: Any = self.ledger.redis
        self.sequence = 0

    def close(self) -> None:
        self.ledger.close()

    def submit(self, *ids: str, queue: str = FAST, **options: Any) -> list[bool] | Refusal:
        jobs = [NewJob(id=id, queue=queue, request="{}", target=queue, **options) for id in ids]
        return self.ledger.run(submit(jobs))

    def taken(self, want: int = 10, queues: tuple[str, ...] = (FAST, PLAN), instances: str = "one") -> Taken:
        self.sequence += 1
        served = [(queue, instances) for queue in queues]
        verb = take("w", self.sequence, self.sequence - 1, served, want=want, fills=False, terms=self.terms)
        return self.ledger.run(verb)

    def take(self, want: int = 10, queues: tuple[str, ...] = (FAST, PLAN), instances: str = "one") -> list[Grant]:
        return self.taken(want, queues, instances).grants

    def finish(self, grant: Grant, decision: Any = "answer", **more: Any) -> bool:
        tried = json.dumps({"attempt": 1, "decision": decision})
        values: dict[str, Any] = {"payload": '{"code":"x"}', "entry": tried, "retention_ms": 60_000, "code": "x"}
        return self.ledger.run(finish(Finish(id=grant.id, lease=grant.lease, decision=decision, **(values | more))))

    def settle(self, grant: Grant, ending: Ending) -> bool:
        return self.ledger.run(settle([Settlement(id=grant.id, lease=grant.lease, ending=ending)], self.terms))[0]

    def reap(self, *held: Grant) -> Renewed:
        """A heartbeat of a worker that holds these."""
        return self.ledger.run(renew("r", "{}", 60_000, [(grant.id, grant.lease) for grant in held], self.terms))

    def lapse(self, *ids: str) -> None:
        """The leases of these jobs run out."""
        self.redis.zadd(self.keys.of("running"), dict.fromkeys(ids, 1), xx=True)
        self.reap()

    def due(self, place: str, *ids: str) -> None:
        """What is kept by time in this place is due for these jobs."""
        self.redis.zadd(self.keys.of(place), dict.fromkeys(ids, 1), xx=True)

    def field(self, id: str, name: str) -> str:
        return (self.redis.hget(self.keys.of("job", id), name) or b"").decode()

    def trail(self, id: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.field(id, "trail").splitlines()]

    def total(self, name: str, queue: str = FAST) -> int:
        return int(self.redis.hget(self.keys.of("totals", queue), name) or 0)

    def count(self, name: str) -> int:
        return int(self.redis.hget(self.keys.of("counts"), name) or 0)

    def list(self, queue: str = FAST, number: int = 0) -> list[str]:
        """The ids of one of a queue's lists, its head first."""
        return [id.decode() for id in reversed(self.redis.lrange(self.keys.queue(queue, number), 0, -1))]

    def waiting(self, queue: str = FAST) -> int:
        return sum(self.redis.llen(name) for name in self.keys.queue_lists(queue))

    def now_ms(self) -> int:
        return int(self.redis.get(self.keys.of("clock")) or 0)

    def record(self, id: str) -> JobRecord:
        found = read_record(id, self.redis.hmget(self.keys.of("job", id), FIELDS))
        assert found is not None
        return found


def ids(grants: list[Grant]) -> list[str]:
    return [grant.id for grant in grants]
