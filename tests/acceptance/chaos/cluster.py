"""One run: a cluster of processes, and the events of a plan carried out on it."""

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Self

import redis
from cutting_proxy import CuttingProxy

from echelon_producers.simulator.process import SimulatorProcess
from echelon_workers.ledger import revisions
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.keys import Keys
from echelon_workers.ledger.verbs import steer

from .limits import CHOICES, TARGETS, Revisions, configure, drawn
from .plan import Event
from .processes import ChaosWorker, Server, Workers
from .producing import Produced, Producer

WORKERS, SLOTS, LEASE_S = 3, 20, 4.0
#: For so long is a server asked that may be away.
_TRIES_S = 60.0
_QUEUES = sorted({target if "." in target else f"{target}.echelon1" for target in TARGETS if target != "node.c_node"})
_LATENCY = {"p50": 0.3, "p99": 2.5}


@dataclass(eq=False)
class Cluster:
    """`with Cluster(folder, seed) as cluster: cluster.play(plan)`."""

    folder: Path
    seed: int
    jobs_per_s: float = 45.0
    produced: Produced = field(default_factory=Produced)
    in_force: Revisions = field(default_factory=Revisions)
    said: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._began = time.monotonic()
            (self.folder / "redis").mkdir()
            self.server = Server(self.folder / "redis", _free_port())
            stack.callback(self.server.kill)
            self.server.start()
            self.proxy = stack.enter_context(CuttingProxy(self.server.port, seed=self.seed, drop=0.01, cut=0.003))
            self.simulator = stack.enter_context(SimulatorProcess("--seed", str(self.seed)))
            self.keys = Keys()
            self._ledger = Ledger(Address(f"redis://127.0.0.1:{self.server.port}/0"))
            stack.callback(self._ledger.close)
            self._publish(drawn())
            self._faults(Random(self.seed))
            self.mark = f"{os.getpid()}-{self.seed}-{self.server.port}"
            self.workers = Workers(self.folder, self.proxy.url, self.simulator.url, self.mark, SLOTS, LEASE_S)
            stack.callback(self._kill_all)
            for _ in range(WORKERS):
                self.workers.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def play(self, plan: list[Event], seconds: float) -> None:
        """Carry the plan out while jobs come."""
        self._wait_until_served()
        lock = threading.Lock()
        producers = [
            Producer(name, self.proxy.url, self.seed, self.jobs_per_s / 2, self.produced, lock)
            for name in ("anna", "bert")
        ]
        for producer in producers:
            producer.start()
        self._began = time.monotonic()
        # What is to happen, and afterwards what is to be undone: in order of time.
        coming = deque((event.at_s, str(event), self._deed(event)) for event in plan)
        self._undoing: list[tuple[float, str, Callable[[], None]]] = []
        while coming or self._undoing or time.monotonic() - self._began < seconds:
            now_s = time.monotonic() - self._began
            while coming and coming[0][0] <= now_s:
                _, name, deed = coming.popleft()
                self._say(name)
                deed()
            for entry in sorted(self._undoing, key=lambda entry: entry[0]):
                if entry[0] <= now_s:
                    self._undoing.remove(entry)
                    self._say(f"        {entry[1]}")
                    entry[2]()
            time.sleep(0.02)
        self._calm()
        for producer in producers:
            producer.end(_TRIES_S)

    def _calm(self) -> None:
        """Nothing happens any more, and little holds a job back."""
        self.proxy.drop = self.proxy.cut = 0.0
        self.simulator.load({"models": {"*": {"latency_s": 0.05}}})
        self._publish({name: 4 * max(values) for name, values in CHOICES.items()})
        self._ask(lambda: self._ledger.run(steer("resume", _QUEUES)))
        self._say("        all is calm")

    def _say(self, what: str) -> None:
        self.said.append(f"{time.monotonic() - self._began:7.2f} {what}")

    def _deed(self, event: Event) -> Callable[[], None]:
        def done() -> None:
            getattr(self, f"_do_{event.kind}")(event, Random(event.draw))

        return done

    def _after(self, event: Event, what: str, deed: Callable[[], None]) -> None:
        self._undoing.append((time.monotonic() - self._began + event.lasts_s, what, deed))

    def _one(self, draw: Random, *, stopped: bool) -> ChaosWorker | None:
        """A worker, if there is one; `stopped`: it may be a stopped one."""
        those = [worker for worker in self.workers.live if worker.runs and (stopped or not worker.stopped)]
        return draw.choice(those) if those else None

    def _do_kill(self, event: Event, draw: Random) -> None:
        if (worker := self._one(draw, stopped=True)) is not None:
            self.workers.kill(worker)

    def _do_terminate(self, event: Event, draw: Random) -> None:
        if (worker := self._one(draw, stopped=False)) is not None:
            self.workers.terminate(worker)

    def _do_stop(self, event: Event, draw: Random) -> None:
        # One worker goes on at least, so that somebody reaps.
        worker = self._one(draw, stopped=False)
        if worker is not None and sum(not worker.stopped for worker in self.workers.live) > 1:
            worker.stop()
            self._after(event, f"{worker.log.stem} goes on", worker.go_on)

    _do_stop_long = _do_stop

    def _do_kill_server(self, event: Event, draw: Random) -> None:
        if self.server.process is not None and self.server.process.poll() is None:
            self.server.kill()
            self._after(event, "the server is back", self.server.start)

    def _do_cut_all(self, event: Event, draw: Random) -> None:
        self.proxy.cut_all()

    def _do_publish(self, event: Event, draw: Random) -> None:
        limits = drawn(draw)
        self._say(f"        {limits}")
        self._publish(limits)

    def _do_pause(self, event: Event, draw: Random) -> None:
        self._steer("pause", event, draw)

    def _do_drain(self, event: Event, draw: Random) -> None:
        self._steer("drain", event, draw)

    def _steer(self, order: Any, event: Event, draw: Random) -> None:
        queue = draw.choice(_QUEUES)
        self._say(f"        {queue}")
        self._ask(lambda: self._ledger.run(steer(order, [queue])))
        self._after(event, f"{queue} goes on", lambda: self._ask(lambda: self._ledger.run(steer("resume", [queue]))))

    def _do_faults(self, event: Event, draw: Random) -> None:
        self._faults(draw)

    def _do_outage(self, event: Event, draw: Random) -> None:
        provider = draw.choice(["openai", "anthropic", "gemini"])
        self._say(f"        {provider}")
        self.simulator.load(self._script(draw, [{"kind": "outage", "provider": provider}]))
        self._after(event, f"{provider} is back", lambda: self._faults(draw))

    def _faults(self, draw: Random) -> None:
        self.simulator.load(self._script(draw, []))

    @staticmethod
    def _script(draw: Random, first: list[dict[str, Any]]) -> dict[str, Any]:
        def share(most: float) -> float:
            return round(draw.uniform(0.001, most), 3)

        faults = [
            {"kind": "429", "share": share(0.05), "retry_after_s": 0.4},
            {"kind": "503", "share": share(0.05)},
            {"kind": "500", "share": share(0.02)},
            {"kind": "cut", "share": share(0.04)},
            {"kind": "slow", "share": share(0.05), "delay_s": 2.5},
            {"kind": "stall", "share": share(0.01)},
            {"kind": "broken_body", "share": share(0.02)},
        ]
        return {"seed": draw.randrange(1000), "models": {"*": {"latency_s": _LATENCY}}, "faults": [*first, *faults]}

    def _publish(self, limits: dict[str, int]) -> None:
        configuration = configure(self.folder / "configs", limits)
        with self.in_force.coming(limits):
            self._ask(lambda: revisions.publish(self._ledger, configuration))

    def _ask(self, deed: Callable[[], object]) -> None:
        """Of a server that may be away; while it is asked, it may come back."""
        end = time.monotonic() + _TRIES_S
        while True:
            try:
                deed()
                return
            except (redis.RedisError, OSError):
                assert time.monotonic() < end, "the server stays away"
                if self.server.process is not None and self.server.process.poll() is not None:
                    self.server.start()
                time.sleep(0.05)

    def _wait_until_served(self) -> None:
        end = time.monotonic() + _TRIES_S
        with self.server.client() as client:
            while sum(1 for _ in client.scan_iter(f"{self.keys.own}taker:*")) < WORKERS:
                assert time.monotonic() < end, "the workers do not serve"
                assert all(worker.runs for worker in self.workers.live), "a worker has ended"
                time.sleep(0.1)

    def _kill_all(self) -> None:
        for worker in self.workers.everyone():
            worker.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
