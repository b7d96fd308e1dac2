"""What a take costs the server: one that grants, one that says no, and fifty loops that are all told no.

What is compared, and how to read it: benchmarks/README.md.
"""

import asyncio
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from bench.arena import Arena
from bench.command import Scale, run_benchmark
from bench.lawful import percentile
from bench.results import Goal, Results, Row, median, progress
from bench.server_time import cpu_s, spent_on
from bench.take_loops import Blocked, run_loops
from bench.verbs import Caller

from echelon_configs import Configuration, load
from echelon_workers.taking import MOST_A_TAKE, MOST_URGENT

QUEUES, INSTANCES, ECHELONS_A_GROUP, AT_ONCE = 23, 3, 3, 2
LOOPS, FINISHES_PER_S = 50, 200.0
BATCHES = (1, MOST_URGENT, MOST_A_TAKE)
_WIDE = 1_000_000


@dataclass
class TakeCost:
    """One run of this benchmark."""

    arena: Arena
    results: Results
    scale: Scale

    def run(self) -> None:
        """All three parts."""
        self.grants()
        self.refusals()
        self.saying_no()

    def grants(self) -> None:
        """Takes that start as many jobs as they ask for, under limits that do not bind."""
        takes, rounds = self.scale.of(full=(100, 5), short=(40, 3))
        for rates, what in ((False, "four levels of concurrency"), (True, "four levels, requests, tokens and rates")):
            caller = Caller(self.arena, 0, self._load(f"wide-{rates}", _wide(rates)))
            caller.submit("node.wide_node", rounds * takes * sum(BATCHES))
            each: dict[int, list[float]] = {batch: [] for batch in BATCHES}
            for _ in range(rounds):
                for batch in BATCHES:
                    each[batch].append(self._grants(caller, batch, takes))
            for batch, costs in each.items():
                progress(f"  {what}, {batch} asked for: {median(costs):.1f} us a grant")
                self.results.rows.append(Row(what=f"a grant, {what}, {batch} a take", unit="us", ours=median(costs)))
            name = f"server time of a grant, {what}, {MOST_URGENT} a take, us"
            self.results.goals.append(Goal.at_most(name, median(each[MOST_URGENT]), 60))

    @staticmethod
    def _grants(caller: Caller, batch: int, takes: int) -> float:
        grants = 0

        def work() -> None:
            nonlocal grants
            for _ in range(takes):
                grants += len(caller.take([("wide_group.echelon1", "openai-wide")], batch).grants)

        spent = spent_on(caller.redis, work)
        if grants < takes:
            raise RuntimeError(f"{takes} takes granted only {grants} jobs")
        return spent.us / grants

    def refusals(self) -> None:
        """Takes of workers that serve all the queues, none of which may start anything."""
        takes = self.scale.of(full=2_000, short=500)
        configuration = self._load("blocked", _blocked())
        caller = Caller(self.arena, 1, configuration)
        queues = [(name, ",".join(instances)) for name, instances in _queues(configuration).items()]
        for name, _ in queues:
            caller.submit(name, INSTANCES * AT_ONCE + 10)
        while caller.take(queues, 100).grants:
            pass
        marks = caller.ledger.keys.of("blocked")

        def refused(number: int) -> None:
            if caller.take(queues, 100, worker=f"bench:{number}:refused").grants:
                raise RuntimeError("a take that had to be refused was not")

        def told() -> None:
            for number in range(takes):
                refused(number)

        found = spent_on(caller.redis, told)
        self._told_us = found.us / found.calls

        def looked() -> None:
            for number in range(takes // 10):
                caller.redis.delete(marks)
                refused(takes + number)

        found = spent_on(caller.redis, looked)
        self._looked_us = found.us / found.calls
        progress(f"  a refusal: {self._told_us:.1f} us; when nothing is marked: {self._looked_us:.1f} us")
        what = f"a refused take, {QUEUES} queues x {INSTANCES} instances"
        self.results.rows += [
            Row(what=what, unit="us", ours=self._told_us, stock=self._looked_us, note="baseline: no queue is marked"),
        ]
        self.results.goals.append(Goal.at_most(f"server time of {what}, us", self._told_us, 100, self._looked_us))

    def saying_no(self) -> None:
        """Fifty loops, all blocked; each finish frees one permit."""
        seconds = self.scale.of(full=30.0, short=10.0)
        configuration = self._load("loops", _blocked())
        caller = Caller(self.arena, 2, configuration)
        queues = _queues(configuration)
        running = INSTANCES * AT_ONCE
        for name in queues:
            caller.submit(name, running + int(FINISHES_PER_S * (seconds + 2) / QUEUES) + 50)
        blocked = Blocked(caller.ledger.address, queues, running)
        seen: list[tuple[float, float, int]] = []

        def watch() -> None:
            stats: Any = caller.redis.info("commandstats")
            seen.append((time.perf_counter(), cpu_s(caller.redis), int(stats["cmdstat_evalsha"]["calls"])))

        asyncio.run(run_loops(blocked, LOOPS, FINISHES_PER_S, seconds, watch))
        (began, cpu, scripts), (ended, cpu_after, scripts_after) = seen
        share = (cpu_after - cpu) / (ended - began) * 100
        takes = (scripts_after - scripts - blocked.finishes) / blocked.finishes
        usual, late = (percentile(blocked.delays, share) for share in (0.5, 0.99))
        progress(
            f"  {blocked.finishes:,} finishes, {takes:.2f} takes each, {share:.1f} % of a core, start p50 {usual:.2f} "
            f"p99 {late:.2f} most {max(blocked.delays):.1f} ms, {blocked.unused} unused"
        )
        what = f"{LOOPS} loops, {QUEUES} blocked queues, {FINISHES_PER_S:g} finishes/s"
        everyone = FINISHES_PER_S * LOOPS * self._looked_us / 1e4
        note = "baseline: computed, if each finish woke them all and nothing was marked"
        self.results.rows += [
            Row(what=f"{what}: CPU of the server", unit="% of a core", ours=share, stock=everyone, note=note),
            Row(what=f"{what}: takes for each finish", unit="", ours=takes, stock=float(LOOPS), note=note),
            Row(what=f"{what}: permit freed to grant, p50", unit="ms", ours=usual),
            Row(what=f"{what}: permit freed to grant, p99", unit="ms", ours=late),
        ]
        self.results.goals += [
            Goal.at_most(f"server CPU, {what}, % of a core", share, 30, everyone),
            Goal.at_most("from a freed permit to the grant, p99, ms", late, 25),
            Goal.at_most("freed permits that nobody took", blocked.unused, 0),
        ]

    def _load(self, name: str, documents: Mapping[str, Mapping[str, Any]]) -> Configuration:
        folder = self.arena.folder / name
        for path, content in documents.items():
            _write(folder / path, content)
        return load(folder).configuration


def _wide(rates: bool) -> dict[str, Mapping[str, Any]]:
    """One queue with a node; limits at all four levels, and with `rates` every rate there is, that never bind."""
    per_minute = {"rpm_limit": _WIDE, "tpm_limit": 1000 * _WIDE} if rates else {}
    echelon = {"models": ["openai-wide"], "concurrency_limit": _WIDE, **per_minute}
    groups = {"wide_group": {"concurrency_limit": _WIDE, "echelon1": echelon}}
    bucket = {"enabled": True, "algorithm": "token_bucket", "bucket_size": _WIDE, "refill_rate": _WIDE}
    node = {"llm_group": "wide_group.echelon1", "concurrency_config": {"limit": _WIDE}}
    model = {"model_type": "openai", "model_name": "wide", "concurrency_limit": _WIDE, **per_minute}
    return {
        "llms/groups/_task_groups.yaml": {"task_groups": groups, **({"rate_limiting": bucket} if rates else {})},
        "llms/openai-wide.yaml": model,
        "workflows/nodes.yaml": {"workflow_nodes": {"wide_node": node}},
    }


def _blocked() -> dict[str, Mapping[str, Any]]:
    """23 echelons, each with three instances of two calls at once; echelons and groups allow exactly as many."""
    groups: dict[str, Any] = {}
    models: dict[str, Mapping[str, Any]] = {}
    for number in range(QUEUES):
        names = [f"openai-b{number}x{place}" for place in range(INSTANCES)]
        for name in names:
            models[f"llms/{name}.yaml"] = {"model_type": "openai", "model_name": name, "concurrency_limit": AT_ONCE}
        group = groups.setdefault(f"g{number // ECHELONS_A_GROUP}_group", {"concurrency_limit": 0})
        group[f"echelon{number % ECHELONS_A_GROUP + 1}"] = {"models": names, "concurrency_limit": INSTANCES * AT_ONCE}
        group["concurrency_limit"] += INSTANCES * AT_ONCE
    return {"llms/groups/_task_groups.yaml": {"task_groups": groups}, **models}


def _queues(configuration: Configuration) -> dict[str, list[str]]:
    queues = configuration.queues.values()
    return {each.name: [member.instance for member in each.members] for each in queues if each.kind == "echelon"}


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(dict(content)))


if __name__ == "__main__":
    sys.exit(run_benchmark("take_cost", __doc__, lambda *run: TakeCost(*run).run()))
