"""Jobs answered by hand: a published configuration, and a worker's part played through the ledger's verbs."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from echelon_configs import Configuration, Echelon, Group, Instance, Limits, Member, Node, Queue
from echelon_workers.adoption import Refused, adopt
from echelon_workers.ledger import revisions
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.job import Answer, Usage
from echelon_workers.ledger.verbs import Finish, Grant, Terms, finish, refuse, renew, submit, take
from echelon_workers.outcome import celery_failure, celery_success

QUEUES = ("fast_group.echelon1", "fast_group.echelon2", "plan_group.echelon1", "model.openai-gpt4")
TERMS = Terms()


def configuration() -> Configuration:
    """Two groups, one instance, one node: the least that has a target of most kinds."""
    instance = Instance(name="openai-gpt4", provider="openai", vendor="openai", model="gpt-4")
    groups: dict[str, Group] = {}
    for queue in QUEUES[:3]:
        group, name = queue.split(".")
        echelon = Echelon(group=group, name=name, models=(instance.name,))
        echelons = {**(groups[group].echelons if group in groups else {}), name: echelon}
        groups[group] = Group(name=group, echelons=echelons)
    return Configuration(
        groups=groups,
        instances={instance.name: instance},
        nodes={"summary": Node(name="summary", target="plan_group")},
        queues={
            name: Queue(
                name=name,
                kind="model" if name.startswith("model.") else "echelon",
                members=(Member(instance=instance.name, home=name),),
            )
            for name in QUEUES
        },
    )


def publish(address: Address, what: Configuration | None = None) -> int:
    """Put a configuration in force and return the number of its revision."""
    chosen = what or configuration()
    ledger = Ledger(address)
    try:
        return revisions.publish(ledger, chosen)
    finally:
        ledger.close()


def waiting(address: Address, queue: str = QUEUES[0]) -> int:
    """How many jobs are in a queue's lists."""
    ledger = Ledger(address)
    try:
        return sum(int(ledger.redis.llen(key)) for key in ledger.keys.queue_lists(queue))  # type: ignore[arg-type]
    finally:
        ledger.close()


class Hands:
    """Plays one worker, without Celery, providers or heartbeat."""

    def __init__(self, address: Address, name: str = "by-hand") -> None:
        self.ledger = Ledger(address)
        self.name = name
        self._sequence = 0
        self._configuration = configuration()

    def take(self, want: int = 100, queues: tuple[str, ...] = QUEUES) -> list[Grant]:
        """Take what is waiting; foreign messages are adopted and taken with the next call."""
        verb = take(
            self.name,
            self._sequence + 1,
            self._sequence,
            [(queue, "openai-gpt4") for queue in queues],
            want=want,
            fills=False,
            terms=TERMS,
        )
        taken = self.ledger.run(verb)
        self._sequence += 1
        for raw in taken.raws:
            self._adopt(raw)
        return taken.grants

    def _adopt(self, raw: bytes) -> None:
        job = adopt(raw, self._configuration)
        if isinstance(job, Refused):
            error, result = json.dumps({"code": "refused", "message": job.why}), celery_failure(job.id, job.why)
            self.ledger.run(refuse(raw, job.id, job.queue, error, {job.id: result}, TERMS))
        else:
            self.ledger.run(submit([job], adopted=raw))

    def answer(self, grant: Grant, text: str = "an answer") -> None:
        """Finish a job with an answer that took 3 + 5 tokens and a tenth of a cent."""
        answer = Answer(
            text=text,
            finish_reason="stop",
            usage=Usage(input_tokens=3, output_tokens=5),
            cost_usd="0.001",
            model="gpt-4",
            instance=grant.instance,
            latency_ms=12,
        )
        foreign = celery_success(grant.id, answer.model_dump(mode="json")) if grant.foreign else ""
        self._finish(grant, "answer", answer.model_dump_json(), 3, 5, "0.001", foreign_result=foreign)

    def bury(self, grant: Grant, message: str = "every attempt failed") -> None:
        """Finish a job as dead."""
        foreign = celery_failure(grant.id, message) if grant.foreign else ""
        self._finish(grant, "bury", json.dumps({"code": "server_failed", "message": message}), foreign_result=foreign)

    def retry(self, grant: Grant, delay_ms: int = 0) -> None:
        """Send a job back to its queue, at once or after a delay."""
        self._finish(grant, "retry", json.dumps({"code": "timed_out", "message": "too slow"}), delay_ms=delay_ms)

    def _finish(
        self, grant: Grant, decision: Any, payload: str, tokens_in: int = 0, out: int = 0, cost: str = "0", **more: Any
    ) -> None:
        end = Finish(
            id=grant.id,
            lease=grant.lease,
            decision=decision,
            payload=payload,
            entry=json.dumps({"attempt": grant.attempts + 1, "instance": grant.instance, "decision": decision}),
            retention_ms=60_000,
            input_tokens=tokens_in,
            output_tokens=out,
            cost_usd=cost,
            **more,
        )
        assert self.ledger.run(finish(end)), f"the lease of {grant.id} is lost"

    def beat(self, *, queues: tuple[str, ...] = QUEUES, slots: int = 4, lasting_ms: int = 20_000) -> None:
        """One heartbeat, as a worker sends it."""
        about = {
            "name": self.name,
            "hostname": f"{self.name}@host",
            "host": "host",
            "pid": 7,
            "slots": slots,
            "busy": 1,
        }
        said = json.dumps({**about, "queues": queues, "revision": 1})
        self.ledger.run(renew(self.name, said, lasting_ms, [], TERMS))

    def __enter__(self) -> "Hands":
        return self

    def __exit__(self, *_: object) -> None:
        self.ledger.close()


@contextmanager
def answering(address: Address) -> Iterator[None]:
    """While this holds, every job is answered with `answer to: ` and its prompt."""
    stop = threading.Event()

    def work() -> None:
        with Hands(address) as hands:
            while not stop.wait(0.01):
                for grant in hands.take():
                    request = json.loads(grant.request)
                    said = request.get("prompt") or request["messages"][-1]["content"]
                    hands.answer(grant, f"answer to: {said}")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def limited(limits: Limits) -> Configuration:
    """The configuration above with limits at its first echelon."""
    whole = configuration()
    group = whole.groups["fast_group"]
    echelon = group.echelons["echelon1"].model_copy(update={"limits": limits})
    group = group.model_copy(update={"echelons": {**group.echelons, "echelon1": echelon}})
    return whole.model_copy(update={"groups": {**whole.groups, "fast_group": group}})
