"""Everything goes wrong at random, and nothing is lost.

A run is known by its seed and its length: `CHAOS_SEED=7 CHAOS_SECONDS=300 pytest tests/acceptance/chaos` plays one
again (the plan and what the producers do are the same; how the processes interleave is not). `make chaos` takes a new
seed and five minutes.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance.chaos import books
from acceptance.chaos.calls import calls_of, violations
from acceptance.chaos.cluster import Cluster
from acceptance.chaos.logs import unforeseen
from acceptance.chaos.plan import plan_of
from acceptance.chaos.processes import marked_processes

SEED = int(os.environ.get("CHAOS_SEED", "5"))
SECONDS = float(os.environ.get("CHAOS_SECONDS", "20"))
#: Longer than any lease, delay, window or breaker lasts.
_STUCK_S = 90.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path, SEED) as cluster:
        yield cluster


def test_nothing_is_lost_and_no_limit_exceeded_whatever_goes_wrong(cluster: Cluster) -> None:
    plan = plan_of(SEED, SECONDS)
    print(f"CHAOS_SEED={SEED} CHAOS_SECONDS={SECONDS:g}", *plan, sep="\n")
    try:
        cluster.play(plan, SECONDS)
        _drain(cluster)
        wrong = [*_books(cluster), *_leave(cluster)]
    finally:
        print("what happened:", *cluster.said, sep="\n")
    assert not wrong, f"CHAOS_SEED={SEED} CHAOS_SECONDS={SECONDS:g}: {len(wrong)} findings:\n" + "\n".join(wrong[:50])


def _drain(cluster: Cluster) -> None:
    """Until every job has ended, or none has for so long."""
    left, since = list(cluster.produced.accepted), time.monotonic()
    with cluster.server.client() as client:
        while left and time.monotonic() - since < _STUCK_S:
            before, left = left, books.not_ended(client, cluster.keys, left)
            if len(left) < len(before):
                since = time.monotonic()
            time.sleep(0.2)
    if left:
        cluster.said.append(f"not ended: {left[:20]}")


def _books(cluster: Cluster) -> list[str]:
    produced, keys = cluster.produced, cluster.keys
    with cluster.server.client() as client:
        jobs = books.read_jobs(client, keys, produced.accepted)
        rows = cluster.simulator.arrivals(operation="call")
        calls = calls_of(rows, jobs)
        ends = Counter(job.state for job in jobs.values())
        lines = Counter(line.get("decision") for job in jobs.values() for line in job.trail)
        cluster.said.append(f"{len(jobs)} jobs: {dict(ends)}; {len(calls)} calls; {dict(lines)}")
        cluster.said.append(f"{cluster.proxy.dropped} replies dropped, {cluster.proxy.cuts} requests cut")
        cluster.said.append(
            f"producers: {produced.repeats} repeats, {produced.errors}, {Counter(produced.cancels.values())}"
        )
        return [
            *produced.faults,
            *books.wrong_jobs(jobs, produced.cancels),
            *books.wrong_totals(client, keys, jobs),
            *books.leftovers(client, keys),
            *books.more_calls_than_grants(jobs, Counter(row["job"] for row in rows)),
            *violations(calls, produced.accepted, cluster.in_force),
        ]


def _leave(cluster: Cluster) -> list[str]:
    """Workers end in order, and leave nothing behind."""
    workers, found = cluster.workers, []
    for worker in workers.live:
        worker.send(signal.SIGTERM)
    for worker in [*workers.live, *workers.leaving]:
        code = worker.process.wait(60)
        said = worker.log.read_text(errors="replace")
        # One that was told to end before it had even begun ends as any program does.
        if code and not (code == -signal.SIGTERM and not said):
            found.append(f"{worker.log.name}: exit code {code}:\n{said[-2000:]}")
    for worker in workers.everyone():
        found += unforeseen(worker.log)
    found += [f"a process is left: {line}" for line in marked_processes(cluster.mark)]
    return found + [f"a file is left: {path}" for path in workers.left_files()]
