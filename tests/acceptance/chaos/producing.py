"""Who submits: jobs with ids of their own, repeated until they are accepted; some are cancelled, some expire."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import redis

from echelon_producers import Client, EchelonError
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.verbs import cancel

from .limits import TARGETS

_MOST_A_BATCH = 8
_REASON = '{"code":"cancelled","message":"nobody wants it any more"}'


@dataclass(slots=True)
class Produced:
    """What producers know."""

    #: accepted ids with their targets
    accepted: dict[str, str] = field(default_factory=dict)
    #: what cancelling them was answered with
    cancels: dict[str, str] = field(default_factory=dict)
    #: how often each error was met
    errors: dict[str, int] = field(default_factory=dict)
    repeats: int = 0
    faults: list[str] = field(default_factory=list)


class Producer:
    """One thread over one client."""

    def __init__(self, name: str, url: str, seed: int, per_s: float, produced: Produced, lock: threading.Lock) -> None:
        self._name, self._url, self._per_s = name, url, per_s
        self._draw = Random(f"{seed} {name}")
        self._produced, self._lock = produced, lock
        self._ended, self._patience_ends = threading.Event(), float("inf")
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._number = 0
        self._to_cancel: list[tuple[float, str]] = []

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self, within_s: float) -> None:
        """Make no more jobs; what is under way is repeated until it is accepted."""
        self._patience_ends = time.monotonic() + within_s
        self._ended.set()
        self._thread.join(within_s + 60)
        if self._thread.is_alive():
            self._fault("it has not ended")

    def _run(self) -> None:
        try:
            with Client(self._url) as client:
                ledger = Ledger(Address(self._url))
                while not self._ended.is_set():
                    many = self._draw.randrange(1, _MOST_A_BATCH)
                    self._submit(client, [self._job() for _ in range(many)])
                    self._cancel_due(ledger, time.monotonic())
                    self._ended.wait(self._draw.uniform(0, 2) * many / self._per_s)
                self._cancel_due(ledger, float("inf"))
                ledger.close()
        except Exception as exc:
            self._fault(repr(exc))

    def _fault(self, what: str) -> None:
        with self._lock:
            self._produced.faults.append(f"{self._name}: {what}")

    def _job(self) -> dict[str, Any]:
        self._number += 1
        id = f"{self._name}-{self._number}"
        target = self._draw.choices(list(TARGETS), list(TARGETS.values()))[0]
        job: dict[str, Any] = {"id": id, "target": target, "prompt": f"Job {id}: what is the tide?"}
        if self._draw.random() < 0.1:
            job["deadline_s"] = round(self._draw.uniform(0.3, 5), 2)
        if self._draw.random() < 0.1:
            job["priority"] = self._draw.randrange(10)
        return job

    def _submit(self, client: Client, jobs: Sequence[dict[str, Any]]) -> None:
        again = False
        while True:
            try:
                ids = client.submit_many(jobs)
            except EchelonError as exc:
                with self._lock:
                    name = type(exc).__name__
                    self._produced.errors[name] = self._produced.errors.get(name, 0) + 1
                    self._produced.repeats += 1
                if time.monotonic() > self._patience_ends:
                    self._fault(f"never accepted: {[job['id'] for job in jobs]}: {exc}")
                    return
                again = True
                time.sleep(min(0.5, getattr(exc, "retry_after_s", 0.2)))
                continue
            assert ids == [job["id"] for job in jobs]
            if not again and self._draw.random() < 0.1:
                again = True  # somebody did not hear of it
                continue
            break
        with self._lock:
            self._produced.accepted.update({job["id"]: job["target"] for job in jobs})
        now = time.monotonic()
        self._to_cancel += [(now + self._draw.uniform(0, 3), id) for id in ids if self._draw.random() < 0.06]

    def _cancel_due(self, ledger: Ledger, until: float) -> None:
        due = [id for at, id in self._to_cancel if at <= until]
        self._to_cancel = [(at, id) for at, id in self._to_cancel if at > until]
        while due:
            try:
                answers = ledger.run(cancel(due, _REASON))
            except (redis.RedisError, OSError) as exc:
                if time.monotonic() > self._patience_ends:
                    self._fault(f"not cancelled: {due}: {exc}")
                    return
                time.sleep(0.2)
                continue
            with self._lock:
                self._produced.cancels.update(zip(due, answers, strict=True))
            return
