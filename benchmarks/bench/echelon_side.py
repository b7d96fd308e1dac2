"""Echelon's side: a published configuration, the real client, one Celery worker with our take step."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from echelon_configs import load
from echelon_producers import Client
from echelon_workers.ledger import revisions
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger

from .arena import Arena
from .process import Worker
from .side import PROMPT, Side, Work

#: Every limit there is, so wide that none binds: what they cost is part of the figure. A job of the node goes through
#: the pool to an instance of the echelon, so it needs a permit of the cluster, the pool, the group, the echelon, the
#: model and the node at once: concurrency at four levels; requests, tokens, a window and a bucket.
_GROUPS = """\
task_groups:
  bench_group:
    echelon1: {{models: [{models}], priority: 1, timeout: 60, max_retries: 2, max_tokens: 256,
               concurrency_limit: 5000, rpm_limit: 6000000, tpm_limit: 1000000000}}
polling_pools:
  bench_pool:
    task_groups: [bench_group]
    rate_limiting: {{algorithm: token_bucket, bucket_size: 1000000, refill_rate: 100000}}
concurrency_control:
  enabled: true
  levels:
    - group_level: {{limit: 6000, queue_size: 2000000}}
    - echelon_level: {{limit: 6000, queue_size: 2000000}}
    - model_level: {{limit: 6000, queue_size: 2000000}}
    - node_level: {{limit: 6000, queue_size: 2000000}}
rate_limiting: {{enabled: true, algorithm: sliding_window, window_size: 60, max_requests: 6000000}}
"""
_NODES = """\
workflow_nodes:
  bench_node: {polling_pool: bench_pool}
"""
MODELS = ("openai-bench", "anthropic-bench", "gemini-bench")
QUEUE, TARGET = "pool.bench_pool", "node.bench_node"
DB = 0


def write_configs(directory: Path, models: Sequence[str]) -> Path:
    """A configuration of one queue over these instances."""
    groups, nodes = directory / "llms" / "groups", directory / "workflows"
    for folder in (groups, nodes):
        folder.mkdir(parents=True)
    (groups / "_task_groups.yaml").write_text(_GROUPS.format(models=", ".join(models)))
    (nodes / "nodes.yaml").write_text(_NODES)
    return directory


class EchelonSide(Side):
    """Answers kept in the records, events on."""

    def __init__(self, arena: Arena, configs: Path) -> None:
        super().__init__(arena, configs, "Echelon", DB)
        self.address = Address(arena.url(DB))
        self.ledger = Ledger(self.address)
        self.client = Client(self.address.url)
        self._redis = arena.client(DB)

    def reset(self) -> None:
        """An empty database with the configuration in force."""
        self._redis.flushdb()
        configuration = load(self.configs).configuration
        revisions.publish(self.ledger, configuration)

    def start(self, work: Work, slots: int) -> Worker:
        """As `Side.start`."""
        self.reset()
        environment = {
            **work.environment,
            "ECHELON_REDIS_URL": self.address.url,
            "ECHELON_PROVIDERS": f"bench.worker_providers:{'Measured' if work.nap_s is None else 'Napping'}",
        }
        arguments = ["-A", "echelon_workers.app", "worker", "-Q", QUEUE, "-c", str(slots), "-l", "WARNING"]
        worker = self._launch("echelon", arguments, environment)
        end = time.monotonic() + 60
        while not self._serves(worker.pid):
            worker.check()
            if time.monotonic() > end:
                raise RuntimeError("the worker does not serve after 60 s")
            time.sleep(0.05)
        return worker

    def _serves(self, pid: int) -> bool:
        names: Any = self._redis.zrange(self.ledger.keys.of("workers"), 0, -1)
        mine = [name.decode() for name in names if f":{pid}:".encode() in name]
        return any(self._redis.exists(self.ledger.keys.of("taker", name)) for name in mine)

    def submit(self, jobs: int) -> list[str]:
        """As `Side.submit`, through `Client.submit_many`."""
        return self.client.submit_many([PROMPT] * jobs, target=TARGET)

    def submit_one(self) -> str:
        """As `Side.submit_one`."""
        return self.client.submit(TARGET, PROMPT)

    def left(self) -> int:
        """As `Side.left`."""
        totals: Any = self._redis.hmget(
            self.ledger.keys.of("totals", QUEUE), ["submitted", "answered", "dead", "cancelled", "expired"]
        )
        submitted, *ended = (int(value or 0) for value in totals)
        return submitted - sum(ended)

    def answered(self, ids: Sequence[str]) -> int:
        """As `Side.answered`."""
        found = 0
        for first in range(0, len(ids), 1000):
            pipe = self._redis.pipeline(transaction=False)
            for id in ids[first : first + 1000]:
                pipe.hmget(self.ledger.keys.of("job", id), ["state", "answer"])
            found += sum(state == b"answered" and bool(answer) for state, answer in pipe.execute())
        return found

    def counters(self) -> dict[str, int]:
        """What the ledger believes to be running or delayed: all zero when nothing is."""
        counts: Any = self._redis.hgetall(self.ledger.keys.of("counts"))
        found = {name.decode(): int(value) for name, value in counts.items()}
        return {**found, "leases": int(self._redis.zcard(self.ledger.keys.of("running")))}
